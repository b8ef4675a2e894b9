"""GPT-2 (Radford et al. 2019): pre-norm decoder with learned positions and transposed matrices.

Source of shapes and names: ``transformers`` ``GPT2LMHeadModel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field, activation_field
from biolm.models.families.decoders import CONV1D_KEYS, GPT_WIDTH, causal, gpt_parts, lm_head_keys
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("wte.weight", "embeddings.token.weight"),
        Key("wpe.weight", "embeddings.position.weight"),
        *CONV1D_KEYS,
        Key("ln_f.*", "final_norm.*"),
        *lm_head_keys(),
        # Buffers of the causal mask; the names must not swallow c_attn.bias.
        *dropped("h.{}.attn.bias", "h.{}.attn.masked_bias"),
    ],
    prefixes=("transformer.", ""),
)


_CONFIG = ConfigTable(
    *causal("gpt2", "GPT2", tie=True, headed="LMHeadModel"),
    *gpt_parts(),
    GPT_WIDTH,
    activation_field("activation_function", "gelu_new"),
    Field(
        "scale_attn_weights", "attn_scale", True, lambda yes: None if yes else 1.0, lambda own: own is None
    ),
)
hf_config = _CONFIG.hf_config


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a GPT-2 ``config.json``.

    Raises
    ------
    ConfigError
        For a variant that was never published.
    """
    for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if config.get(name):
            raise ConfigError(f"GPT-2 with {name} is not supported; only the published form is")
    return _CONFIG.core_config(config)
