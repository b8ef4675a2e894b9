"""The gene table that ships with biolm: human and mouse genes, their names, and orthologs.

How it was made, its sources and licences: ``data/genes/README.md``.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from itertools import chain
from pathlib import Path

from biolm.errors import ConfigError
from biolm.resources import shipped
from biolm.vocab.gene_rewritten import originals

__all__ = ["SPECIES", "GeneTable", "SpeciesGenes", "gene_table"]

SPECIES = ("human", "mouse")
"""The species of the table."""

Ids = tuple[str, ...]


def _text(path: Path) -> str:
    """The lines of a table without its header."""
    return gzip.decompress(path.read_bytes()).decode().partition("\n")[2]


def _columns(text: str) -> tuple[list[str], list[str], list[str]]:
    """The three columns of the lines of a table."""
    # One split of the whole text is four times as fast as a split per line.
    cells = text.replace("\n", "\t").split("\t")
    return cells[:-1:3], cells[1::3], cells[2::3]


def _upper(names: Iterable[str]) -> list[str]:
    """Names of the tables in capitals; one call for all is three times as fast as one each."""
    return "\n".join(names).upper().split("\n")


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
    """

    def __init__(self, species: str) -> None:
        self._species = species

    # Each table is read when it is first asked about: a file whose genes a model knows as written needs none.
    @cached_property
    def _named(self) -> tuple[list[str], list[str], list[str]]:
        """Ids, symbols and biotypes of the genes that have a symbol: they stand first, retired ones last."""
        text = _text(shipped(f"genes/{self._species}.tsv.gz"))
        return _columns(text[: text.rindex("\n", 0, text.index("\t\t")) + 1])

    @cached_property
    def symbol(self) -> Mapping[str, str]:
        """Ensembl id to symbol, for genes that have one, retired ids included."""
        ensembl, symbols, _ = self._named
        return dict(zip(ensembl, symbols, strict=True))

    @cached_property
    def ids(self) -> Mapping[str, Ids]:
        """Current symbol to its ids; a few hundred symbols have several. Retired ids stand last."""
        ensembl, symbols, _ = self._named
        return _grouped(symbols, ensembl)

    @cached_property
    def retired(self) -> frozenset[str]:
        """Ids of earlier releases whose symbol is in use today."""
        ensembl, _, biotypes = self._named
        return frozenset(ensembl[len(ensembl) - biotypes.count("retired") :])

    @cached_property
    def _names(self) -> tuple[str, str, str]:
        """Lines of the table of names, status by status: aliases, ambiguous ones, main genes."""
        text = _text(shipped(f"genes/{self._species}_names.tsv.gz"))
        ends = [text.rfind(f"\t{status}\n") for status in ("alias", "ambiguous")]
        safe = text.index("\n", ends[0]) + 1
        unsafe = safe if ends[1] < 0 else text.index("\n", ends[1]) + 1
        return text[:safe], text[safe:unsafe], text[unsafe:]

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """Previous symbol, alias or clone name to its one id."""
        cells = self._names[0].replace("\talias\n", "\t").split("\t")
        return dict(zip(cells[:-1:2], cells[1::2], strict=True))

    @cached_property
    def ambiguous(self) -> Mapping[str, Ids]:
        """Aliases that could be several genes, to their ids."""
        names, genes, _ = _columns(self._names[1])
        return {name: tuple(several.split(",")) for name, several in zip(names, genes, strict=True)}

    @cached_property
    def main(self) -> frozenset[str]:
        """Ids that are meant by a symbol that several ids carry."""
        return frozenset(_columns(self._names[2])[1])

    @cached_property
    def biotype(self) -> Mapping[str, str]:
        """Ensembl id to GENCODE biotype, or ``retired`` for the id of an earlier release."""
        ensembl, _, biotypes = _columns(_text(shipped(f"genes/{self._species}.tsv.gz")))
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
        return _grouped(_upper(self.symbol.values()), list(self.symbol))

    @cached_property
    def upper_aliases(self) -> Mapping[str, str]:
        """Aliases in upper case to their one id, or to an empty string where they could be several."""
        symbols: dict[str, str] = {}
        for upper, gene in zip(_upper(self.aliases), self.aliases.values(), strict=True):
            symbols[upper] = gene if symbols.get(upper, gene) == gene else ""
        return symbols | {name.upper(): "" for name in self.ambiguous}

    @cached_property
    def rewritten(self) -> Mapping[str, tuple[str, ...]]:
        """What R and Seurat make of names of the table that they change, to the names."""
        return originals(chain(self.ids, self.aliases, self.ambiguous))


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
        return _columns(_text(shipped("genes/orthologs.tsv.gz")))


@cache
def gene_table() -> GeneTable:
    """The gene table that ships with biolm, read once."""
    return GeneTable()
