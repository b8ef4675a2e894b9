"""Attention whose rotary frequencies are stored in the layer (Evo 2): what a file holds wins.

Dimensions: ``t`` tokens · ``d`` width · ``k`` head width.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from torch import Tensor

from biolm.core.attention import Attention, Context
from biolm.core.config import CoreConfig
from biolm.core.mixers import ATTENTION, Mixer
from biolm.core.positions import rope_frequencies
from biolm.errors import ConfigError

__all__ = ["STORED_ROPE", "StoredRope", "StoredRopeOptions"]


@dataclass(frozen=True, kw_only=True)
class StoredRopeOptions:
    """Rotary positions of one kind of layer.

    Parameters
    ----------
    theta
        Base of the geometric series, for a model that starts from none stored.
    factor
        Positions are divided by it (position interpolation).

    Raises
    ------
    ConfigError
        If one is not above 0.
    """

    theta: float = 10_000.0
    factor: float = 1.0

    def __post_init__(self) -> None:
        if self.theta <= 0 or self.factor <= 0:
            raise ConfigError(f"theta and factor must be above 0, not {self.theta} and {self.factor}")


class StoredRope(Attention):
    """Attention with its own ``frequencies (k / 2,)``, which are saved and loaded."""

    frequencies: Tensor

    def __init__(self, config: CoreConfig, layer: int, options: StoredRopeOptions) -> None:
        super().__init__(config, window=config.layer_window(layer))
        self.factor = options.factor
        self.register_buffer("frequencies", rope_frequencies(config.head_dim, options.theta)[0].clone())

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``(t, d)`` to ``(t, d)``."""
        places = context.layout.q_positions.float() / self.factor
        phase = places[:, None, None] * self.frequencies.float()
        own = copy(context)
        own.rope = phase.cos(), phase.sin()
        return super().forward(x, own)


# Its positions are its own: the model's stay "none".
STORED_ROPE = Mixer(
    name="attention_stored_rope",
    factory=StoredRope,
    options=StoredRopeOptions,
    supports=(ATTENTION.supports | {"order"}) - {"rope"},
)
