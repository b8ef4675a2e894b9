"""Gemma 1, 2 and 3 (Gemma Team 2024, 2025): Llama's names, RMSNorm by ``1 + w``, scaled embedding.

========  ==============================================================================================
Gemma     pre-norm
Gemma 2   norms around each branch, soft-caps on scores and logits, a window in every other layer
Gemma 3   norms on queries and keys instead of soft-caps, windows in five of six layers with rotary
          positions of their own
========  ==============================================================================================

Source of shapes and names: ``transformers`` ``Gemma{,2,3}ForCausalLM``.
"""

from __future__ import annotations

import math
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.decoders import hf_layer_types, windowed_layers
from biolm.models.families.fields import activation, activation_name, rope
from biolm.models.families.keys import Key, KeyTable
from biolm.models.families.llama import LAYER_KEYS, core_fields, hf_fields
from biolm.models.families.qwen3 import QK_NORM_KEYS

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
_SECOND = {**_SMALL, "query_pre_attn_scalar": 5, "sliding_window": 6}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "model_type": "gemma", "hidden_act": "gelu", "num_key_value_heads": 1},
    {**_SECOND, "model_type": "gemma2", "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    {
        **_SECOND,
        "model_type": "gemma3_text",
        "num_hidden_layers": 7,
        "rope_theta": 5000.0,
        "rope_local_base_freq": 100.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""


def _around(config: CoreConfig) -> bool:
    return config.block == "sandwich"


KEYS = KeyTable(
    [
        *LAYER_KEYS,
        *QK_NORM_KEYS,
        Key(
            "layers.{}.post_attention_layernorm.weight",
            "layers.{}.mlp_norm.weight",
            when=lambda config: not _around(config),
        ),
        Key("layers.{}.post_attention_layernorm.weight", "layers.{}.attn_out_norm.weight", when=_around),
        Key("layers.{}.pre_feedforward_layernorm.weight", "layers.{}.mlp_norm.weight", when=_around),
        Key("layers.{}.post_feedforward_layernorm.weight", "layers.{}.mlp_out_norm.weight", when=_around),
    ],
    prefixes=("model.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a Gemma ``config.json``, which its ``model_type`` tells apart."""
    if config.get("use_bidirectional_attention"):
        raise ConfigError("Gemma with use_bidirectional_attention is not supported; only decoders are")
    version = config["model_type"]
    theta = 1_000_000.0 if version == "gemma3_text" else 10_000.0
    fields = core_fields({"head_dim": 256, **config}, tie=True, theta=theta)
    # Older files say gelu or nothing and mean the tanh form, in which the weights were trained.
    spelled = config.get("hidden_activation") or config.get("hidden_act") or "gelu"
    fields |= {
        "activation": "gelu_tanh" if spelled == "gelu" else activation(spelled),
        "norm_plus_one": True,
        "embed_scale": math.sqrt(config["hidden_size"]),
    }
    if version == "gemma":
        return CoreConfig(**fields)
    layers = windowed_layers(config.get("layer_types") or _layer_types(config))
    local = rope(
        {**config, "rope_scaling": None, "rope_theta": config.get("rope_local_base_freq")},
        layer_type="sliding_attention",
    )
    if version == "gemma3_text" and local[1] is not None:
        raise ConfigError("Gemma 3 with stretched rotary positions in windowed layers is not supported")
    return CoreConfig(
        **fields,
        block="sandwich",
        window=config.get("sliding_window", 4096) if layers else 0,
        windowed_layers=layers or None,
        rope_theta_local=local[0] if version == "gemma3_text" else None,
        qk_norm="head" if version == "gemma3_text" else "none",
        attn_scale=config.get("query_pre_attn_scalar", 256) ** -0.5,
        attn_softcap=config.get("attn_logit_softcapping", 50.0 if version == "gemma2" else None),
        logit_softcap=config.get("final_logit_softcapping", 30.0 if version == "gemma2" else None),
    )


def _layer_types(config: dict[str, Any]) -> list[str]:
    """Every other layer (Gemma 2) or five of six (Gemma 3) have a window, where the file says nothing."""
    cycle = config.get("sliding_window_pattern") or (2 if config["model_type"] == "gemma2" else 6)
    layers = range(1, config["num_hidden_layers"] + 1)
    return ["sliding_attention" if i % cycle else "full_attention" for i in layers]


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    version = {"pre": "gemma", "sandwich": "gemma2" if config.qk_norm == "none" else "gemma3_text"}[
        config.block
    ]
    name = {"gemma": "Gemma", "gemma2": "Gemma2", "gemma3_text": "Gemma3"}[version]
    fields = hf_fields(config, version, name)
    fields["hidden_activation"] = activation_name(config.activation)
    if version == "gemma":
        return fields
    if config.head == "none" and version == "gemma3_text":
        fields["architectures"] = ["Gemma3TextModel"]
    assert config.attn_scale is not None
    fields |= {
        "layer_types": hf_layer_types(config),
        "sliding_window": config.window or 4096,
        "query_pre_attn_scalar": round(config.attn_scale**-2),
        "attn_logit_softcapping": config.attn_softcap,
        "final_logit_softcapping": config.logit_softcap,
    }
    if version == "gemma3_text":
        fields["rope_local_base_freq"] = config.rope_theta_local
    return fields
