"""GPT-2 (Radford et al. 2019): pre-norm decoder with learned positions and transposed matrices.

Source of shapes and names: ``transformers`` ``GPT2LMHeadModel``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.decoders import (
    CONV1D_KEYS,
    causal_head,
    gpt_fields,
    hf_common,
    hf_gpt,
    lm_head_keys,
)
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

EXAMPLES: list[dict[str, Any]] = [
    {"vocab_size": 40, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 40},
    {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "activation_function": "relu"},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

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


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a GPT-2 ``config.json``."""
    for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if config.get(name):
            raise ConfigError(f"GPT-2 with {name} is not supported; only the published form is")
    return CoreConfig(
        activation=activation(config.get("activation_function", "gelu_new")),
        attn_scale=None if config.get("scale_attn_weights", True) else 1.0,
        **gpt_fields(config),
        **causal_head(config, tie=True),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "gpt2", "GPT2", "LMHeadModel"),
        **hf_gpt(config),
        "n_inner": config.d_ff,
        "activation_function": activation_name(config.activation),
        "scale_attn_weights": config.attn_scale is None,
    }
