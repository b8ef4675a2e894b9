"""GPT-1 (Radford et al. 2018): post-norm decoder with learned positions and transposed matrices.

Source of shapes and names: ``transformers`` ``OpenAIGPTLMHeadModel``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
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
    {"vocab_size": 40, "n_embd": 48, "n_layer": 2, "n_head": 2, "n_positions": 40},
    {"vocab_size": 40, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 40, "afn": "relu"},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

KEYS = KeyTable(
    [
        Key("tokens_embed.weight", "embeddings.token.weight"),
        Key("positions_embed.weight", "embeddings.position.weight"),
        *CONV1D_KEYS,
        *lm_head_keys(),
        *dropped("h.{}.attn.bias", "position_ids"),
    ],
    prefixes=("transformer.", ""),
)

# Its "gelu" is the tanh form, which later files call gelu_new.
_TANH = {"gelu": "gelu_new"}


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a GPT-1 ``config.json``."""
    act = config.get("afn", "gelu")
    return CoreConfig(
        block="post",
        activation=activation(_TANH.get(act, act)),
        **gpt_fields({**config, "n_inner": None}),
        **causal_head(config, tie=True),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    act = activation_name(config.activation)
    return {
        **hf_common(config, "openai-gpt", "OpenAIGPT", "LMHeadModel"),
        **hf_gpt(config),
        "afn": "gelu" if config.activation == "gelu_tanh" else act,
    }
