"""The work on a table of variants of one protein in blocks, and how their results become its scores.

The first block is the table itself, so that merging shards reads nothing else; then places of the unchanged
protein by each marginal, then variants by the methods that read whole sequences.

Dimensions: ``m`` variants · ``k`` methods that read whole sequences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.io.provenance import plain
from biolm.progress import log
from biolm.tasks.variants.assay import Assay
from biolm.tasks.variants.baseline import blosum_scores, rank_correlation
from biolm.tasks.variants.methods import MARGINALS
from biolm.tasks.variants.proteins import Substitutions, WholeSequences, marginal_sums, sequence_borders
from biolm.tasks.variants.settings import VariantScores, VariantSettings

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["AssayWork", "Item", "Layout"]

_TABLE, _WHOLE = "table", "whole"


@dataclass(frozen=True, slots=True)
class Item:
    """One block: the table, or some places or variants by a way of scoring.

    Parameters
    ----------
    what
        ``table``, a marginal, or ``whole`` for methods that read whole sequences.
    first, last
        Which places that variants change, or which variants.
    """

    what: str
    first: int
    last: int


@dataclass(kw_only=True)
class AssayWork:
    """Scores a table block by block.

    Parameters
    ----------
    assay, model, methods, settings
        The variants, the model, how they are scored, and the choices of the job.
    """

    assay: Assay
    model: SequenceModel
    methods: tuple[str, ...]
    settings: VariantSettings

    @cached_property
    def items(self) -> list[Item]:
        """All blocks; they depend on variants, methods and batches alone."""
        # The table is a block of its own, in the first shard, so that merging needs no file but the shards.
        items = [Item(_TABLE, 0, 0)]
        for method in self.methods:
            if method in MARGINALS:
                borders = self._substitutions.borders(method, self._options)
                items += [Item(method, a, b) for a, b in pairwise(borders.tolist()) if a < b]
        if self._whole.methods:
            borders = sequence_borders(self._whole.sequences, self._whole.methods)
            items += [Item(_WHOLE, a, b) for a, b in pairwise(borders.tolist()) if a < b]
        return items

    @property
    def ends(self) -> NDArray[np.int64]:
        """Places and variants that are done after each block, from 0."""
        return np.cumsum([0, *(item.last - item.first for item in self.items)]).astype(np.int64)

    def blocks(self, first: int, last: int) -> Iterator[Item]:
        """The blocks ``first`` to ``last``."""
        yield from self.items[first:last]

    def compute(self, item: Item) -> dict[str, NDArray[Any]]:
        """Arrays of one block."""
        if item.what == _TABLE:
            return self._table()
        if item.what == _WHOLE:
            return {_WHOLE: self._whole.scores(item.first, item.last).astype(np.float32)}
        table = self._substitutions.table(item.what, item.first, item.last, self._options)
        return {item.what: table.astype(np.float32)}

    def _table(self) -> dict[str, NDArray[Any]]:
        columns = enumerate(self.assay.columns.values())
        arrays: dict[str, NDArray[Any]] = {f"column {at}": values for at, values in columns}
        if any(method in MARGINALS for method in self.methods):
            arrays |= {f"sums {name}": values for name, values in self._substitutions.sums.items()}
        if self.settings.baseline:
            arrays["blosum62"] = blosum_scores(self.assay.wild, self.assay.variants)
        if self.assay.measured is not None:
            arrays["measured"] = self.assay.measured
        return arrays

    @cached_property
    def _options(self) -> Any:
        return self.settings.options(longest=self.settings.window)

    @cached_property
    def _substitutions(self) -> Substitutions:
        method = next(method for method in self.methods if method in MARGINALS)
        return Substitutions.of(self.model, self.assay.wild, self.assay.variants, method)

    @cached_property
    def _whole(self) -> WholeSequences:
        return WholeSequences(
            model=self.model,
            wild=self.assay.wild,
            sequences=[each.sequence for each in self.assay.variants],
            methods=[method for method in self.methods if method not in MARGINALS],
            options=self._options,
        )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the results of all blocks become a table.

    Parameters
    ----------
    columns
        Names of the columns of the input.
    names
        Columns of scores, by method.
    whole
        ``k`` methods that read whole sequences.
    seed
        Of the bootstrap.
    facts
        How scores were made.
    """

    columns: tuple[str, ...]
    names: Mapping[str, str]
    whole: tuple[str, ...]
    seed: int
    facts: Mapping[str, Any]

    def gathered(self, parts: Iterable[Mapping[str, NDArray[Any]]]) -> VariantScores:
        """The columns of the input, scores, and their correlations with measurements.

        Parameters
        ----------
        parts
            Results of all blocks, in order.
        """
        pieces: dict[str, list[NDArray[Any]]] = {}
        for part in parts:
            for name, values in part.items():
                pieces.setdefault(name, []).append(values)
        arrays = {name: np.concatenate(values) for name, values in pieces.items()}
        scores = {method: self._scores(method, arrays) for method in self.names}
        _tell({method: values for method, values in scores.items() if method != "blosum62"})
        correlations = {}
        if "measured" in arrays:
            for method, name in self.names.items():
                correlations[name] = rank_correlation(scores[method], arrays["measured"], seed=self.seed)
        columns = {name: arrays[f"column {at}"].astype(str) for at, name in enumerate(self.columns)}
        columns |= {name: scores[method].astype(np.float32) for method, name in self.names.items()}
        return VariantScores(
            columns=columns,
            names=tuple(self.names.values()),
            correlations=correlations,
            provenance=plain({**self.facts, "spearman": correlations}),
        )

    def _scores(self, method: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """``(m,)`` of one method."""
        if method == "blosum62":
            return arrays[method]
        if method in self.whole:
            # A table without variants has no block of this kind.
            none = np.zeros((0, len(self.whole)), np.float32)
            return arrays.get(_WHOLE, none)[:, self.whole.index(method)].astype(np.float64)
        sums = {name.removeprefix("sums "): arrays[name] for name in arrays if name.startswith("sums ")}
        return marginal_sums(sums, arrays.get(method, np.zeros((0, 1), np.float32)))


def _tell(scores: Mapping[str, NDArray[np.float64]]) -> None:
    for method, values in scores.items():
        if without := int(np.isnan(values).sum()):
            why = "insertions and deletions have no marginal, use pseudo-perplexity or one-pass; "
            log.warning(
                "%d of %d variants have no score by %s: %sstops, frame shifts and letters that the model "
                "does not know have none",
                without,
                len(values),
                method,
                why if method in MARGINALS else "",
            )
