"""Shapes of published systems of cells, and the arithmetic of their layers in eager torch."""

from __future__ import annotations

import resource
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from biolm.batch import Batch

__all__ = ["GENES", "SHAPES", "TRANSCRIPT", "UCE", "Eager", "Shape", "packed_cells", "peak"]

GENES = (300, 600, 1200, 2400)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A published transformer.

    ``pad`` is the length that it pads to (0: the longest cell of a batch, 1: one cell at a time), ``longest``
    the most tokens of a cell, ``run`` the layers that are timed. With ``softcap`` scores are biased by key
    and kept within it.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    pre: bool
    pad: int
    longest: int
    run: int
    softcap: float = 0.0


SHAPES = {
    "geneformer": Shape(
        width=768, layers=12, heads=12, hidden=3072, pre=False, pad=0, longest=4096, run=3
    ),
    "scgpt": Shape(
        width=512, layers=12, heads=8, hidden=512, pre=False, pad=0, longest=1200, run=6
    ),
    "nicheformer": Shape(
        width=512, layers=12, heads=16, hidden=1024, pre=False, pad=1500, longest=1500, run=4
    ),
    "tgpt": Shape(
        width=1024, layers=8, heads=16, hidden=4096, pre=True, pad=64, longest=64, run=8
    ),
    "scconcept": Shape(
        width=512, layers=8, heads=8, hidden=2048, pre=True, pad=0, longest=1001, run=4
    ),
    "tahoe": Shape(
        width=512, layers=12, heads=8, hidden=2048, pre=True, pad=0, longest=2048, run=4
    ),
    "scfoundation": Shape(
        width=768, layers=12, heads=12, hidden=3072, pre=False, pad=1, longest=19266, run=3
    ),
}  # fmt: skip


class Eager(nn.Module):
    """Reference arithmetic of one layer on padded states: plain torch, no fused attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.width
        self.shape, self.bias = shape, torch.ones(shape.longest)
        self.fused, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, shape.hidden), nn.Linear(shape.hidden, d)
        self.first, self.second = nn.LayerNorm(d), nn.LayerNorm(d)

    def attended(self, x: Tensor, keep: Tensor) -> Tensor:
        """Attention of ``(b, s, d)`` with keys ``keep (b, s)``."""
        q, k, v = (
            part.unflatten(-1, (self.shape.heads, -1)).transpose(1, 2) for part in self.fused(x).chunk(3, -1)
        )
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if cap := self.shape.softcap:
            scores = cap * ((scores + self.bias[: scores.shape[-1]]) / cap).tanh()
        scores = scores.masked_fill(~keep[:, None, None], -torch.inf).softmax(-1)
        return self.out((scores @ v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """One layer, pre- or post-norm."""
        if self.shape.pre:
            x = x + self.attended(self.first(x), keep)
            return x + self.down(self.up(self.second(x)).relu())
        x = self.first(x + self.attended(x, keep))
        return self.second(x + self.down(self.up(x).relu()))


UCE = Shape(
    width=1280, layers=4, heads=20, hidden=5120, pre=False, pad=1536, longest=1536, run=4
)  # fmt: skip
TRANSCRIPT = Shape(
    width=2048, layers=12, heads=16, hidden=2048, pre=True, pad=2048, longest=2048, run=1,
    softcap=10.0,
)  # fmt: skip


def packed_cells(lengths: list[int], vocabulary: int) -> Batch:
    """Cells of these lengths, end to end, with values 1."""
    ids = nn.utils.rnn.pad_sequence([torch.arange(size) % vocabulary for size in lengths], batch_first=True)
    keep = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Batch.from_padded(ids, keep, values=torch.ones(ids.shape))


def peak() -> float:
    """Largest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
