"""The gene table that ships with biolm: human and mouse genes, their names, and orthologs.

How it was made, its sources and licences: ``data/genes/README.md``.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

from biolm.errors import ConfigError
from biolm.resources import shipped

__all__ = ["SPECIES", "GeneTable", "SpeciesGenes", "gene_table"]

SPECIES = ("human", "mouse")
"""The species of the table."""

Ids = tuple[str, ...]


def _columns(path: Path) -> tuple[list[str], list[str], list[str]]:
    """The three columns of a table without its header."""
    # One split of the whole text is four times as fast as a split per line.
    text = gzip.decompress(path.read_bytes()).decode()
    cells = text.replace("\n", "\t").split("\t")
    return cells[3::3], cells[4::3], cells[5::3]


def _grouped(names: list[str], ids: list[str]) -> dict[str, Ids]:
    """Name to its ids, in the order given."""
    grouped: dict[str, Ids] = dict(zip(names, zip(ids, strict=True), strict=True))
    if len(grouped) == len(names):
        return grouped
    repeated = {name for name, times in Counter(names).items() if times > 1}
    grouped.update(dict.fromkeys(repeated, ()))
    for name, gene in zip(names, ids, strict=True):
        if name in repeated:
            grouped[name] += (gene,)
    return grouped


class SpeciesGenes:
    """Genes of one species and their names.

    Parameters
    ----------
    species
        ``human`` or ``mouse``.

    Attributes
    ----------
    symbol
        Ensembl id to symbol, for genes that have one, retired ids included.
    ids
        Current symbol to its ids; a few hundred symbols have several. Retired ids stand last.
    aliases
        Previous symbol, alias or clone name to its one id.
    ambiguous
        Aliases that could be several genes, to their ids.
    retired
        Ids of earlier releases whose symbol is in use today.
    main
        Ids that are meant by a symbol that several ids carry.
    """

    def __init__(self, species: str) -> None:
        # The file's order makes slices of the named genes and of each status.
        ensembl, symbols, biotypes = self._genes = _columns(shipped(f"genes/{species}.tsv.gz"))
        named = symbols.index("")
        self.symbol: Mapping[str, str] = dict(zip(ensembl[:named], symbols[:named], strict=True))
        self.ids: Mapping[str, Ids] = _grouped(symbols[:named], ensembl[:named])
        self.retired = frozenset(ensembl[named - biotypes[:named].count("retired") : named])
        names, genes, statuses = _columns(shipped(f"genes/{species}_names.tsv.gz"))
        safe, unsafe = statuses.count("alias"), statuses.count("alias") + statuses.count("ambiguous")
        self.aliases: Mapping[str, str] = dict(zip(names[:safe], genes[:safe], strict=True))
        self.ambiguous: Mapping[str, Ids] = {
            name: tuple(several.split(","))
            for name, several in zip(names[safe:unsafe], genes[safe:unsafe], strict=True)
        }
        self.main = frozenset(genes[unsafe:])

    @cached_property
    def biotype(self) -> Mapping[str, str]:
        """Ensembl id to GENCODE biotype, or ``retired`` for the id of an earlier release."""
        ensembl, _, biotypes = self._genes
        return dict(zip(ensembl, biotypes, strict=True))

    @cached_property
    def replaced(self) -> Mapping[str, Ids]:
        """Retired id to today's ids of the same symbol, and back."""
        current: dict[str, Ids] = {}
        for gene in sorted(self.retired):
            current[gene] = tuple(other for other in self.ids[self.symbol[gene]] if other != gene)
            for other in current[gene]:
                if other not in self.retired:
                    current[other] = (*current.get(other, ()), gene)
        return current

    @cached_property
    def upper_ids(self) -> Mapping[str, Ids]:
        """Current symbols in upper case to their ids."""
        return _grouped([symbol.upper() for symbol in self.symbol.values()], list(self.symbol))

    @cached_property
    def upper_aliases(self) -> Mapping[str, str]:
        """Aliases in upper case to their one id, or to an empty string where they could be several."""
        symbols: dict[str, str] = {}
        for name, gene in self.aliases.items():
            upper = name.upper()
            symbols[upper] = gene if symbols.get(upper, gene) == gene else ""
        return symbols | {name.upper(): "" for name in self.ambiguous}


class GeneTable:
    """Human and mouse genes; each species is read when first asked for.

    Examples
    --------
    >>> table = gene_table()
    >>> table.symbol_to_ensembl("human")["CD3D"]
    ('ENSG00000167286',)
    >>> table.human_to_mouse()["ENSG00000167286"]
    ('ENSMUSG00000032094',)
    """

    def __init__(self) -> None:
        self._species: dict[str, SpeciesGenes] = {}

    def species(self, name: str) -> SpeciesGenes:
        """Genes of one species.

        Raises
        ------
        ConfigError
            If the table does not hold the species.
        """
        if name not in SPECIES:
            raise ConfigError(f"there is no gene table for species {name!r}; choose human or mouse")
        if name not in self._species:
            self._species[name] = SpeciesGenes(name)
        return self._species[name]

    def ensembl_to_symbol(self, species: str) -> Mapping[str, str]:
        """Ensembl id to symbol, for genes that have one."""
        return self.species(species).symbol

    def symbol_to_ensembl(self, species: str) -> Mapping[str, Ids]:
        """Current symbol to its Ensembl ids; a few hundred symbols have several."""
        return self.species(species).ids

    def orthologs(self) -> list[tuple[str, str, float]]:
        """``(human ensembl, mouse ensembl, weight)`` of every pair, sorted.

        The weights of a mouse gene's pairs add up to 1: how much each human gene says about it.
        """
        return [(human, mouse, float(weight)) for human, mouse, weight in zip(*self._pairs, strict=True)]

    def human_to_mouse(self, *, one_to_one: bool = False) -> dict[str, Ids]:
        """Human Ensembl id to its mouse orthologs; with ``one_to_one`` only pairs without others."""
        humans, mice, _ = self._pairs
        uses = Counter((*humans, *mice))
        pairs = [
            (human, mouse)
            for human, mouse in zip(humans, mice, strict=True)
            if not one_to_one or uses[human] == uses[mouse] == 1
        ]
        return _grouped([human for human, _ in pairs], [mouse for _, mouse in pairs])

    @cached_property
    def _pairs(self) -> tuple[list[str], list[str], list[str]]:
        return _columns(shipped("genes/orthologs.tsv.gz"))


@cache
def gene_table() -> GeneTable:
    """The gene table that ships with biolm, read once."""
    return GeneTable()
