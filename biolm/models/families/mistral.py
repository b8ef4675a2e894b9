"""Mistral (Jiang et al. 2023): Llama's shape with grouped heads and a sliding window in every layer.

Source of shapes and names: ``transformers`` ``MistralForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.models.families.config_table import ConfigTable, Field
from biolm.models.families.llama import KEYS, LLAMA, llama_parts

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


_CONFIG = ConfigTable(
    *llama_parts("mistral", "Mistral"),
    # A file without the entry has a window of 4,096, one that says null has none.
    Field("sliding_window", "window", 4096, lambda width: width or 0, lambda width: width or None),
    **LLAMA,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
