"""What ranks tell each other: rows, with the gradients sent back where they belong, and counts.

Dimensions: ``n`` rows of this rank · ``m`` rows of all ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from biolm.objectives.base import Score

__all__ = ["Gathered", "counts_of_ranks", "gather_rows"]


class Gathered:
    """Rows of all ranks.

    Parameters
    ----------
    rows
        ``(m, ·)`` in the order of the ranks.
    start
        Where this rank's begin.
    """

    __slots__ = ("rows", "start")

    def __init__(self, rows: Tensor, start: int = 0) -> None:
        self.rows = rows
        self.start = start


class _Gather(torch.autograd.Function):
    """Gather on the way forward; sum the gradients of all ranks and keep this rank's on the way back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        rank = dist.get_rank()
        ctx.span = (sum(counts[:rank]), counts[rank])
        # Collectives want equal shapes, and ranks may hold different numbers of rows.
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        start, count = ctx.span
        return summed[start : start + count], None


def gather_rows(rows: Tensor) -> Gathered:
    """Rows ``(n, ·)`` of all ranks; without a process group, this one's alone.

    Every rank must call it, in the same order. If each rank's loss is a sum over its own rows, the gradients
    of all ranks add up to those of one process with all rows.
    """
    if _alone():
        return Gathered(rows)
    own = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, own)
    counts = [int(size) for size in sizes]
    gathered: Tensor = _Gather.apply(rows, counts)  # type: ignore[no-untyped-call]
    return Gathered(gathered, sum(counts[: dist.get_rank()]))


def counts_of_ranks(score: Score, known: Mapping[str, float] | None = None) -> dict[str, Tensor] | None:
    """Mean count of each term over the ranks, for :meth:`~biolm.objectives.base.Score.loss`.

    None for one rank alone without ``known``.

    Parameters
    ----------
    score
        Of this rank.
    known
        Counts to take in place of the score's: means over the batches that this rank accumulates.

    Distributed training averages the ranks' gradients. Divided by these counts, they average to the gradient
    of the mean over all ranks' items, however unevenly these are spread. Every rank must call it. Where a
    term of any rank is infinite or NaN, its count is NaN on all: they can stop together.
    """
    if _alone() and not known:
        return None
    given_counts = known or {}
    counts = torch.stack(
        [term.count.new_tensor(given_counts[name]) if name in given_counts else term.count.detach()
         for name, term in score.terms.items()]
    )  # fmt: skip
    if not _alone():
        # Infinity times 0 is NaN, as is NaN times 0.
        counts = counts + 0.0 * torch.stack([term.total.detach() for term in score.terms.values()])
        dist.all_reduce(counts)
        counts = counts / dist.get_world_size()
    return dict(zip(score.terms, counts, strict=True))


def _alone() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
