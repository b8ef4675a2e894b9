"""Losses of pairs: each vector must find its partner among all others, of every rank.

Dimensions: ``n`` pairs of this rank · ``m`` pairs of all ranks · ``d`` width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biolm.errors import ConfigError
from biolm.objectives.base import Score, Sum
from biolm.objectives.gather import Gathered, gather_rows

__all__ = ["Temperature", "score_pairs"]

_LARGEST_SCALE = 100.0  # CLIP's bound; beyond it training becomes unstable


class _Bounded(torch.autograd.Function):
    """``min(x, bound)``, from which ``x`` finds back: beyond the bound it has the gradients that lower it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x > bound)
        return x.clamp(max=bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (beyond,) = ctx.saved_tensors
        return torch.where(beyond, gradients[0].clamp(min=0), gradients[0]), None


class Temperature(nn.Module):
    """Scale of the cosines: ``1 / temperature``, learned as its logarithm (CLIP) or fixed.

    The scale is learned as its logarithm, after CLIP (Radford et al. 2021).

    Parameters
    ----------
    temperature
        At the start.
    learned
        Whether it is a parameter.
    """

    def __init__(self, temperature: float, *, learned: bool) -> None:
        super().__init__()
        if not 1 / _LARGEST_SCALE <= temperature < math.inf:
            raise ConfigError(
                f"temperature must be a number of at least {1 / _LARGEST_SCALE}, not {temperature}"
            )
        # One number in a vector, as FSDP cuts no scalars into shards.
        start = torch.tensor([-math.log(temperature)])
        if learned:
            self.log_scale: Tensor = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start)

    def forward(self) -> Tensor:
        """``()``."""
        bounded: Tensor = _Bounded.apply(self.log_scale, math.log(_LARGEST_SCALE))  # type: ignore[no-untyped-call]
        return bounded[0].exp()


def score_pairs(
    first: Tensor,
    second: Tensor,
    scale: Tensor,
    *,
    usable: Tensor | None = None,
    within: bool = False,
    hidden: float = -math.inf,
    everywhere: bool = True,
) -> Score:
    """Symmetric cross-entropy of pairs ``(n, d)``: row ``i`` of one side belongs to row ``i`` of the other.

    Parameters
    ----------
    first, second
        Vectors; their cosines are compared.
    scale
        ``()`` factor of the cosines.
    usable
        ``(n,)`` pairs that take part; all by default.
    within
        Vectors of the own side are negatives too: 2N-way, NT-Xent (Chen et al. 2020, SimCLR).
    hidden
        Logit of pairs that take no part and of a vector with itself; scConcept's code has 0, which still
        adds to the sum.
    everywhere
        Vectors of other ranks are negatives too; every rank must then make the same calls.

    Returns
    -------
    The loss, a mean over both directions, counted once a pair; ``recall``, the share that find their partner
    first; and ``chance``, the loss of guessing, as the baseline.
    """
    # Half precision knows cosines to three digits, which tells near vectors apart no more.
    with torch.autocast(first.device.type, enabled=False):
        return _score_pairs(first, second, scale, usable, within=within, hidden=hidden, everywhere=everywhere)


def _score_pairs(
    first: Tensor,
    second: Tensor,
    scale: Tensor,
    usable: Tensor | None,
    *,
    within: bool,
    hidden: float,
    everywhere: bool,
) -> Score:
    a, b = (F.normalize(side.float(), dim=-1) for side in (first, second))
    usable = torch.ones(len(a), dtype=torch.bool, device=a.device) if usable is None else usable
    gather = gather_rows if everywhere else Gathered
    sides, everyone = gather(torch.stack((a, b), 1)), gather(usable).rows
    all_a, all_b = sides.rows.unbind(1)  # (m, d)
    partner = torch.arange(len(a), device=a.device) + sides.start
    losses, recalls = [], []
    for own, others, same in ((a, all_b, all_a), (b, all_a, all_b)):
        logits = (scale * own @ others.T).masked_fill(~everyone, hidden)  # (n, m)
        if within:
            negatives = (scale * own @ same.T).masked_fill(~everyone, hidden)
            negatives = negatives.scatter(1, partner[:, None], hidden)
            logits = torch.cat((logits, negatives), 1)  # (n, 2m)
        logits = logits[usable]
        losses.append(F.cross_entropy(logits, partner[usable], reduction="none"))
        recalls.append((logits.detach().argmax(1) == partner[usable]).float())
    loss = Sum.of((losses[0] + losses[1]) / 2)
    negatives_count = int(everyone.sum()) * (2 if within else 1) - within
    chance = loss.count * math.log(max(negatives_count, 1))
    metrics = {"recall": Sum.of((recalls[0] + recalls[1]) / 2), "chance": Sum(chance, loss.count)}
    return Score({"loss": loss}, metrics=metrics)
