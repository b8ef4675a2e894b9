"""Examples by number, whatever they are made of, and what one pass over them finds.

Dimensions: ``n`` examples of the whole data set · ``v`` vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sized
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import InputError
from biolm.progress import progress, speaks
from biolm.training.config import DataConfig, LabelConfig
from biolm.training.data.groups import groups_of_values

__all__ = ["Examples", "Survey", "survey"]


class Examples(ABC):
    """The data of a run as a loader reads them; each kind of data fills in how its own are read.

    Attributes
    ----------
    random_access
        Whether examples are read as fast in any order as in their own.
    drawn
        Whether every epoch draws its own: crops of sequences, fewer counts, zeros.
    epoch
        Whose draws are read; None for the examples as they are, which validation reads.
    """

    random_access = True
    drawn = False
    epoch: int | None = None

    def at(self, epoch: int) -> Self:
        """The examples as an epoch sees them."""
        if not self.drawn:
            return self
        # A shallow copy: open files and mapped arrays are shared by all epochs.
        other = copy(self)
        other.epoch = epoch
        return other

    @abstractmethod
    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the examples ``rows`` (ascending); ``index`` holds their numbers."""

    @abstractmethod
    def blocks(self) -> Iterator[Tokens]:
        """All examples in order, in bounded memory."""

    def column(self, name: str, chosen: LabelConfig) -> NDArray[Any]:  # noqa: ARG002  # kinds that have any
        """``(n,)`` values of a label column.

        Parameters
        ----------
        name
            Of the column, as objectives name it.
        chosen
            Where it is found, if not under that name with the data.

        Raises
        ------
        InputError, ConfigError
            If there is no such column, or it is asked for where this kind of data has none.
        """
        raise InputError(f"these examples have no column {name!r}; give their labels from Python")

    def groups(self, data: DataConfig) -> NDArray[np.int64]:
        """``(n,)`` group of each example by ``data.groups``, to be held out together."""
        return groups_of_values(self.column(str(data.groups), LabelConfig()))

    def close(self) -> None:
        """Close what this process has open."""
        return


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over the examples finds.

    Parameters
    ----------
    lengths
        ``(n,)`` tokens of each.
    held_out
        ``(n,)`` whether it is for validation.
    """

    lengths: NDArray[np.int64]
    held_out: NDArray[np.bool_]


def survey(
    examples: Examples, vocab_size: int, fraction: float, seed: int, known: NDArray[np.int64] | None = None
) -> Survey:
    """Look at all examples once.

    Parameters
    ----------
    examples
        The data.
    vocab_size
        ``v``.
    fraction
        Chance of an example to be held out: a function of the seed and its number.
    seed
        Of the run.
    known
        ``(n,)`` tokens of each, from an earlier pass.

    Raises
    ------
    InputError
        If a token lies outside the vocabulary, or no example is left to train or validate on.
    """
    # Lengths of other data, such as after a change of data.long: look again.
    if known is not None and isinstance(examples, Sized) and len(known) != len(examples):
        known = None
    lengths = _lengths(examples, vocab_size) if known is None else known
    # A stream of its own: what is held out must not move with other draws.
    draws = np.random.Generator(np.random.PCG64([seed, 1]))
    result = Survey(lengths, draws.random(len(lengths)) < fraction)
    for what, rows in (("train", ~result.held_out), ("validate", result.held_out)):
        if not (rows & (result.lengths > 0)).any() and (what == "train" or fraction > 0):
            raise InputError(f"no example is left to {what} on; give more data or another data.validation")
    return result


def _lengths(examples: Examples, vocab_size: int) -> NDArray[np.int64]:
    """``(n,)`` tokens of each example, which are checked on the way."""
    lengths = []
    total = len(examples) if isinstance(examples, Sized) else None
    with progress("looking at the data", total, show=speaks(), unit="examples") as advance:
        for tokens in examples.blocks():
            # Here, before the first step: an embedding reads past its end without a word on some devices.
            if len(tokens.ids) and not 0 <= tokens.ids.min() <= tokens.ids.max() < vocab_size:
                raise InputError(
                    "the stored tokens do not belong to this vocabulary; give the one they were made with"
                )
            lengths.append(tokens.lengths)
            advance(len(tokens))
    return np.concatenate([np.zeros(0, np.int64), *lengths])
