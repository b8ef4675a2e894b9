"""Random numbers by a counter hash: a number depends on what it is for, never on what was drawn before.

Dimensions: any shape; arguments broadcast.

The same (seed, epoch, example, place) gives the same bits on CPU and GPU, in any worker, after any resume.
All arithmetic is on int64, which wraps around in torch as in C; logical shifts are made by masking.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Draw", "example_seeds", "hash_bits", "uniform"]


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >= 1 << 63 else constant


# SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
_GAMMA = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)
_MANTISSA = 53


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def hash_bits(state: Tensor, counter: Tensor | int) -> Tensor:
    """64 random bits of each (state, counter), as int64.

    Parameters
    ----------
    state, counter
        Of shapes that broadcast.
    """
    x = state + (torch.as_tensor(counter, dtype=torch.int64, device=state.device) + 1) * _GAMMA
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def example_seeds(keys: Tensor, epoch: int, seed: int, stream: int = 0) -> Tensor:
    """One seed for each example, ``(b,)`` int64.

    Parameters
    ----------
    keys
        ``(b,)`` int64 number of each example in the whole data set.
    epoch, seed
        Of the run.
    stream
        Tells uses apart that must be independent, such as which tokens and what they become.
    """
    state = torch.full_like(keys, seed, dtype=torch.int64)
    for part in (epoch, stream):
        state = hash_bits(state, part)
    return hash_bits(state, keys)


def uniform(seeds: Tensor, counter: Tensor | int) -> Tensor:
    """Numbers in [0, 1), float64, of each (seed, counter).

    Parameters
    ----------
    seeds, counter
        Of shapes that broadcast.

    Examples
    --------
    >>> seeds = example_seeds(torch.tensor([7, 8]), epoch=0, seed=1)
    >>> bool((uniform(seeds, 3)[1] == uniform(seeds[1], 3)).all())
    True
    """
    return _shift(hash_bits(seeds, counter), 64 - _MANTISSA).double() * 2.0**-_MANTISSA


@dataclass(frozen=True, slots=True)
class Draw:
    """What the random numbers of one batch depend on.

    Parameters
    ----------
    keys
        ``(b,)`` int64 number of each example in the whole data set.
    epoch, seed
        Of the run.
    number
        Of the batch in the run, the same on every rank: for draws that all examples share. None takes the
        keys in its place, whatever their order.
    """

    keys: Tensor
    epoch: int
    seed: int
    number: int | None = None

    def seeds(self, use: str) -> Tensor:
        """``(b,)`` one seed for each example; uses have independent ones."""
        return example_seeds(self.keys, self.epoch, self.seed, _USES.index(use))

    def shared(self, use: str) -> Tensor:
        """``()`` one seed for the whole batch."""
        if self.number is None:
            own = self.seeds(use).sum()
        else:
            # Not the epoch: where it ends between two ranks' batches, they would draw differently.
            number = torch.tensor(self.number, dtype=torch.int64, device=self.keys.device)
            own = example_seeds(number, 0, self.seed, _USES.index(use))
        return hash_bits(own, _SHARED)


# Only ever append: the place of a use is part of its random stream.
_USES = ("choose", "span", "become", "random", "rate", "reverse", "panel", "size", "keep", "order", "score")
_SHARED = 1 << 40
