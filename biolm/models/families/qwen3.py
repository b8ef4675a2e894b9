"""Qwen3 (Yang et al. 2025): Llama's shape with RMSNorm on the queries and keys of every head.

Source of shapes and names: ``transformers`` ``Qwen3ForCausalLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.config_table import ConfigTable, Rule
from biolm.models.families.decoders import hf_layer_types, windowed_layers
from biolm.models.families.keys import Key, KeyTable
from biolm.models.families.llama import LAYER_KEYS, LLAMA, MLP_NORM_KEY, llama_parts

__all__ = ["KEYS", "QK_NORM_KEYS", "core_config", "hf_config"]


QK_NORM_KEYS = [
    Key("layers.{}.self_attn.q_norm.weight", "layers.{}.attention.query_norm.weight"),
    Key("layers.{}.self_attn.k_norm.weight", "layers.{}.attention.key_norm.weight"),
]
"""Norms of queries and keys, named alike in Gemma 3."""

KEYS = KeyTable([*LAYER_KEYS, *QK_NORM_KEYS, MLP_NORM_KEY], prefixes=("model.", ""))


def _windows(config: Mapping[str, Any]) -> dict[str, Any]:
    layers: tuple[int, ...] = ()
    if config.get("use_sliding_window"):
        kinds = config.get("layer_types")
        first = config.get("max_window_layers", 28)
        layers = windowed_layers(kinds) if kinds else tuple(range(first, config["num_hidden_layers"]))
    return {"window": config["sliding_window"] if layers else 0, "windowed_layers": layers or None}


def _hf_windows(core: CoreConfig) -> dict[str, Any]:
    return {
        "use_sliding_window": bool(core.window),
        "sliding_window": core.window or None,
        "layer_types": hf_layer_types(core),
    }


_CONFIG = ConfigTable(
    *llama_parts("qwen3", "Qwen3", head_dim=128), Rule(_windows, _hf_windows), qk_norm="head", **LLAMA
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
