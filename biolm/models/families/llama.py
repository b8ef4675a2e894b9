"""Llama (Touvron et al. 2023, Dubey et al. 2024): RMSNorm, gated feed-forward, grouped heads, rotations.

Source of shapes and names: ``transformers`` ``LlamaForCausalLM``. Mistral and Qwen3 build on this file.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.decoders import (
    attention_keys,
    causal_head,
    hf_common,
    hf_rope,
    hf_sizes,
    lm_head_keys,
    rope_fields,
    size_fields,
)
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EXAMPLES", "KEYS", "LAYER_KEYS", "core_config", "core_fields", "hf_config", "hf_fields"]

_SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_key_value_heads": 2, "rope_theta": 100.0, "rope_scaling": _LLAMA3, "head_dim": 8},
    {**_SMALL, "attention_bias": True, "mlp_bias": True, "rope_scaling": {"type": "linear", "factor": 4.0}},
    {
        **_SMALL,
        "tie_word_embeddings": True,
        "num_key_value_heads": 1,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

LAYER_KEYS = [
    Key("embed_tokens.weight", "embeddings.token.weight"),
    *attention_keys(),
    Key("layers.{}.mlp.gate_proj.*", "layers.{}.mlp.gate.*"),
    Key("layers.{}.mlp.up_proj.*", "layers.{}.mlp.up.*"),
    Key("layers.{}.mlp.down_proj.*", "layers.{}.mlp.down.*"),
    Key("layers.{}.input_layernorm.weight", "layers.{}.attn_norm.weight"),
    Key("norm.weight", "final_norm.weight"),
    *lm_head_keys(),
    *dropped("layers.{}.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"),
]
"""Names that Llama, Mistral, Qwen and Gemma have in common."""

KEYS = KeyTable(
    [*LAYER_KEYS, Key("layers.{}.post_attention_layernorm.weight", "layers.{}.mlp_norm.weight")],
    prefixes=("model.", ""),
)


def core_fields(config: dict[str, Any], *, tie: bool = False, theta: float = 10_000.0) -> dict[str, Any]:
    """Core fields that Llama, Mistral, Qwen and Gemma read alike.

    Parameters
    ----------
    config
        A ``config.json``.
    tie, theta
        The family's defaults: head tied to the embedding, base of the rotary positions.
    """
    width, heads = config["hidden_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or width // heads
    bias = bool(config.get("attention_bias", False))
    return {
        **size_fields(config),
        "head_dim": head_dim,
        "norm": "rmsnorm",
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "qkv_bias": bias,
        "out_bias": bias,
        "glu": True,
        "activation": activation(config.get("hidden_act", "silu")),
        "mlp_bias": False,
        "mlp_out_bias": False,
        **rope_fields(config, head_dim, theta=theta, layer_type="full_attention"),
        **causal_head(config, tie=tie),
    }


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a Llama ``config.json``."""
    bias = bool(config.get("mlp_bias", False))
    return CoreConfig(**{**core_fields(config), "mlp_bias": bias, "mlp_out_bias": bias})


def hf_fields(config: CoreConfig, model_type: str, name: str) -> dict[str, Any]:
    """Lines of ``config.json`` that Llama, Mistral, Qwen and Gemma write alike.

    Parameters
    ----------
    config
        Of the core.
    model_type
        In ``transformers``.
    name
        Begins the name of the architecture.
    """
    return {
        **hf_common(config, model_type, name),
        **hf_rope(config),
        **hf_sizes(config),
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.qkv_bias,
        "hidden_act": activation_name(config.activation),
    }


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {**hf_fields(config, "llama", "Llama"), "mlp_bias": config.mlp_bias}
