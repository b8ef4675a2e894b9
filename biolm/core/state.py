"""What a layer remembers of the tokens before, and how it reads and writes it during a forward pass.

Dimensions: ``t`` new tokens · ``b`` sequences of the batch · ``j`` key-value heads · ``k`` head width.

A mixer that can generate has a method ``decoding_state()``, which returns one of two kinds of state:
:class:`KeysValues` grows with every token (up to its window), :class:`FixedState` does not. The cache
(:mod:`biolm.core.cache`) allots one of them for each sequence and layer and moves them with the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from biolm.core.layout import Rule
    from biolm.core.positions import PositionBias

__all__ = ["DecodingState", "FixedState", "KeysValues", "Store"]


@dataclass(frozen=True, slots=True)
class KeysValues:
    """State that grows: keys and values of earlier tokens.

    Parameters
    ----------
    like
        A tensor ``(j, k)`` of the number type and device wanted; its content is not read.
    window
        Tokens that are kept; 0 for all.
    """

    # A tensor, as number type and device change when the model moves.
    like: Tensor
    window: int = 0


@dataclass(frozen=True, slots=True)
class FixedState:
    """State of constant size: the last inputs of a filter, the state of a recurrence.

    Parameters
    ----------
    start
        By name, the value before the first token, of the number type and device wanted.

    Examples
    --------
    >>> import torch
    >>> FixedState({"taps": torch.zeros(8, 2)}).start["taps"].shape
    torch.Size([8, 2])
    """

    start: Mapping[str, Tensor] = field(default_factory=dict)


DecodingState = KeysValues | FixedState


class Store(Protocol):
    """Earlier tokens of one layer, for the sequences of one forward pass: ``Context.store``."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rule: Rule,
        *,
        bias: PositionBias | None = None,
        kernel: str = "auto",
    ) -> Tensor:
        """Keep keys and values ``(t, j, k)``; attention ``(t, h, k)`` to all that the layer may see.

        Parameters
        ----------
        query
            ``(t, h, k)``.
        key, value
            ``(t, j, k)`` of the new tokens.
        rule
            Who sees whom.
        bias
            Added to the scores; None for none.
        kernel
            As of :func:`biolm.core.kernels.attend`.
        """
        ...

    def read(self) -> dict[str, Tensor]:
        """The fixed state of each sequence of the batch, in its order: ``(b, ...)`` by name."""
        ...

    def write(self, state: Mapping[str, Tensor]) -> None:
        """Replace the fixed state by that after the new tokens, ``(b, ...)`` by name."""
        ...

    def project(
        self, memory: Tensor, keys_values: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Keys and values ``(u, j, k)`` of the second stream, made once as long as it stays the same.

        Parameters
        ----------
        memory
            ``(u, d)`` states of the second stream.
        keys_values
            Makes keys and values of them.
        """
        ...
