"""What the decoder families share: the head, the kinds of layers, and lines of ``config.json``.

Rotary positions are written in the spelling of ``transformers`` 4 (``rope_theta``, ``rope_scaling``), which
version 5 reads too; the other way round an older version would silently fall back to its defaults.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.fields import has_head, pad_id, rope, rope_parameters, tied
from biolm.models.families.keys import Key, Transposed

__all__ = [
    "CONV1D_KEYS",
    "attention_keys",
    "causal_head",
    "gpt_fields",
    "hf_common",
    "hf_gpt",
    "hf_layer_types",
    "hf_rope",
    "hf_sizes",
    "lm_head_keys",
    "rope_fields",
    "size_fields",
    "windowed_layers",
]

CONV1D_KEYS = [
    Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
    Key(
        "h.{}.attn.c_attn.*",
        tuple(f"layers.{{}}.attention.{part}.*" for part in ("query", "key", "value")),
        Transposed(),
    ),
    Key("h.{}.attn.c_proj.*", "layers.{}.attention.out.*", Transposed()),
    Key("h.{}.ln_2.*", "layers.{}.mlp_norm.*"),
    Key("h.{}.mlp.c_fc.*", "layers.{}.mlp.up.*", Transposed()),
    Key("h.{}.mlp.c_proj.*", "layers.{}.mlp.down.*", Transposed()),
]
"""Layers of GPT-1 and GPT-2, whose matrices are stored the other way round."""


def causal_head(config: dict[str, Any], *, tie: bool) -> dict[str, Any]:
    """Core fields of a next-token model: mask and head; ``tie`` is the family's default.

    Parameters
    ----------
    config
        A ``config.json``.
    tie
        The family's default.

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


def attention_keys(out: str = "o_proj") -> list[Key]:
    """Lines for four separate matrices in ``self_attn``; ``out`` is the name of the last."""
    parts = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), (out, "out"))
    return [
        Key(f"layers.{{}}.self_attn.{theirs}.*", f"layers.{{}}.attention.{ours}.*") for theirs, ours in parts
    ]


def gpt_fields(config: dict[str, Any], *, dropout: float = 0.1) -> dict[str, Any]:
    """Core fields that GPT-1, GPT-2 and GPT-J read alike; ``dropout`` is the family's default.

    Parameters
    ----------
    config
        A ``config.json``.
    dropout
        The family's default.
    """
    return {
        "vocab_size": config["vocab_size"],
        "d_model": config["n_embd"],
        "n_layers": config["n_layer"],
        "n_heads": config["n_head"],
        "d_ff": config.get("n_inner") or 4 * config["n_embd"],
        "max_length": config["n_positions"],
        "norm_eps": config.get("layer_norm_epsilon", 1e-5),
        "dropout_embed": config.get("embd_pdrop", dropout),
        "dropout_residual": config.get("resid_pdrop", dropout),
        "dropout_attention": config.get("attn_pdrop", dropout),
    }


def hf_gpt(config: CoreConfig) -> dict[str, Any]:
    """Lines of ``config.json`` that GPT-1, GPT-2 and GPT-J write alike."""
    return {
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_positions": config.max_length,
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": config.dropout_embed,
        "resid_pdrop": config.dropout_residual,
        "attn_pdrop": config.dropout_attention,
    }


def size_fields(config: dict[str, Any], *, max_length: int | None = None) -> dict[str, Any]:
    """Core fields of sizes, as most families name them; ``max_length`` where the file gives none.

    Parameters
    ----------
    config
        A ``config.json``.
    max_length
        Where the file gives none.
    """
    heads = config["num_attention_heads"]
    return {
        "vocab_size": config["vocab_size"],
        "d_model": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": heads,
        "n_kv_heads": config.get("num_key_value_heads") or heads,
        "d_ff": config["intermediate_size"],
        "max_length": config["max_position_embeddings"]
        if max_length is None
        else config.get("max_position_embeddings", max_length),
        "dropout_attention": config.get("attention_dropout") or 0.0,
    }


def hf_sizes(config: CoreConfig) -> dict[str, Any]:
    """Lines of ``config.json`` for :func:`size_fields`."""
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.max_length,
        "attention_dropout": config.dropout_attention,
    }


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
    """Core fields of rotary positions, see :func:`biolm.models.families.fields.rope`.

    Parameters
    ----------
    config
        A ``config.json``.
    head_dim
        Width of a head.
    layer_type
        Kind of layer, where they differ.
    theta
        The family's default base.
    """
    base, scaling = rope(config, layer_type=layer_type, theta=theta)
    parameters = config.get("rope_parameters") or {}
    fraction = parameters.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    return {
        "position": "rope",
        "rope_theta": base,
        "rope_scaling": scaling,
        "rope_dim": head_dim if fraction is None else int(head_dim * fraction),
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
