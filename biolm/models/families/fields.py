"""Fields of a published ``config.json`` that many families share, in its v4 and v5 spellings.

Rotary positions moved from ``rope_theta`` and ``rope_scaling`` (v4) to ``rope_parameters`` (v5), which may
hold one entry for each kind of layer. Both are read; v5 is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from biolm.core.config import Activation, RopeScaling
from biolm.errors import ConfigError

__all__ = ["activation", "activation_name", "has_head", "pad_id", "rope", "rope_parameters"]

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_SCALINGS = ("linear", "llama3", "yarn")


def activation(name: str) -> Activation:
    """Our name of a published activation.

    Raises
    ------
    ConfigError
        For one that no family here uses.

    Examples
    --------
    >>> activation("gelu_new")
    'gelu_tanh'
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"activation {name!r} is not one of {', '.join(_ACTIVATIONS)}")
    return cast(Activation, _ACTIVATIONS[name])


def activation_name(ours: str) -> str:
    """The published name of one of our activations."""
    return {"gelu_tanh": "gelu_pytorch_tanh"}.get(ours, ours)


def has_head(config: Mapping[str, Any], *classes: str) -> bool:
    """Whether the checkpoint was saved from one of the classes, which have a token head."""
    return any(part in name for name in config.get("architectures") or [] for part in classes)


def pad_id(number: int | None) -> int | None:
    """Token that pads; None also for -1, by which early Llama files say that they have none."""
    return None if number is None or number < 0 else number


def rope(
    config: Mapping[str, Any], *, layer_type: str | None = None, theta: float = 10_000.0
) -> tuple[float, RopeScaling | None]:
    """Base and stretching of the rotary positions.

    Parameters
    ----------
    config
        A ``config.json``.
    layer_type
        ``full_attention`` or ``sliding_attention``, where the v5 spelling has an entry for each.
    theta
        Where the file gives none.

    Raises
    ------
    ConfigError
        For a kind of stretching that the core does not know.

    Examples
    --------
    >>> rope({"rope_theta": 5e5})
    (500000.0, None)
    >>> rope({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}})[1].factor
    2.0
    """
    values = config.get("rope_parameters") or {}
    if layer_type in values:
        values = values[layer_type]
    scaling = values or config.get("rope_scaling") or {}
    base = float(values.get("rope_theta") or config.get("rope_theta") or theta)
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind == "default":
        return base, None
    if kind not in _SCALINGS:
        raise ConfigError(f"rope scaling {kind!r} is not one of {', '.join(_SCALINGS)}")
    ours: dict[str, Any] = {"kind": kind}
    if kind != "linear":
        trained = scaling.get("original_max_position_embeddings") or config.get("max_position_embeddings")
        ours["original_length"] = trained
    if scaling.get("factor") is None and kind == "yarn":
        # DeepSeek's files leave it to the two lengths.
        ours["factor"] = config["max_position_embeddings"] / ours["original_length"]
    else:
        ours["factor"] = float(scaling["factor"])
    if kind == "yarn":
        ours["attention_factor"] = _yarn_attention(scaling, ours["factor"])
    names = ("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor", "truncate")
    ours |= {name: scaling[name] for name in names if scaling.get(name) is not None}
    return base, RopeScaling(**ours)


def _yarn_attention(scaling: Mapping[str, Any], factor: float) -> float | None:
    """Factor on cosine and sine as DeepSeek's files give it: a quotient of two growths with length."""
    above, below = scaling.get("mscale"), scaling.get("mscale_all_dim")
    if not above or not below:
        return None
    growth = 0.1 * math.log(max(1.0, factor))
    return float((above * growth + 1) / (below * growth + 1))


def rope_parameters(theta: float, scaling: RopeScaling | None = None) -> dict[str, Any]:
    """The v5 entry of rotary positions; the inverse of :func:`rope`.

    Parameters
    ----------
    theta
        Base of the frequencies.
    scaling
        Of long contexts.
    """
    if scaling is None:
        return {"rope_type": "default", "rope_theta": theta}
    out: dict[str, Any] = {"rope_type": scaling.kind, "rope_theta": theta, "factor": scaling.factor}
    if scaling.kind == "llama3":
        out |= {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    if scaling.kind == "yarn":
        names = ("beta_fast", "beta_slow", "attention_factor", "truncate")
        out |= {name: getattr(scaling, name) for name in names if getattr(scaling, name) is not None}
    if scaling.kind != "linear":
        out["original_max_position_embeddings"] = scaling.original_length
    return out
