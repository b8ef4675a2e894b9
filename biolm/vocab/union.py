"""The genes of several files as one list: found in those before by any of their names, or added.

Dimensions: ``g`` gene columns of a file · ``u`` genes of the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from biolm.errors import GeneMatchError, InputError
from biolm.vocab.gene_agreement import check_agreement
from biolm.vocab.gene_names import ensembl_id, is_blank
from biolm.vocab.gene_species import tell_species
from biolm.vocab.gene_table import SPECIES, gene_table
from biolm.vocab.genes import GeneVocabulary

__all__ = ["GeneUnion", "naming_column"]


def naming_column(columns: Mapping[str, NDArray[np.str_]], chosen: str | None = None) -> str:
    """The column that names genes best: the one with most Ensembl ids; the index where none has any.

    Parameters
    ----------
    columns
        Of the file's genes.
    chosen
        What the user named.

    Raises
    ------
    InputError
        If ``chosen`` is given and there is no such column.
    """
    if chosen is not None:
        if chosen not in columns:
            raise InputError(f"there is no gene column {chosen!r}; the file has {', '.join(columns)}")
        return chosen
    counts = {name: sum(ensembl_id(gene) is not None for gene in genes) for name, genes in columns.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else "index"


class GeneUnion:
    """Genes of files, in the order in which they first appear.

    As long as all files have the same gene table, columns stay as they are. Else each gene has one column:
    genes of later files are matched to those before as :meth:`GeneVocabulary.match` does, and what is new is
    added, so that no count is lost. In a list of Ensembl ids, symbols that are added become ids too, if only
    one can be meant.

    Parameters
    ----------
    column
        Gene column to use; the one with most Ensembl ids by default.
    minimum
        Least fraction of a file's genes that the files before must hold.
    species
        Species of all files; inferred from the names by default.

    Examples
    --------
    >>> union = GeneUnion()
    >>> for genes in (["ENSG00000167286", "ENSG00000156738"], ["ENSG00000156738.4", "ENSG00000010610"]):
    ...     union.add({"index": np.array(genes)})
    >>> [target.tolist() for target in union.targets()]
    [[0, 1], [1, 2]]
    """

    def __init__(
        self, *, column: str | None = None, minimum: float = 0.1, species: str | None = None
    ) -> None:
        self._column, self._minimum, self._species = column, minimum, species
        self._rows: dict[str, int] = {}
        self._first: dict[str, NDArray[np.str_]] | None = None
        self._targets: list[NDArray[np.int32]] = []
        self._same = True

    def add(self, columns: Mapping[str, NDArray[np.str_]]) -> None:
        """Take in the gene table of the next file, columns ``(g,)``.

        Raises
        ------
        InputError
            If there is no such gene column.
        GeneMatchError
            If too few of its genes are among those before, it is of another species, or its ids belong to
            other genes than its symbols.
        """
        chosen = columns[naming_column(columns, self._column)].tolist()
        # A gene without an id keeps the name of its row: genes must not fall together for want of one.
        rows = columns.get("index", columns[next(iter(columns))]).tolist()
        names = [
            ensembl_id(name) or (row if is_blank(name) else name)
            for name, row in zip(chosen, rows, strict=True)
        ]
        if self._first is None:
            self._check(columns)
            self._first = dict(columns)
            tokens = np.full(len(names), -1, np.int32)
        elif _equal(self._first, columns):
            self._targets.append(self._targets[0])
            return
        else:
            self._same = False
            match = GeneVocabulary.of(list(self._rows)).match(
                columns, column=self._column, minimum=self._minimum, species=self._species
            )
            tokens = match.target
        new = {names[place] for place in np.flatnonzero(tokens < 0)}
        ids = self._ids_of(new)
        names = [ids.get(name, name) for name in names]
        new = {ids.get(name, name) for name in new}
        if self._targets and len(new) == len(set(names)) and self._minimum:
            raise GeneMatchError("it shares no gene with the files before; pack it apart")
        self._targets.append(
            np.array(
                [
                    row if row >= 0 else self._rows.setdefault(name, len(self._rows))
                    for name, row in zip(names, tokens.tolist(), strict=True)
                ],
                np.int32,
            )
        )

    def _check(self, columns: Mapping[str, NDArray[np.str_]]) -> None:
        """Refuse a first file whose ids belong to other genes; later ones are checked as they match."""
        lists = {name: values.tolist() for name, values in columns.items()}
        species = self._species or tell_species(lists).species
        if species in SPECIES:
            column = naming_column(columns, self._column)
            check_agreement(lists, column, gene_table().species(species), chosen=self._column is not None)

    def _ids_of(self, names: set[str]) -> dict[str, str]:
        """Ids of new symbols, where the list holds ids and no other gene has or gets the same one."""
        if not names:
            return {}
        known = GeneVocabulary.of(list(self._rows or names))
        species = self._species or (known.species[0] if len(known.species) == 1 else "")
        if known.kind != "ensembl" or not species:
            return {}
        genes = gene_table().species(species)
        id_of: dict[str, str] = {}
        for name in sorted(names - self._rows.keys()):
            several = genes.ids.get(name, ())
            one = [gene for gene in several if gene in genes.main] if len(several) > 1 else [*several]
            alias = genes.aliases.get(name)
            if not several and alias is not None:
                one = [alias]
            if len(one) == 1:
                id_of[name] = one[0]
        times, taken = Counter(id_of.values()), self._rows.keys() | names
        return {name: gene for name, gene in id_of.items() if times[gene] == 1 and gene not in taken}

    def targets(self) -> list[NDArray[np.int32]]:
        """``(g,)`` column in the list for each gene column, file by file."""
        if self._same and self._first is not None:
            same = np.arange(len(next(iter(self._first.values()))), dtype=np.int32)
            return [same] * len(self._targets)
        return self._targets

    def names(self) -> list[str]:
        """Name of each gene of the list, once, in the order in which they first appear."""
        return [name for name in self._rows if not is_blank(name)]

    def table(self) -> dict[str, NDArray[np.str_]]:
        """Columns ``(u,)`` of the list: those of the files where they are all the same, else ``index``."""
        if self._same and self._first is not None:
            return self._first
        return {"index": np.array(list(self._rows))}


def _equal(one: Mapping[str, NDArray[np.str_]], other: Mapping[str, NDArray[np.str_]]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
