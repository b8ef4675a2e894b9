"""Positions: rotary angles, and biases on attention scores (ALiBi, T5).

Dimensions: ``t`` tokens · ``h`` heads · ``k`` head width · ``r`` rotated part of it · ``q``, ``s``
queries and keys of one document.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from torch import Tensor, nn

from biolm.core.config import CoreConfig, RopeScaling

__all__ = ["AlibiBias", "PositionBias", "T5Bias", "make_bias", "rope_angles", "rope_table", "rotate"]


def rope_frequencies(
    width: int, theta: float, scaling: RopeScaling | None = None, device: torch.device | None = None
) -> tuple[Tensor, float]:
    """Angles per token of each rotated pair, and the factor on cosine and sine.

    Parameters
    ----------
    width
        ``r``, the rotated part of a head.
    theta
        Base of the geometric series (Su et al. 2021).
    scaling
        Stretching to longer inputs.

    Returns
    -------
    ``(r / 2,)`` float32 angles, and the attention factor (1 without YaRN).
    """
    # Inside `with torch.device("meta")` the tensors made have no content, and must not be kept for others.
    return _kept_frequencies(width, theta, scaling, device or torch.get_default_device())


@lru_cache(maxsize=64)
def _kept_frequencies(
    width: int, theta: float, scaling: RopeScaling | None, device: torch.device
) -> tuple[Tensor, float]:
    # Kept for later calls, so these must be tensors that may also take part in training.
    with torch.inference_mode(mode=False):
        return _frequencies(width, theta, scaling, device)


def _frequencies(
    width: int, theta: float, scaling: RopeScaling | None, device: torch.device
) -> tuple[Tensor, float]:
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=device) / width
    angles = 1.0 / theta**steps
    if scaling is None:
        return angles, 1.0
    if scaling.kind == "linear":
        return angles / scaling.factor, 1.0
    if scaling.kind == "llama3":
        return _llama3(angles, scaling), 1.0
    factor = scaling.attention_factor
    if factor is None:
        factor = 0.1 * math.log(scaling.factor) + 1.0
    return _yarn(angles, width, theta, scaling), factor


def _llama3(angles: Tensor, scaling: RopeScaling) -> Tensor:
    """Keep fast rotations, divide slow ones, blend between (Llama 3.1)."""
    turns = scaling.original_length * angles / (2 * math.pi)  # rotations over the trained length
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = blend.clamp(0, 1)
    return angles * blend + angles / scaling.factor * (1 - blend)


def _yarn(angles: Tensor, width: int, theta: float, scaling: RopeScaling) -> Tensor:
    """Keep dimensions that turn often within the trained length, interpolate the others (YaRN, eq. 23)."""

    def dimension(rotations: float) -> float:
        return width * math.log(scaling.original_length / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    span = high - low if high != low else 0.001
    place = torch.arange(width // 2, dtype=torch.float32, device=angles.device)
    ramp = ((place - low) / span).clamp(0, 1)
    return angles / scaling.factor * ramp + angles * (1 - ramp)


def rope_angles(
    config: CoreConfig, *, local: bool = False, device: torch.device | None = None
) -> tuple[Tensor, float]:
    """Angles per token ``(r / 2,)`` of each rotated pair, and the factor on cosine and sine.

    Parameters
    ----------
    local
        For a windowed layer, which may have a base of its own and is never stretched then.
    """
    own = local and config.rope_theta_local is not None
    theta = config.rope_theta_local if own and config.rope_theta_local else config.rope_theta
    scaling = None if own else config.rope_scaling
    angles, factor = rope_frequencies(config.rope_dim, theta, scaling, device)
    if config.rope_rounding != "none":
        angles = angles.to(getattr(torch, config.rope_rounding)).float()
    return angles, factor


def rope_table(config: CoreConfig, positions: Tensor, *, local: bool = False) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every token's angles.

    Parameters
    ----------
    positions
        ``(t,)``.
    local
        For a windowed layer.

    Returns
    -------
    Two ``(t, 1, r / 2)`` float32 tensors, to be used by :func:`rotate` for every head.
    """
    angles, factor = rope_angles(config, local=local, device=positions.device)
    phase = positions.float()[:, None, None] * angles
    return phase.cos() * factor, phase.sin() * factor


def rotate(x: Tensor, table: tuple[Tensor, Tensor], *, interleaved: bool) -> Tensor:
    """Turn the first ``r`` numbers of each head by its token's angles.

    Parameters
    ----------
    x
        ``(t, h, k)`` queries or keys.
    table
        From :func:`rope_table`.
    interleaved
        Pairs are neighbours (GPT-J, Meta's Llama files) instead of the two halves (Hugging Face).
    """
    cos, sin = table[0].to(x.dtype), table[1].to(x.dtype)
    half = cos.shape[-1]
    if interleaved:
        a, b = x[..., 0 : 2 * half : 2], x[..., 1 : 2 * half : 2]
    else:
        a, b = x[..., :half], x[..., half : 2 * half]
    # Fewer and fused steps than the textbook form: on the CPU new memory costs more than arithmetic.
    parts = [(a * cos).addcmul_(b, sin, value=-1), (b * cos).addcmul_(a, sin)]
    if interleaved:
        parts = [torch.stack(parts, dim=-1).flatten(-2)]
    if x.shape[-1] > 2 * half:
        parts.append(x[..., 2 * half :])
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class PositionBias(nn.Module, ABC):
    """A number added to the attention score of a query and a key, by head and distance."""

    n_heads: int

    @abstractmethod
    def score(self, head: Tensor, distance: Tensor) -> Tensor:
        """Bias of ``head`` at ``distance`` = key place − query place; the two broadcast.

        Parameters
        ----------
        head
            Numbers of heads.
        distance
            Place of the key minus place of the query.
        """

    def forward(self, distance: Tensor) -> Tensor:
        """``(q, s)`` distances to ``(h, q, s)`` biases."""
        head = torch.arange(self.n_heads, device=distance.device)[:, None, None]
        return self.score(head, distance[None])


class AlibiBias(PositionBias):
    """``-slope * |distance|`` with geometric slopes (Press et al. 2021); symmetric, as DNABERT-2 uses it.

    Parameters
    ----------
    n_heads
        ``h``.
    scale
        Multiplies the slopes.
    """

    slopes: Tensor

    def __init__(self, n_heads: int, scale: float = 1.0) -> None:
        super().__init__()
        self.n_heads = n_heads
        slopes = [scale * slope for slope in alibi_slopes(n_heads)]
        self.register_buffer("slopes", torch.tensor(slopes), persistent=False)

    def score(self, head: Tensor, distance: Tensor) -> Tensor:
        """Linear in the distance."""
        return -self.slopes[head] * distance.abs()


def alibi_slopes(n_heads: int) -> list[float]:
    """Geometric slopes; heads beyond a power of two take every other slope of twice as many."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    extra = [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * power, 2)]
    return slopes + extra[: n_heads - power]


class T5Bias(PositionBias):
    """A learned number for each head and bucket of distances (Raffel et al. 2020)."""

    def __init__(self, n_heads: int, buckets: int, max_distance: int, *, two_sided: bool) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.buckets = buckets
        self.max_distance = max_distance
        self.two_sided = two_sided
        self.table = nn.Embedding(buckets, n_heads)

    def bucket(self, distance: Tensor) -> Tensor:
        """Exact buckets for near keys, logarithmic ones further out, one for all beyond the maximum."""
        buckets, start = self.buckets, torch.zeros_like(distance)
        if self.two_sided:
            buckets //= 2
            start = (distance > 0).long() * buckets
            distance = distance.abs()
        else:
            distance = (-distance).clamp(min=0)
        exact = buckets // 2
        # The clamp keeps the logarithm defined where the exact bucket is chosen anyway.
        ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (ratio * (buckets - exact)).long()).clamp(max=buckets - 1)
        return start + torch.where(distance < exact, distance, far)

    def score(self, head: Tensor, distance: Tensor) -> Tensor:
        """Looked up in the table."""
        return self.table.weight[self.bucket(distance), head]


def make_bias(config: CoreConfig) -> PositionBias | None:
    """The score bias a config asks for; None for positions that are not in the scores."""
    if config.position == "alibi":
        scale = config.head_dim**-0.5 if config.attn_scale is None else config.attn_scale
        return AlibiBias(config.n_heads, scale if config.alibi_scaled else 1.0)
    if config.position == "t5":
        return T5Bias(config.n_heads, config.t5_buckets, config.t5_max_distance, two_sided=not config.causal)
    return None
