"""What the decoder families share: the head, the kinds of layers, and lines of ``config.json``.

Rotary positions are written in the spelling of ``transformers`` 4 (``rope_theta``, ``rope_scaling``), which
version 5 reads too; the other way round an older version would silently fall back to its defaults.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.fields import has_head, pad_id, rope, rope_parameters, tied
from biolm.models.families.keys import Key

__all__ = [
    "causal_head",
    "hf_common",
    "hf_layer_types",
    "hf_rope",
    "lm_head_keys",
    "rope_fields",
    "windowed_layers",
]


def causal_head(config: dict[str, Any], *, tie: bool) -> dict[str, Any]:
    """Core fields of a next-token model: mask and head; ``tie`` is the family's default.

    Examples
    --------
    >>> causal_head({"architectures": ["GPT2LMHeadModel"]}, tie=True)["head"]
    'linear'
    """
    return {
        "causal": True,
        "head": "linear" if has_head(config, "CausalLM", "LMHead") else "none",
        "tied": tied(config, default=tie),
        "pad_id": pad_id(config),
    }


def _untied(config: CoreConfig) -> bool:
    return config.head == "linear" and not config.tied


def lm_head_keys(*names: str) -> list[Key]:
    """Lines for the head's matrix, which a file may also hold as a copy of the tied embedding.

    Parameters
    ----------
    names
        Published names; the first is written, the others are read.
    """
    first, *also = (f"/{name}.weight" for name in names or ("lm_head",))
    return [
        Key(first, "head.decoder.weight", also=tuple(also), when=_untied),
        Key(first, also=tuple(also), when=lambda config: not _untied(config)),
    ]


def hf_common(config: CoreConfig, model_type: str, name: str, headed: str = "ForCausalLM") -> dict[str, Any]:
    """What every decoder's ``config.json`` says.

    Parameters
    ----------
    model_type
        As published.
    name
        Begins the name of the architecture.
    headed
        Ends it when the model has a head.
    """
    return {
        "architectures": [name + (headed if config.head == "linear" else "Model")],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "pad_token_id": config.pad_id,
        # The core knows no begin and end tokens; without these lines the family's defaults would appear.
        "bos_token_id": None,
        "eos_token_id": None,
    }


def rope_fields(
    config: dict[str, Any], head_dim: int, *, layer_type: str | None = None, theta: float = 10_000.0
) -> dict[str, Any]:
    """Core fields of rotary positions, see :func:`biolm.models.families.fields.rope`."""
    base, scaling = rope(config, layer_type=layer_type, theta=theta)
    parameters = config.get("rope_parameters") or {}
    share = parameters.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    return {
        "position": "rope",
        "rope_theta": base,
        "rope_scaling": scaling,
        "rope_dim": head_dim if share is None else int(head_dim * share),
    }


def hf_rope(config: CoreConfig) -> dict[str, Any]:
    """``rope_theta`` and ``rope_scaling`` as published."""
    scaling = rope_parameters(config.rope_theta, config.rope_scaling)
    theta = scaling.pop("rope_theta")
    return {"rope_theta": theta, "rope_scaling": None if config.rope_scaling is None else scaling}


def windowed_layers(layer_types: list[str]) -> tuple[int, ...]:
    """Numbers of the layers with a window.

    Raises
    ------
    ConfigError
        For a kind of layer that is not attention with or without a window.
    """
    for kind in layer_types:
        if kind not in ("sliding_attention", "full_attention"):
            raise ConfigError(f"layer_types must be sliding_attention or full_attention, not {kind!r}")
    return tuple(i for i, kind in enumerate(layer_types) if kind == "sliding_attention")


def hf_layer_types(config: CoreConfig) -> list[str]:
    """``layer_types`` as published."""
    return [
        "sliding_attention" if config.layer_window(i) else "full_attention" for i in range(config.n_layers)
    ]
