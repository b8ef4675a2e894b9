"""Norms: LayerNorm, RMSNorm with Gemma's ``1 + w`` spelling, and those that a config names as parts.

Dimensions: ``t`` tokens · ``d`` normalised width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biolm.core.config import CoreConfig
from biolm.core.parts import Part, make_part

__all__ = ["GROUP_NORM", "LAYER_NORM", "RMSNorm", "make_norm", "norm_at"]


class RMSNorm(nn.Module):
    """``x / rms(x) * w`` (Zhang and Sennrich 2019), computed in float32.

    Parameters
    ----------
    width
        ``d``.
    eps
        Added to the mean square.
    plus_one
        Multiply by ``1 + w``, as Gemma stores its weights.
    outside
        ``eps`` is added to the root mean square instead (StripedHyena).
    """

    def __init__(self, width: int, eps: float, *, plus_one: bool = False, outside: bool = False) -> None:
        super().__init__()
        self.eps = eps
        self.outside = outside
        self.plus_one = plus_one
        self.weight = nn.Parameter(torch.zeros(width) if plus_one else torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of ``(…, d)``."""
        wide = x.float()
        # In place where a tensor is this function's own: three times faster on the CPU.
        mean = wide.square().mean(-1, keepdim=True)
        wide = wide / mean.sqrt_().add_(self.eps) if self.outside else wide * mean.add_(self.eps).rsqrt_()
        if self.plus_one:
            # Gemma multiplies before it rounds back to half precision, Llama after.
            return wide.mul_(1 + self.weight.float()).to(x.dtype)
        return wide.to(x.dtype).mul_(self.weight)


def make_norm(config: CoreConfig, width: int | None = None, *, bias: bool | None = None) -> nn.Module:
    """The norm a config asks for, of ``d_model`` or another width.

    LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019).

    Parameters
    ----------
    config
        Kind of norm and its constant.
    width
        In place of ``d_model``.
    bias
        In place of what the config says.
    """
    width = config.d_model if width is None else width
    if config.norm == "rmsnorm":
        return RMSNorm(width, config.norm_eps, plus_one=config.norm_plus_one, outside=config.norm_eps_outside)
    return nn.LayerNorm(width, config.norm_eps, bias=config.norm_bias if bias is None else bias)


def norm_at(config: CoreConfig, place: str, *, bias: bool | None = None) -> nn.Module:
    """The norm of the layers, or the one behind them: a part that the config names, or its own kind.

    Parameters
    ----------
    config
        Of the core.
    place
        ``layers`` or ``final``.
    bias
        In place of what the config says, of its own kind.
    """
    named = make_part("norm", config, place)
    return make_norm(config, bias=bias) if named is None else named


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNormOptions:
    """Constant of the norm."""

    eps: float = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNormOptions:
    """Groups of channels that are normed each on its own, and the constant (Wu and He 2018)."""

    groups: int = 4
    eps: float = 1e-5


def _layer_norm(config: CoreConfig, options: Any) -> nn.Module:
    return nn.LayerNorm(config.d_model, options.eps)


def _group_norm(config: CoreConfig, options: Any) -> nn.Module:
    return nn.GroupNorm(options.groups, config.d_model, options.eps)


LAYER_NORM = Part(name="layer_norm", kind="norm", factory=_layer_norm, options=LayerNormOptions)
GROUP_NORM = Part(name="group_norm", kind="norm", factory=_group_norm, options=GroupNormOptions)
