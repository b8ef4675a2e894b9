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
from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field, Rule
from biolm.models.families.decoders import hf_layer_types, windowed_layers
from biolm.models.families.fields import activation, activation_name, rope
from biolm.models.families.keys import Key, KeyTable
from biolm.models.families.llama import LAYER_KEYS, LLAMA, llama_parts
from biolm.models.families.qwen3 import QK_NORM_KEYS

__all__ = ["KEYS", "core_config", "hf_config"]


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


def _activation(config: Mapping[str, Any]) -> dict[str, Any]:
    # Older files say gelu or nothing and mean the tanh form, in which the weights were trained.
    spelled = config.get("hidden_activation") or config.get("hidden_act") or "gelu"
    return {"activation": "gelu_tanh" if spelled == "gelu" else activation(spelled)}


def _layer_types(config: Mapping[str, Any]) -> list[str]:
    """Every other layer (Gemma 2) or five of six (Gemma 3) have a window, where the file says nothing."""
    cycle = config.get("sliding_window_pattern") or (2 if config["model_type"] == "gemma2" else 6)
    layers = range(1, config["num_hidden_layers"] + 1)
    return ["sliding_attention" if i % cycle else "full_attention" for i in layers]


def _windows(config: Mapping[str, Any]) -> dict[str, Any]:
    layers = windowed_layers(config.get("layer_types") or _layer_types(config))
    return {"window": config.get("sliding_window", 4096) if layers else 0, "windowed_layers": layers or None}


def _local_theta(config: Mapping[str, Any]) -> dict[str, Any]:
    local = {**config, "rope_scaling": None, "rope_theta": config.get("rope_local_base_freq")}
    theta, scaling = rope(local, layer_type="sliding_attention")
    if scaling is not None:
        raise ConfigError("Gemma 3 with stretched rotary positions in windowed layers is not supported")
    return {"rope_theta_local": theta}


def _hf_scale(core: CoreConfig) -> dict[str, Any]:
    assert core.attn_scale is not None
    return {"query_pre_attn_scalar": round(core.attn_scale**-2)}


_EVERY = (
    Rule(_activation, lambda core: {"hidden_activation": activation_name(core.activation)}),
    Rule(lambda config: {"embed_scale": math.sqrt(config["hidden_size"])}),
)
_SINCE_2 = (
    Rule(_windows, lambda core: {"layer_types": hf_layer_types(core), "sliding_window": core.window or 4096}),
    Rule(lambda config: {"attn_scale": config.get("query_pre_attn_scalar", 256) ** -0.5}, _hf_scale),
)


def _caps(scores: float | None, logits: float | None) -> tuple[Field, Field]:
    return (
        Field("attn_logit_softcapping", "attn_softcap", scores),
        Field("final_logit_softcapping", "logit_softcap", logits),
    )


# Norm weights are stored less 1, so that zero is the identity.
_FIXED = {**LLAMA, "norm_plus_one": True}
_CONFIGS = {
    "gemma": ConfigTable(*llama_parts("gemma", "Gemma", tie=True, head_dim=256), *_EVERY, **_FIXED),
    "gemma2": ConfigTable(
        *llama_parts("gemma2", "Gemma2", tie=True, head_dim=256),
        *_EVERY,
        *_SINCE_2,
        *_caps(50.0, 30.0),
        block="sandwich",
        **_FIXED,
    ),
    "gemma3_text": ConfigTable(
        *llama_parts("gemma3_text", "Gemma3", tie=True, theta=1_000_000.0, head_dim=256),
        *_EVERY,
        *_SINCE_2,
        *_caps(None, None),
        Rule(_local_theta, lambda core: {"rope_local_base_freq": core.rope_theta_local}),
        block="sandwich",
        qk_norm="head",
        **_FIXED,
    ),
}


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a Gemma ``config.json``, which its ``model_type`` tells apart."""
    if config.get("use_bidirectional_attention"):
        raise ConfigError("Gemma with use_bidirectional_attention is not supported; only decoders are")
    return _CONFIGS[config["model_type"]].core_config(config)


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    versions = {"pre": "gemma", "sandwich": "gemma2" if config.qk_norm == "none" else "gemma3_text"}
    version = versions[config.block]
    entries = _CONFIGS[version].hf_config(config)
    # The bare text model of Gemma 3 has a class name of its own.
    if config.head == "none" and version == "gemma3_text":
        entries["architectures"] = ["Gemma3TextModel"]
    return entries
