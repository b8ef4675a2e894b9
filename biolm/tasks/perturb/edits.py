"""Which genes are changed, and how; names of genes as users write them.

Dimensions: ``g`` genes of the file · ``m`` genes of the vocabulary · ``e`` edits.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, GeneMatchError, InputError
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

__all__ = ["Edit", "FileGenes", "plan_edits"]


@dataclass(frozen=True, slots=True)
class Edit:
    """Genes that are changed together, as rows of the vocabulary.

    Parameters
    ----------
    deleted
        Genes taken away.
    raised
        Genes over-expressed.
    """

    deleted: tuple[int, ...] = ()
    raised: tuple[int, ...] = ()

    @property
    def genes(self) -> tuple[int, ...]:
        """All genes of the edit."""
        return self.deleted + self.raised

    @property
    def kind(self) -> str:
        """``delete``, ``overexpress`` or ``combined``."""
        if len(self.genes) > 1:
            return "combined"
        return "delete" if self.deleted else "overexpress"


class FileGenes:
    """The genes of a file that the model knows.

    Parameters
    ----------
    columns
        Text columns ``(g,)`` of the file.
    match
        Where each of its genes lies in the vocabulary.
    vocabulary
        The ``m`` genes of the model.
    """

    def __init__(
        self, columns: dict[str, NDArray[np.str_]], match: GeneMatch, vocabulary: GeneVocabulary
    ) -> None:
        if match.names:
            raise ConfigError("genes are changed by what they are resolved to; leave `match='published'` out")
        known = np.flatnonzero(match.target >= 0)
        rows, first = np.unique(match.target[known], return_index=True)
        self.rows: NDArray[np.int64] = rows.astype(np.int64)
        """Vocabulary rows of the genes, ascending."""
        self._columns, self._match, self._vocabulary = columns, match, vocabulary
        shown = columns.get("index", next(iter(columns.values())))
        self._names = dict(zip(rows.tolist(), shown[known[first]].tolist(), strict=True))

    def name(self, row: int) -> str:
        """How the file calls a gene."""
        return str(self._names[row])

    def identifier(self, row: int) -> str:
        """How the model calls a gene."""
        return self._vocabulary.genes[row]

    def title(self, edit: Edit) -> str:
        """The edit in words: ``TP53``, or ``-TP53 +MYC`` for several genes."""
        if len(edit.genes) == 1:
            return self.name(edit.genes[0])
        parts = [f"-{self.name(row)}" for row in edit.deleted] + [f"+{self.name(row)}" for row in edit.raised]
        return " ".join(parts)

    def find(self, names: Sequence[str]) -> list[int]:
        """Rows of the genes that users name: as the file writes them, or by any name that the model resolves.

        Raises
        ------
        InputError
            If the file holds no such gene, or the model does not know it.
        """
        numbers = [self._find(name.strip()) for name in names]
        return list(dict.fromkeys(numbers))

    def _find(self, name: str) -> int:
        # The file's own names first: a symbol that it uses otherwise than the vocabulary means what it means
        # there.
        for values in self._columns.values():
            targets = self._match.target[np.flatnonzero(values == name)]
            known = targets[targets >= 0]
            if len(known):
                return int(known[0])
            if len(targets):
                raise InputError(f"the model does not know gene '{name}' of the file; leave it out")
        try:
            species = self._match.report.species or None
            match = self._vocabulary.match({"index": np.array([name])}, minimum=0, species=species)
            row = int(match.target[0])
        except GeneMatchError:
            row = -1
        if row in self._names:
            return row
        if row >= 0:
            raise InputError(f"the file holds no gene '{name}' ({self.identifier(row)}); leave it out")
        near = difflib.get_close_matches(name.upper(), [n.upper() for n in self._names.values()], n=3)
        hint = f"; similar names are {', '.join(near)}" if near else ""
        raise InputError(f"there is no gene '{name}' in the file{hint}")


def plan_edits(
    genes: FileGenes,
    *,
    delete: Sequence[str],
    overexpress: Sequence[str],
    listed: Sequence[str],
    every: bool,
    how: str,
    combine: bool,
) -> list[Edit]:
    """The edits that are asked for, each once.

    Parameters
    ----------
    genes
        Genes of the file.
    delete, overexpress
        Names.
    listed
        Further names, treated as ``how`` says.
    every
        Take all genes of the file as well, likewise.
    how
        ``delete`` or ``overexpress``.
    combine
        Whether to add one edit of all named genes together.

    Raises
    ------
    ConfigError
        If nothing, or one gene twice, or one gene alone is to be combined.
    InputError
        If a gene is not in the file.
    """
    deleted, raised = genes.find(delete), genes.find(overexpress)
    more = genes.find(listed) + (genes.rows.tolist() if every else [])
    (deleted if how == "delete" else raised).extend(more)
    both = set(deleted) & set(raised)
    if both and combine:
        raise ConfigError(f"gene {genes.name(both.pop())} cannot be deleted and over-expressed at once")
    edits = [Edit(deleted=(row,)) for row in deleted] + [Edit(raised=(row,)) for row in raised]
    if combine:
        if every or len(edits) < 2:
            raise ConfigError(
                "a combination is of at least two named genes; name them or drop `combine=True`"
            )
        edits.append(Edit(tuple(dict.fromkeys(deleted)), tuple(dict.fromkeys(raised))))
    if not edits:
        raise ConfigError("no gene is named; name some, or ask for all genes (`genes='all'`)")
    return list(dict.fromkeys(edits))
