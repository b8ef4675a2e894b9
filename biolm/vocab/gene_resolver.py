"""One gene name found in a vocabulary, by the safest way that finds it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from enum import IntEnum
from functools import cached_property

from biolm.vocab.gene_names import ensembl_id, genome_prefix, is_blank, without_suffix
from biolm.vocab.gene_rewritten import excel_names, originals
from biolm.vocab.gene_table import SpeciesGenes

__all__ = ["GeneResolver", "Step"]


class Step(IntEnum):
    """How a name was found, from not at all to as written."""

    MISSING = 0
    AMBIGUOUS = 1
    REWRITTEN = 2
    CASE = 3
    ALIAS = 4
    SYMBOL = 5
    VERSION = 6
    EXACT = 7


Found = tuple[int, Step]
_MISSING: Found = (-1, Step.MISSING)
_AMBIGUOUS: Found = (-1, Step.AMBIGUOUS)


class GeneResolver:
    """Finds names of one species in a vocabulary.

    The steps, first one that finds the name wins: as written; Ensembl id without version or
    decoration; current symbol; unambiguous previous symbol or alias; any of these ignoring case; all of
    these without a genome prefix or uniqueness suffix; as R or a spreadsheet rewrote one name alone. A name
    that could be several genes stays unmatched.

    Parameters
    ----------
    rows
        Vocabulary identifier to row.
    kind
        ``ensembl`` or ``symbol``.
    species
        The species of the file; an empty string where it is not known.
    genes
        The gene table of that species; None leaves out all steps that need one.
    """

    def __init__(self, rows: dict[str, int], kind: str, species: str, genes: SpeciesGenes | None) -> None:
        self.rows, self.kind, self.species, self.genes = rows, kind, species, genes
        self._upper: dict[str, Found] = {}
        if kind == "symbol":
            for name, row in rows.items():
                upper = name.upper()
                self._upper[upper] = _AMBIGUOUS if upper in self._upper else (row, Step.CASE)

    @cached_property
    def _by_gene(self) -> dict[str, int]:
        """Ensembl id to row; of a vocabulary of symbols, current ones go before aliases."""
        if self.kind == "ensembl":
            return self.rows
        rows: dict[str, int] = {}
        if self.genes is None:
            return rows
        for name, row in self.rows.items():
            for gene in self.genes.ids.get(name, ()):
                rows[gene] = row
        for name, row in self.rows.items():
            if name in self.genes.aliases:
                rows.setdefault(self.genes.aliases[name], row)
        return rows

    def find(self, name: str, present: Container[str]) -> Found:
        """Row of a name, -1 where it is not found, and how; ``present`` are all names of the file.

        Parameters
        ----------
        name
            As the file writes it.
        present
            All names of the file.
        """
        row = self.rows.get(name)
        if row is not None:
            return row, Step.EXACT
        if is_blank(name):
            return _MISSING
        resolved = self._find_bare(name)
        if resolved is _MISSING:
            resolved = self._undecorated(name, present)
        if resolved[1] not in (Step.MISSING, Step.REWRITTEN):
            return resolved
        # A name that R rewrote whole (IGHV3.33.2) is nearer than one that it also numbered (IGHV3.33, .2).
        rewritten = self._rewritten(name)
        return resolved if resolved[0] >= 0 > rewritten[0] else rewritten

    def _undecorated(self, name: str, present: Container[str]) -> Found:
        # scanpy and Seurat append -1 or .1 to names that repeat.
        bare = without_suffix(name, present)
        prefix = genome_prefix(name)
        if bare is None and prefix and self.species in ("", prefix[0]):
            bare = prefix[1]
        if bare is None:
            return _MISSING
        row, step = self.find(bare, present)
        return row, Step.VERSION if step is Step.EXACT else step

    def _rewritten(self, name: str) -> Found:
        """The one gene that a spreadsheet or R can have rewritten to this name."""
        known = {gene: each for each in self._meant(name) for gene in self._genes_of(each)}
        if len(known) > 1:
            resolved = [self._find_bare(each) for each in known.values()]
            return _AMBIGUOUS if any(each is not _MISSING for each in resolved) else _MISSING
        for each in known.values():
            row, step = self.find(each, ())
            return (row, Step.REWRITTEN) if row >= 0 else (row, step)
        return _MISSING

    def _genes_of(self, name: str) -> tuple[str, ...]:
        """What distinguishes the genes of a name: ids, whether the vocabulary has them or not."""
        genes, upper = self.genes, name.upper()
        if genes is None:
            return (name,) if name in self.rows or upper in self._upper else ()
        ids = genes.ids.get(name) or genes.upper_ids.get(upper, ())
        if ids:
            return ids[:1]  # ids that share a symbol are distinguished as for the symbol itself
        several = genes.ambiguous.get(name, ())
        alias = genes.aliases.get(name) or genes.upper_aliases.get(upper, "")
        if several or alias:
            return several or (alias,)
        return (name,) if name in self.rows or name in genes.ambiguous else ()

    @cached_property
    def _originals(self) -> dict[str, tuple[str, ...]]:
        """Names of the vocabulary that R rewrites, by what it makes of them."""
        return originals(self.rows)

    def _meant(self, name: str) -> tuple[str, ...]:
        """Names that R or a spreadsheet can have rewritten to this one."""
        known = () if self.genes is None else self.genes.rewritten.get(name, ())
        return excel_names(name) or (*self._originals.get(name, ()), *known)

    def _find_bare(self, name: str) -> Found:
        ensembl = ensembl_id(name)
        if ensembl:
            return self._find_id(name, ensembl)
        if self.genes is None:
            return self._upper.get(name.upper(), _MISSING)
        # Symbols of today go first: many of them are an alias of another gene too.
        if name in self.genes.ids:
            return self._choose(self.genes.ids[name], Step.SYMBOL)
        if name in self.genes.aliases:
            return self._choose((self.genes.aliases[name],), Step.ALIAS)
        if name in self.genes.ambiguous:
            known = any(gene in self._by_gene for gene in self.genes.ambiguous[name])
            return _AMBIGUOUS if known else _MISSING
        return self._ignoring_case(self.genes, name.upper())

    def _find_id(self, name: str, ensembl: str) -> Found:
        row = self._by_gene.get(ensembl)
        if row is not None:
            if ensembl not in name:
                return row, Step.CASE
            return row, Step.VERSION if self.kind == "ensembl" else Step.SYMBOL
        if self.genes is None:
            return _MISSING
        # A gene may have changed its id between releases; its symbol then ties the two.
        return self._choose(self.genes.replaced.get(ensembl, ()), Step.ALIAS)

    def _ignoring_case(self, genes: SpeciesGenes, upper: str) -> Found:
        if upper in self._upper:
            return self._upper[upper]
        if upper in genes.upper_ids:
            return self._choose(genes.upper_ids[upper], Step.CASE)
        gene = genes.upper_aliases.get(upper)
        if gene == "":
            return _AMBIGUOUS
        return self._choose((gene,), Step.CASE) if gene else _MISSING

    def _choose(self, ids: Iterable[str], step: Step) -> Found:
        """The one of a symbol's genes that the vocabulary knows; of more, today's, then the main gene."""
        known = {gene: self._by_gene[gene] for gene in ids if gene in self._by_gene}
        if len(known) > 1 and self.genes is not None:
            known = {gene: row for gene, row in known.items() if gene not in self.genes.retired} or known
        rows = set(known.values())
        if len(rows) > 1 and self.genes is not None:
            rows = {row for gene, row in known.items() if gene in self.genes.main}
            if len(rows) != 1:
                return _AMBIGUOUS
        return (rows.pop(), step) if rows else _MISSING
