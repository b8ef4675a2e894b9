"""Genes of a file found in a model's vocabulary.

Dimensions: ``g`` gene columns of the file · ``m`` genes of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, GeneMatchError, InputError
from biolm.vocab.gene_agreement import check_agreement
from biolm.vocab.gene_names import ensembl_id, id_species, sample
from biolm.vocab.gene_refusal import refusal
from biolm.vocab.gene_resolver import GeneResolver, Step
from biolm.vocab.gene_species import SpeciesCall, tell_species
from biolm.vocab.gene_table import SPECIES, GeneTable, gene_table
from biolm.vocab.match import GeneMatch, MatchReport

__all__ = ["GeneTable", "GeneVocabulary", "gene_table"]

Kind = Literal["ensembl", "symbol"]

_SAMPLE = 1500
"""Names of a column that are tried before the column is matched in full."""
_SAMPLING = 0.1
"""Columns whose sample is this near the best sample are matched in full."""
_NEAR = 0.02
"""Columns that match this fraction of genes less than the best are as good; direct matches then decide."""


@dataclass(frozen=True, repr=False)
class GeneVocabulary:
    """The genes a model knows, in the model's order.

    Parameters
    ----------
    genes
        Identifiers of the ``m`` genes, each once; Ensembl ids without version.
    kind
        ``ensembl`` or ``symbol``.
    species
        Species covered: ``human``, ``mouse``, both, or empty where it is not known; names are then
        matched without the gene table: as written, without version, ignoring case.

    Raises
    ------
    ConfigError
        If there are no genes, a gene is named twice, or the kind or a species is unknown.

    Examples
    --------
    >>> vocabulary = GeneVocabulary.of(["ENSG00000167286", "ENSG00000156738"])
    >>> vocabulary.kind, vocabulary.species
    ('ensembl', ('human',))
    >>> vocabulary.match({"index": np.array(["MS4A1", "ENSG00000167286.10"])}).target
    array([1, 0], dtype=int32)
    """

    genes: tuple[str, ...]
    kind: Kind
    species: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.genes:
            raise ConfigError("a gene vocabulary needs at least one gene")
        if len(self._rows) != len(self.genes):
            twice = Counter(self.genes).most_common(1)[0][0]
            raise ConfigError(f"a gene vocabulary names {twice!r} twice; give each gene once")
        if self.kind not in ("ensembl", "symbol") or not set(self.species) <= set(SPECIES):
            raise ConfigError("a gene vocabulary is of kind ensembl or symbol, and of human, mouse or both")

    @classmethod
    def of(
        cls, genes: Sequence[str], *, kind: Kind | None = None, species: Sequence[str] | None = None
    ) -> GeneVocabulary:
        """A vocabulary whose kind and species are read from the names where they are not given.

        Parameters
        ----------
        genes
            Identifiers of the ``m`` genes, in the model's order.
        kind, species
            As in the class; most names being Ensembl ids makes the kind ``ensembl``.
        """
        names = tuple(genes)
        ids = [ensembl for ensembl in map(ensembl_id, names) if ensembl]
        if kind is None:
            kind = "ensembl" if 2 * len(ids) > len(names) else "symbol"
        if species is None:
            if kind == "ensembl":
                species_found = {id_species(ensembl) for ensembl in ids}
            else:
                species_found = {tell_species({"genes": names}).species}
            species = [word for word in SPECIES if word in species_found]
        return cls(names, kind, tuple(species))

    def __len__(self) -> int:
        return len(self.genes)

    def __repr__(self) -> str:
        return f"GeneVocabulary({len(self):,} genes, kind={self.kind!r}, species={self.species})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes get the names alone and build their own look-ups.
        return GeneVocabulary, (self.genes, self.kind, self.species)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.genes)}

    @cached_property
    def _resolvers(self) -> dict[str, GeneResolver]:
        return {}

    def _resolver(self, species: str) -> GeneResolver:
        if species not in self._resolvers:
            genes = gene_table().species(species) if species else None
            self._resolvers[species] = GeneResolver(self._rows, self.kind, species, genes)
        return self._resolvers[species]

    def match(
        self,
        columns: Mapping[str, NDArray[np.str_]],
        *,
        column: str | None = None,
        minimum: float = 0.1,
        species: str | None = None,
    ) -> GeneMatch:
        """Find the genes of a file in this vocabulary.

        Each name takes the first of these ways that finds it: as written; as Ensembl id without version
        or decoration; by current symbol; by an unambiguous previous symbol or alias; ignoring case;
        without a genome prefix (``GRCh38_``) or uniqueness suffix (``-1``); as R or a spreadsheet rewrote a
        name (``HLA.A``, ``3-Sep``). An ambiguous name is never resolved. See ``docs/explanation/genes.md``.

        Parameters
        ----------
        columns
            Text columns ``(g,)`` that may identify genes (``CellSource.gene_columns()``).
        column
            The column to use; None takes the one that matches best.
        minimum
            Least fraction of matched genes over the smaller of file and vocabulary
            (:attr:`MatchReport.coverage`).
        species
            ``human`` or ``mouse``: species of the file. None infers it from the names.

        Returns
        -------
        GeneMatch
            Rows of the vocabulary ``(g,)`` and how they were found.

        Raises
        ------
        InputError
            If the file has no genes, or no such column.
        ConfigError
            If the species is neither human nor mouse.
        GeneMatchError
            If too few genes are known to the model, the file is of a species it does not know, its ids are
            of another species than the one given, or they belong to other genes than its symbols and no
            column is chosen; the message names the most likely reason.
        """
        if species is not None and species not in SPECIES:
            raise ConfigError(f"species {species!r} is not known; choose human or mouse")
        if column is not None and column not in columns:
            raise InputError(f"there is no gene column {column!r}; the file has {', '.join(columns)}")
        lists = {name: values.astype(str).tolist() for name, values in columns.items()}
        if not lists or not all(lists.values()):
            raise InputError("the file holds no genes")
        if not self.species:
            call = SpeciesCall("")
        else:
            call = SpeciesCall(species) if species else tell_species(lists)
        chosen = {column: lists[column]} if column is not None else lists
        best = self._best(chosen, call)
        if best.report.matched and best.report.coverage >= minimum and not self._foreign(call, best.report):
            self._refuse_contradiction(best, species)
            return _agreeing(best, lists, chosen=column is not None)
        rest = {name: names for name, names in lists.items() if name != best.report.column}
        other = self._best(rest, call).report if rest else None
        raise GeneMatchError(refusal(best.report, lists, call, self.species, other))

    def _foreign(self, call: SpeciesCall, report: MatchReport) -> bool:
        """Whether symbols of one species were found in a vocabulary of another.

        Ensembl ids carry their species, so where most genes were found by id nothing can go wrong.
        """
        by_id = self.kind == "ensembl" and 2 * (report.exact + report.via_version) > report.matched
        return bool(self.species and call.species) and call.species not in self.species and not by_id

    def _refuse_contradiction(self, match: GeneMatch, species: str | None) -> None:
        """Refuse a species that was given where most genes were found by an id of another."""
        if species is None or self.kind != "ensembl" or len(self.species) < 2:
            return
        rows = match.target[match.target >= 0].tolist()
        most, count = Counter(id_species(self.genes[row]) for row in rows).most_common(1)[0]
        if most and most != species and 2 * count > match.report.matched:
            raise GeneMatchError(
                f"species {species!r} was given, and column {match.report.column!r} holds ids of {most}; "
                "leave `species` out, or name another gene column"
            )

    def _best(self, lists: Mapping[str, list[str]], call: SpeciesCall) -> GeneMatch:
        """The match of the column that finds most genes; of near ones the most direct, then the first."""
        species = call.species
        note = ""
        if species not in self.species and self.species:
            if not species:
                note = f"the names do not tell the species; taken as {self.species[0]}"
            species = self.species[0]
        resolver = self._resolver(species if self.species else "")
        shares = {name: _share(resolver, names) if len(lists) > 1 else 1.0 for name, names in lists.items()}
        near = [name for name in lists if shares[name] >= max(shares.values()) - _SAMPLING]
        matches = [self._match(name, lists[name], resolver) for name in near]
        most = max(match.report.matched for match in matches)
        good = [match for match in matches if match.report.matched >= most - _NEAR * match.report.total]
        best = max(good, key=lambda match: match.report.exact + match.report.via_version)
        return GeneMatch(best.target, replace(best.report, note=note))

    def _match(self, column: str, names: list[str], resolver: GeneResolver) -> GeneMatch:
        present = frozenset(names)
        resolved = [resolver.find(name, present) for name in names]
        target = np.fromiter((row for row, _ in resolved), dtype=np.int32, count=len(resolved))
        steps = [step for _, step in resolved]
        counts = Counter(steps)
        matched = int(np.count_nonzero(target >= 0))
        rows = int(np.count_nonzero(np.bincount(target[target >= 0])))
        report = MatchReport(
            column=column,
            species=resolver.species,
            total=len(names),
            matched=matched,
            exact=counts[Step.EXACT],
            via_version=counts[Step.VERSION],
            via_symbol=counts[Step.SYMBOL],
            via_alias=counts[Step.ALIAS],
            via_case=counts[Step.CASE],
            via_rewritten=counts[Step.REWRITTEN],
            ambiguous=tuple(n for n, step in zip(names, steps, strict=True) if step is Step.AMBIGUOUS),
            missing=tuple(n for n, step in zip(names, steps, strict=True) if step is Step.MISSING),
            summed=matched - rows,
            vocabulary_found=rows,
            vocabulary_total=self._size(resolver.species),
        )
        return GeneMatch(target, report)

    def _size(self, species: str) -> int:
        """Genes of one species, in a vocabulary of several."""
        if self.kind == "symbol" or len(self.species) < 2:
            return len(self)
        return self._sizes[species]

    @cached_property
    def _sizes(self) -> Counter[str]:
        return Counter(id_species(gene) for gene in self.genes)


def _agreeing(match: GeneMatch, lists: Mapping[str, list[str]], *, chosen: bool) -> GeneMatch:
    """The match, with a note where the ids of a file are not those of its symbols.

    Raises
    ------
    GeneMatchError
        If most are not, and nobody chose the column.
    """
    report = match.report
    if not report.species:
        return match
    warning = check_agreement(lists, report.column, gene_table().species(report.species), chosen=chosen)
    note = "; ".join(filter(None, (report.note, warning)))
    return GeneMatch(match.target, replace(report, note=note))


def _share(resolver: GeneResolver, names: list[str]) -> float:
    """Fraction of a column's genes that a sample promises."""
    filled = sample(names, len(names))
    some = sample(filled, _SAMPLE)
    usable = sum(resolver.find(name, ())[1] > Step.AMBIGUOUS for name in some)
    return len(filled) / len(names) * usable / len(some) if some else 0.0
