"""Mistral (Jiang et al. 2023): Llama's shape with grouped heads and a sliding window in every layer.

Source of shapes and names: ``transformers`` ``MistralForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.llama import KEYS, core_fields, hf_fields

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "sliding_window": 6, "max_position_embeddings": 64, "rope_theta": 1000.0},
    {**_SMALL, "sliding_window": None, "head_dim": 8, "max_position_embeddings": 64},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a Mistral ``config.json``; a file that says nothing has a window of 4,096."""
    return CoreConfig(**core_fields(config), window=config.get("sliding_window", 4096) or 0)


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {**hf_fields(config, "mistral", "Mistral"), "sliding_window": config.window or None}
