"""Genes of a file found in a model's vocabulary.

Dimensions: ``g`` gene columns of the file · ``m`` genes of the vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, GeneMatchError, InputError
from biolm.vocab.match import GeneMatch, MatchReport

__all__ = ["GeneVocabulary"]

Kind = Literal["ensembl", "symbol"]

_ENSEMBL = re.compile(r"(ENS(?:[A-Z]{3})?G\d{11})(?:\.\d+)?$")


@dataclass(frozen=True)
class GeneVocabulary:
    """The genes a model knows, in the model's order.

    Parameters
    ----------
    genes
        Identifiers of the ``m`` genes, each once.
    kind
        ``ensembl`` or ``symbol``.
    species
        Species covered: ``human``, ``mouse``, both, or empty where it is not known.

    Raises
    ------
    ConfigError
        If a gene is named twice.

    Examples
    --------
    >>> vocabulary = GeneVocabulary.of(["ENSG00000000003", "ENSG00000000005"])
    >>> vocabulary.kind, vocabulary.species
    ('ensembl', ('human',))
    """

    genes: tuple[str, ...]
    kind: Kind
    species: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self._rows) != len(self.genes):
            raise ConfigError("a gene vocabulary names a gene twice; give each gene once")

    @classmethod
    def of(
        cls, genes: Sequence[str], *, kind: Kind | None = None, species: Sequence[str] | None = None
    ) -> GeneVocabulary:
        """A vocabulary whose kind and species are read from the names where they are not given."""
        names = tuple(genes)
        ids = [name for name in names if _ENSEMBL.match(name)]
        if kind is None:
            kind = "ensembl" if 2 * len(ids) > len(names) else "symbol"
        if species is None:
            prefixes = {"human": "ENSG0", "mouse": "ENSMUSG0"}
            species = [word for word, prefix in prefixes.items() if any(x.startswith(prefix) for x in ids)]
        return cls(names, kind, tuple(species))

    def __len__(self) -> int:
        return len(self.genes)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.genes)}

    def match(
        self,
        columns: Mapping[str, NDArray[np.str_]],
        *,
        column: str | None = None,
        minimum: float = 0.1,
        species: str | None = None,
    ) -> GeneMatch:
        """Find the genes of a file in this vocabulary.

        Parameters
        ----------
        columns
            Text columns ``(g,)`` that may identify genes (``CellSource.gene_columns()``).
        column
            The column to use; None takes the one that matches best.
        minimum
            Least share of matched genes, over the smaller of file and vocabulary.
        species
            Species of the file where the names do not tell it.

        Raises
        ------
        InputError
            If the file has no genes, or no such column.
        GeneMatchError
            If fewer genes than ``minimum`` are known to the model.
        """
        if column is not None and column not in columns:
            raise InputError(f"there is no gene column {column!r}; the file has {', '.join(columns)}")
        names = {column: columns[column]} if column is not None else columns
        if not names or not all(len(values) for values in names.values()):
            raise InputError("the file holds no genes")
        matches = [self._match_column(name, values.tolist()) for name, values in names.items()]
        best = max(matches, key=lambda match: match.report.matched)
        report = best.report
        if report.matched == 0 or report.matched < minimum * min(report.total, len(self)):
            raise GeneMatchError(
                f"only {report.matched} of {report.total} genes (column {report.column!r}) are known to the "
                "model; name the right gene column, or choose a model for this species"
            )
        return best

    def _match_column(self, column: str, names: list[str]) -> GeneMatch:
        rows = self._rows
        target = np.array([rows.get(name, -1) for name in names], dtype=np.int32)
        exact = int((target >= 0).sum())
        for position in np.flatnonzero(target < 0):
            found = _ENSEMBL.match(names[position])
            if found:
                target[position] = rows.get(found[1], -1)
        known = target[target >= 0]
        found_rows = len(np.unique(known))
        report = MatchReport(
            column=column,
            species=self.species[0] if len(self.species) == 1 else "",
            total=len(names),
            matched=len(known),
            exact=exact,
            via_version=len(known) - exact,
            via_symbol=0,
            via_alias=0,
            via_case=0,
            ambiguous=(),
            missing=tuple(names[position] for position in np.flatnonzero(target < 0)),
            summed=len(known) - found_rows,
            vocabulary_found=found_rows,
            vocabulary_total=len(self),
        )
        return GeneMatch(target, report)
