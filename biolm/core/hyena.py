"""Hyena mixers of StripedHyena (Evo 1) and StripedHyena 2 (Evo 2): gates around a causal convolution.

Dimensions: ``t`` tokens · ``b`` sequences · ``d`` width · ``g`` groups of channels that share taps ·
``k`` taps · ``s`` modes.

``z = fir(project(x))`` gives two gates and a value, ``output(x2 * inner(x1 * v))`` is the result. The four
mixers differ in the inner filter (Ku et al. 2025, section 2; Nguyen et al. 2024):

================  ===========  ========================================================
``hyena_short``   "SE"         few taps
``hyena_medium``  "MR"         a hundred or so taps, and a skip
``hyena_long``    "LI"         a sum of real exponentials as long as the document, and a skip
``hyena_modal``   Evo 1        the same with complex poles
================  ===========  ========================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from biolm.core.attention import Context
from biolm.core.config import CoreConfig
from biolm.core.convolve import Modes, fir, modal
from biolm.core.mixers import Mixer
from biolm.core.state import FixedState
from biolm.errors import ConfigError

__all__ = ["LONG", "MEDIUM", "MODAL", "SHORT", "Hyena", "HyenaOptions", "LongOptions", "TapsOptions"]


@dataclass(frozen=True, kw_only=True)
class HyenaOptions:
    """What all four share.

    Parameters
    ----------
    projection_bias, fir_bias, out_bias
        Whether the projection, the first filter and the output have a bias.
    fir_taps
        Taps of the first filter, on gates and value.
    split
        Where gates and value lie in the projection's channels: ``interleaved`` (each three neighbours, Evo 2)
        or ``heads`` (three parts in each of ``n_heads`` heads, Evo 1).

    Raises
    ------
    ConfigError
        For an unknown split, or numbers below 1.
    """

    projection_bias: bool = False
    fir_bias: bool = False
    out_bias: bool = True
    fir_taps: int = 3
    split: Literal["interleaved", "heads"] = "interleaved"

    def __post_init__(self) -> None:
        if self.split not in ("interleaved", "heads"):
            raise ConfigError(f"split of a hyena mixer must be interleaved or heads, not {self.split!r}")
        for name in ("fir_taps", "taps", "groups", "modes"):
            if getattr(self, name, 1) < 1:
                raise ConfigError(f"{name} of a hyena mixer must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TapsOptions(HyenaOptions):
    """Of ``hyena_short`` and ``hyena_medium``: ``taps``, and ``groups`` of channels that share them."""

    groups: int = 1
    taps: int = 7


@dataclass(frozen=True, kw_only=True)
class MediumOptions(TapsOptions):
    """Of ``hyena_medium``."""

    taps: int = 128


@dataclass(frozen=True, kw_only=True)
class LongOptions(HyenaOptions):
    """Of ``hyena_long`` and ``hyena_modal``: exponentials a channel."""

    modes: int = 16


class ShortTaps(nn.Module):
    """Taps in the order of a cross-correlation: the last one is of lag 0."""

    def __init__(self, config: CoreConfig, options: TapsOptions) -> None:
        super().__init__()
        _check_groups(config, options)
        self.taps = nn.Parameter(_small(options.groups, options.taps))

    def forward(self, u: Tensor, context: Context, past: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """``(t, d)`` to ``(t, d)``.

        Parameters
        ----------
        u
            ``(t, d)`` inputs.
        context
            What all layers of a pass share.
        past
            Inputs before these tokens, as :meth:`start` lays them; None at the beginning.
        """
        return fir(u, self.taps.flip(1), context.layout, past)

    def start(self, like: Tensor, width: int) -> Tensor:
        """Inputs before the first token.

        Parameters
        ----------
        like
            A tensor of the device and number type that are wanted.
        width
            Channels ``d``.
        """
        return like.new_zeros(width, self.taps.shape[1] - 1)


class MediumTaps(nn.Module):
    """Taps in the order of an impulse response, the first of lag 0, and a skip a channel."""

    def __init__(self, config: CoreConfig, options: TapsOptions) -> None:
        super().__init__()
        _check_groups(config, options)
        # Groups forget at different rates, from about one tap to all of them.
        rates = torch.logspace(-0.5, 1.5, options.groups)[:, None] / options.taps
        decay = torch.exp(-rates * torch.arange(options.taps))
        self.taps = nn.Parameter(_small(options.groups, options.taps) * decay)
        self.skip = nn.Parameter(torch.ones(config.d_model))

    def forward(self, u: Tensor, context: Context, past: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """``(t, d)`` to ``(t, d)``."""
        y, after = fir(u, self.taps, context.layout, past)
        return y + self.skip * u, after

    def start(self, like: Tensor, width: int) -> Tensor:
        """Inputs before the first token."""
        return like.new_zeros(width, self.taps.shape[1] - 1)


class _Kept(nn.Module):
    """Keeps tables made of its parameters as long as these stay the same and nothing is learned."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[str, Tensor] = {}
        self._made_of: tuple[int, ...] = ()

    def tables(self) -> dict[str, Tensor] | None:
        """Where to keep them; None in training."""
        # Parameters that were made in inference mode do not tell when they change.
        if torch.is_grad_enabled() or any(p.is_inference() for p in self.parameters()):
            return None
        now = tuple(number for p in self.parameters() for number in (p.data_ptr(), p._version))
        if now != self._made_of:
            self._tables, self._made_of = {}, now
        return self._tables


class RealModes(_Kept):
    """Real exponentials ``residues * exp(log_poles * i)`` and a skip a channel."""

    def __init__(self, config: CoreConfig, options: LongOptions) -> None:
        super().__init__()
        shape = (config.d_model, options.modes)
        # Memories of 1 to 1,000 tokens.
        self.log_poles = nn.Parameter(-torch.logspace(0, -3, options.modes).expand(shape).clone())
        self.residues = nn.Parameter(torch.randn(shape) / options.modes)
        self.skip = nn.Parameter(torch.ones(config.d_model))
        self.method = "auto"

    def modes(self) -> Modes:
        """Poles and residues for :func:`biolm.core.convolve.modal`."""
        # Published ones are below 0; in training none may pass it, as the filter would then grow without end.
        rates = self.log_poles.float().clamp(max=0)
        return Modes(lambda steps: torch.exp(rates[:, :, None] * steps), self.residues.float(), self.tables())

    def forward(self, u: Tensor, context: Context, past: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """``(t, d)`` to ``(t, d)``."""
        y, after = modal(u, self.modes(), context.layout, past, method=self.method)
        return y + self.skip * u, after

    def start(self, like: Tensor, width: int) -> Tensor:
        """State before the first token; float32, as small changes add up."""
        return like.new_zeros(width, self.log_poles.shape[1], dtype=torch.float32)


class ComplexModes(_Kept):
    """Complex exponentials ``residues * poles ** i``, real and imaginary parts last, and a skip a channel."""

    def __init__(self, config: CoreConfig, options: LongOptions) -> None:
        super().__init__()
        shape = (config.d_model, options.modes)
        radius = torch.exp(-torch.logspace(0, -3, options.modes)).expand(shape)
        angle = torch.rand(shape) * math.pi / 4
        self.poles = nn.Parameter(torch.stack((radius * angle.cos(), radius * angle.sin()), -1))
        self.residues = nn.Parameter(torch.randn(*shape, 2) / options.modes)
        self.skip = nn.Parameter(torch.ones(config.d_model))
        self.method = "auto"

    def modes(self) -> Modes:
        """Poles and residues for :func:`biolm.core.convolve.modal`."""
        poles = torch.view_as_complex(self.poles.float().contiguous())
        residues = torch.view_as_complex(self.residues.float().contiguous())
        # In float64, as the angle of a high power is a large number.
        wide = poles.to(torch.complex128)[:, :, None]
        return Modes(lambda steps: (wide**steps).to(torch.complex64), residues, self.tables())

    def forward(self, u: Tensor, context: Context, past: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """``(t, d)`` to ``(t, d)``."""
        y, after = modal(u, self.modes(), context.layout, past, method=self.method)
        return y + self.skip * u, after

    def start(self, like: Tensor, width: int) -> Tensor:
        """State before the first token."""
        return like.new_zeros(width, self.poles.shape[1], dtype=torch.complex64)


class Filter(nn.Module):
    """The first filter, the gates and the inner filter."""

    def __init__(self, config: CoreConfig, options: HyenaOptions, inner: nn.Module) -> None:
        super().__init__()
        self.split, self.n_heads = options.split, config.n_heads
        self.taps = nn.Parameter(_small(3 * config.d_model, options.fir_taps))
        self.bias = nn.Parameter(torch.zeros(3 * config.d_model)) if options.fir_bias else None
        self.inner = inner

    def forward(self, z: Tensor, context: Context) -> Tensor:
        """Projections ``(t, 3 d)`` to ``(t, d)``.

        Parameters
        ----------
        z
            ``(t, 3 d)`` projections.
        context
            What all layers of a pass share.
        """
        past = None if context.store is None else context.store.read()
        z, seen = fir(z, self.taps.flip(1), context.layout, None if past is None else past["fir"])
        if self.bias is not None:
            z = z + self.bias
        outer, gate, value = self._parts(z)
        y, after = self.inner(gate * value, context, None if past is None else past["inner"])
        if context.store is not None:
            assert seen is not None
            assert after is not None
            context.store.write({"fir": seen, "inner": after})
        return outer * y  # type: ignore[no-any-return]

    def _parts(self, z: Tensor) -> tuple[Tensor, ...]:
        if self.split == "interleaved":
            return z.view(len(z), -1, 3).unbind(2)
        return tuple(part.flatten(1) for part in z.view(len(z), self.n_heads, 3, -1).unbind(2))


class Hyena(nn.Module):
    """Projection, filter, projection; see the top of this file.

    Parameters
    ----------
    config
        Of the model.
    options
        Of the mixer.
    inner
        The inner filter.
    """

    def __init__(self, config: CoreConfig, options: HyenaOptions, inner: nn.Module) -> None:
        super().__init__()
        width = config.d_model
        self.project = nn.Linear(width, 3 * width, bias=options.projection_bias)
        self.filter = Filter(config, options, inner)
        self.output = nn.Linear(width, width, bias=options.out_bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``(t, d)`` to ``(t, d)``."""
        return self.output(self.filter(self.project(x), context))  # type: ignore[no-any-return]

    def decoding_state(self) -> FixedState:
        """Last inputs of the first filter, and the state of the inner one."""
        like, taps = self.project.weight, self.filter.taps
        width = self.output.in_features
        start: Tensor = self.filter.inner.start(like, width)  # type: ignore[operator]
        return FixedState({"fir": like.new_zeros(len(taps), taps.shape[1] - 1), "inner": start})


def _small(rows: int, taps: int) -> Tensor:
    return torch.randn(rows, taps) / math.sqrt(taps)


def _check_groups(config: CoreConfig, options: TapsOptions) -> None:
    if config.d_model % options.groups:
        raise ConfigError(
            f"groups of a hyena mixer must divide d_model: {options.groups} does not divide {config.d_model}"
        )


_SUPPORTS = frozenset({"causal", "order"})


def _mixer(name: str, options: type[HyenaOptions], inner: type[nn.Module]) -> Mixer:
    def make(config: CoreConfig, _layer: int, own: HyenaOptions) -> Hyena:
        return Hyena(config, own, inner(config, own))

    return Mixer(name=name, factory=make, options=options, supports=_SUPPORTS)


SHORT = _mixer("hyena_short", TapsOptions, ShortTaps)
MEDIUM = _mixer("hyena_medium", MediumOptions, MediumTaps)
LONG = _mixer("hyena_long", LongOptions, RealModes)
MODAL = _mixer("hyena_modal", LongOptions, ComplexModes)
