"""Qwen3 (Yang et al. 2025): Llama's shape with RMSNorm on the queries and keys of every head.

Source of shapes and names: ``transformers`` ``Qwen3ForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.decoders import hf_layer_types, windowed_layers
from biolm.models.families.keys import Key, KeyTable
from biolm.models.families.llama import LAYER_KEYS, core_fields, hf_fields

__all__ = ["EXAMPLES", "KEYS", "QK_NORM_KEYS", "core_config", "hf_config"]

_SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "rope_theta": 1000.0},
    {
        **_SMALL,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 1,
        "attention_bias": True,
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

QK_NORM_KEYS = [
    Key("layers.{}.self_attn.q_norm.weight", "layers.{}.attention.query_norm.weight"),
    Key("layers.{}.self_attn.k_norm.weight", "layers.{}.attention.key_norm.weight"),
]
"""Norms of queries and keys, named alike in Gemma 3."""

KEYS = KeyTable(
    [
        *LAYER_KEYS,
        *QK_NORM_KEYS,
        Key("layers.{}.post_attention_layernorm.weight", "layers.{}.mlp_norm.weight"),
    ],
    prefixes=("model.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a Qwen3 ``config.json``."""
    layers: tuple[int, ...] = ()
    if config.get("use_sliding_window"):
        kinds = config.get("layer_types")
        first = config.get("max_window_layers", 28)
        layers = windowed_layers(kinds) if kinds else tuple(range(first, config["num_hidden_layers"]))
    fields = core_fields({"head_dim": 128, **config})
    return CoreConfig(
        **fields,
        qk_norm="head",
        window=config["sliding_window"] if layers else 0,
        windowed_layers=layers or None,
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_fields(config, "qwen3", "Qwen3"),
        "use_sliding_window": bool(config.window),
        "sliding_window": config.window or None,
        "layer_types": hf_layer_types(config),
    }
