"""The result of matching a file's genes to a model's vocabulary.

Dimensions: ``g`` gene columns of the file · ``m`` genes of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GeneMatch", "MatchReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchReport:
    """How the genes of a file were found in a vocabulary.

    Parameters
    ----------
    column
        The gene column used: ``index`` or the name of a ``var`` column.
    species
        ``human``, ``mouse`` or an empty string where the vocabulary has no species.
    total, matched
        Genes of the file; those found.
    exact, via_version, via_symbol, via_alias, via_case
        How the matched ones were found: as written; after dropping an Ensembl version or what was
        added to the name (genome prefix, uniqueness suffix); by current symbol; by a previous symbol,
        previous id or alias; or by ignoring case.
    via_rewritten
        Those read back from what R (``HLA.A``) or a spreadsheet (``3-Sep``) made of a name.
    ambiguous, missing
        Names that could be several genes (never guessed), and names not found.
    summed
        Gene columns that share a gene with another; their counts are added.
    vocabulary_found, vocabulary_total
        How many of the model's genes the file holds, of how many; of a model of several species
        the genes of the file's species are counted.
    note
        What the user should know about the match: that the species could not be inferred from the names, or
        that ids and symbols of the file disagree.
    rule
        ``resolve``, or ``published`` where names were looked up as the published system does.
    """

    column: str
    species: str
    total: int
    matched: int
    exact: int
    via_version: int
    via_symbol: int
    via_alias: int
    via_case: int
    via_rewritten: int
    ambiguous: tuple[str, ...]
    missing: tuple[str, ...]
    summed: int
    vocabulary_found: int
    vocabulary_total: int
    note: str = ""
    rule: str = "resolve"

    @property
    def share(self) -> float:
        """Matched genes over all genes of the file."""
        return self.matched / self.total if self.total else 0.0

    @property
    def coverage(self) -> float:
        """Genes found over the most that could be found: the smaller of file and vocabulary.

        A panel of 765 genes cannot cover a vocabulary of 25,000, nor can the vocabulary cover a file
        of 60,000, so this is the fraction that a threshold is put on.
        """
        most = min(self.total, self.vocabulary_total)
        return self.vocabulary_found / most if most else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for provenance; long name lists as counts."""
        row = {name: getattr(self, name) for name in self.__slots__}
        return row | {"ambiguous": len(self.ambiguous), "missing": len(self.missing), "share": self.share}


@dataclass(frozen=True, slots=True)
class GeneMatch:
    """Where each gene column of a file goes.

    Parameters
    ----------
    target
        ``(g,)`` int32: row in the vocabulary's gene list, -1 where the gene is not in it.
    report
        How it was found.
    names
        ``(g,)`` names of the file, for a system that reads any name: it has no vocabulary to look them up in,
        and ``target`` is then the column itself. Empty for all others.
    """

    target: NDArray[np.int32]
    report: MatchReport
    names: tuple[str, ...] = ()

    @property
    def has_duplicates(self) -> bool:
        """Whether several columns share a gene, so that their counts must be summed."""
        return self.report.summed > 0
