"""The feed-forward branch: plain or gated.

Dimensions: ``t`` tokens · ``d`` width · ``f`` feed-forward width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from biolm.core.config import CoreConfig

__all__ = ["FeedForward", "activation"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "identity": lambda x: x,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation function of that name."""
    return _ACTIVATIONS[name]


class FeedForward(nn.Module):
    """``down(act(up(x)))``, or ``down(act(gate(x)) * up(x))`` with ``glu`` (Shazeer 2020)."""

    def __init__(self, config: CoreConfig, layer: int = 0) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=config.mlp_bias) if config.glu else None
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.mlp_bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.mlp_out_bias)
        first = config.first_activation if layer == 0 else None
        self.act = activation(first or config.activation)

    def forward(self, x: Tensor) -> Tensor:
        """``(t, d)`` to ``(t, d)``."""
        if self.gate is None:
            return self.down(self.act(self.up(x)))  # type: ignore[no-any-return]
        return self.down(self.act(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]
