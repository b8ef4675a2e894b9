"""Shapes of published systems of cells, and the arithmetic of their layers in eager torch."""

from __future__ import annotations

import resource
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biolm.batch import Batch

__all__ = [
    "GENES",
    "SHAPES",
    "TRANSCRIPT",
    "UCE",
    "Eager",
    "EagerPerformer",
    "Shape",
    "packed_cells",
    "peak",
]

GENES = (300, 600, 1200, 2400)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A published transformer.

    ``pad`` is the length that it pads to (0: the longest cell of a batch, 1: one cell at a time), ``longest``
    the most tokens of a cell, ``run`` the layers that are timed. With ``softcap`` scores are biased by key
    and kept within it. With ``cls`` a cell's vector is the last state of one token. With ``filled`` every
    cell is read as the most tokens.
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
    cls: bool = False
    filled: bool = False


SHAPES = {
    "geneformer": Shape(
        width=768, layers=12, heads=12, hidden=3072, pre=False, pad=0, longest=4096, run=3
    ),
    "scgpt": Shape(
        width=512, layers=12, heads=8, hidden=512, pre=False, pad=0, longest=1200, run=6, cls=True
    ),
    "nicheformer": Shape(
        width=512, layers=12, heads=16, hidden=1024, pre=False, pad=1500, longest=1500, run=4
    ),
    "tgpt": Shape(
        width=1024, layers=8, heads=16, hidden=4096, pre=True, pad=64, longest=64, run=8
    ),
    "scconcept": Shape(
        width=512, layers=8, heads=8, hidden=2048, pre=True, pad=0, longest=1001, run=4, cls=True
    ),
    "tahoe": Shape(
        width=512, layers=12, heads=8, hidden=2048, pre=True, pad=0, longest=2048, run=4, cls=True
    ),
    "scprint": Shape(
        width=256, layers=8, heads=4, hidden=1024, pre=True, pad=0, longest=2008, run=4, filled=True
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


class EagerPerformer(nn.Module):
    """Reference arithmetic of one Performer layer on states ``(b, s, d)``: features of the whole tensor."""

    def __init__(self, width: int, heads: int, projection: Tensor) -> None:
        super().__init__()
        inner = heads * projection.shape[1]
        self.heads, self.projection = heads, projection
        self.q, self.k, self.v = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.out, self.up, self.down = (
            nn.Linear(*sizes) for sizes in ((inner, width), (width, 4 * width), (4 * width, width))
        )
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def features(self, x: Tensor, queries: bool) -> Tensor:
        """``(b, h, s, m)``."""
        scale, size = x.shape[-1] ** -0.25, len(self.projection)
        raw = torch.einsum("bhnd,md->bhnm", scale * x, self.projection)
        length = ((x**2).sum(-1) / 2 * scale**2)[..., None]
        top = raw.amax(-1, keepdim=True) if queries else raw.max()
        return size**-0.5 * ((raw - length - top).exp() + 1e-4)

    def forward(self, x: Tensor) -> Tensor:
        """One layer."""
        y = self.first(x)
        q, k, v = (
            part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        q, k = self.features(q, True), self.features(k, False)
        below = 1 / torch.einsum("bhnm,bhm->bhn", q, k.sum(2))
        mixed = torch.einsum("bhme,bhnm,bhn->bhne", torch.einsum("bhnm,bhne->bhme", k, v), q, below)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


UCE = Shape(
    width=1280, layers=4, heads=20, hidden=5120, pre=False, pad=1536, longest=1536, run=4
)  # fmt: skip
TRANSCRIPT = Shape(
    width=2048, layers=12, heads=16, hidden=2048, pre=True, pad=2048, longest=2048, run=1,
    softcap=10.0,
)  # fmt: skip


def packed_cells(lengths: list[int], vocabulary: int, ids: NDArray[np.int64] | None = None) -> Batch:
    """Cells of these lengths, end to end, with values 1; their genes in turn, or these ``(t,)``."""
    padded = nn.utils.rnn.pad_sequence(
        [torch.arange(size) % vocabulary for size in lengths], batch_first=True
    )
    keep = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    if ids is not None:
        padded[keep] = torch.from_numpy(ids)
    return Batch.from_padded(padded, keep, values=torch.ones(padded.shape))


def peak() -> float:
    """Largest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
