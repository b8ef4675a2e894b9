"""Mistral (Jiang et al. 2023): Llama's shape with grouped heads and a sliding window in every layer.

Source of shapes and names: ``transformers`` ``MistralForCausalLM``.
"""

from __future__ import annotations

from biolm.models.families.config_table import ConfigTable, Field
from biolm.models.families.llama import KEYS, LLAMA, llama_parts

__all__ = ["KEYS", "core_config", "hf_config"]


_CONFIG = ConfigTable(
    *llama_parts("mistral", "Mistral"),
    # A file without the entry has a window of 4,096, one that says null has none.
    Field("sliding_window", "window", 4096, lambda width: width or 0, lambda width: width or None),
    **LLAMA,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
