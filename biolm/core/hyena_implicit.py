"""HyenaDNA's mixer (Poli et al. 2023, Nguyen et al. 2023).

The filter is as long as the model's longest input; a small network computes it from the place.

Dimensions: ``t`` tokens · ``d`` width · ``l`` longest input · ``e`` numbers that encode a place · ``f``
width of the small network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from biolm.core.attention import Context
from biolm.core.config import CoreConfig
from biolm.core.convolve import fft_convolve, fir
from biolm.core.mixers import Mixer
from biolm.core.state import FixedState
from biolm.errors import ConfigError, InputError

__all__ = ["IMPLICIT", "HyenaImplicit", "ImplicitFilter", "ImplicitOptions"]

_SHIFT = 0.05  # keeps the window of a distant tap above 0


@dataclass(frozen=True, kw_only=True)
class ImplicitOptions:
    """Of ``hyena_implicit``.

    Parameters
    ----------
    place_width
        ``e``, an odd number of at least 3.
    network_width
        ``f``.
    inner_layers
        Layers of the small network between its first and its last.
    frequency
        Start of the factor inside its sines.

    Raises
    ------
    ConfigError
        For impossible sizes.
    """

    place_width: int = 5
    network_width: int = 64
    inner_layers: int = 2
    frequency: float = 10.0

    def __post_init__(self) -> None:
        if self.place_width < 3 or self.place_width % 2 == 0:
            raise ConfigError(f"place_width must be odd and at least 3, not {self.place_width}")
        if self.network_width < 1 or self.inner_layers < 0:
            raise ConfigError("network_width must be at least 1 and inner_layers at least 0")


class ImplicitFilter(nn.Module):
    """The taps of every channel, by a network of sines on a stored table of places."""

    times: Tensor
    rates: Tensor

    def __init__(self, config: CoreConfig, options: ImplicitOptions) -> None:
        super().__init__()
        length, width = config.max_length, options.network_width
        self.table = nn.Parameter(_places(length, options.place_width))
        self.register_buffer("times", torch.linspace(0, 1, length))
        fastest, slowest = math.log(0.01) / 0.3, math.log(0.01) / 1.5
        self.register_buffer("rates", torch.linspace(slowest, fastest, config.d_model))
        self.frequency = nn.Parameter(torch.full((width,), options.frequency))
        sizes = [options.place_width, *[width] * (options.inner_layers + 1)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(width, config.d_model, bias=False)
        self.skip = nn.Parameter(torch.randn(config.d_model))

    def forward(self, length: int) -> Tensor:
        """The first taps, ``(d, length)``: they depend on the longest input, not on this one."""
        x = self.table[:length]
        for layer in self.layers:
            x = torch.sin(self.frequency * layer(x))
        window = torch.exp(-self.times[:length, None] * self.rates.abs()) + _SHIFT
        return (self.last(x) * window).t()  # type: ignore[no-any-return]


def _places(length: int, width: int) -> Tensor:
    """The place, and cosines and sines of it, ``(l, e)``."""
    bands = (width - 1) // 2
    place = torch.linspace(0, 1, length)[:, None]
    turns = 2 * math.pi * torch.arange(length)[:, None] / length
    phase = turns * torch.linspace(1e-4, bands - 1, bands)
    return torch.cat((place, phase.cos(), -phase.sin()), 1)


class HyenaImplicit(nn.Module):
    """Projection, three taps, a gate on either side of the long filter, projection."""

    def __init__(self, config: CoreConfig, _layer: int, options: ImplicitOptions) -> None:
        super().__init__()
        width = config.d_model
        self.max_length = config.max_length
        self.project = nn.Linear(width, 3 * width)
        self.taps = nn.Parameter(torch.randn(3 * width, 3) / math.sqrt(3))
        self.taps_bias = nn.Parameter(torch.zeros(3 * width))
        self.filter = ImplicitFilter(config, options)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``(t, d)`` to ``(t, d)``.

        Raises
        ------
        InputError
            If a document is longer than the filter.
        """
        layout, store = context.layout, context.store
        self._check(layout.q_positions)
        past = None if store is None else store.read()
        z, seen = fir(self.project(x), self.taps.flip(1), layout, None if past is None else past["fir"])
        outer, gate, value = (z + self.taps_bias).chunk(3, dim=1)
        u = value * gate
        if store is None or past is None:
            y = fft_convolve(u, self.filter(layout.max_q), layout)
        else:
            y, inner = fir(u, self.filter(self.max_length), layout, past["inner"])
            assert seen is not None
            assert inner is not None
            store.write({"fir": seen, "inner": inner})
        return self.out((y + self.filter.skip * u).to(x.dtype) * outer)  # type: ignore[no-any-return]

    def decoding_state(self) -> FixedState:
        """Last inputs of both filters: of the long one all that it reaches."""
        like, width = self.project.weight, self.out.in_features
        return FixedState(
            {"fir": like.new_zeros(3 * width, 2), "inner": like.new_zeros(width, self.max_length - 1)}
        )

    def _check(self, positions: Tensor) -> None:
        if positions.device.type == "cpu" and len(positions) and int(positions.max()) >= self.max_length:
            raise InputError(
                f"a document has more than {self.max_length:,} tokens, where this model's filter ends; "
                "shorten it or cut it into windows"
            )


IMPLICIT = Mixer(
    name="hyena_implicit",
    factory=HyenaImplicit,
    options=ImplicitOptions,
    supports=frozenset({"causal", "order"}),
)
