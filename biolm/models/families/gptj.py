"""GPT-J (Wang and Komatsuzaki 2021): attention and feed-forward side by side, interleaved rotary positions.

Source of shapes and names: ``transformers`` ``GPTJForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.decoders import causal_head, gpt_fields, hf_common, hf_gpt, lm_head_keys
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

EXAMPLES: list[dict[str, Any]] = [
    {"vocab_size": 40, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 40, "rotary_dim": 4},
    {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "rotary_dim": 8},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

KEYS = KeyTable(
    [
        Key("wte.weight", "embeddings.token.weight"),
        Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
        Key("h.{}.attn.q_proj.weight", "layers.{}.attention.query.weight"),
        Key("h.{}.attn.k_proj.weight", "layers.{}.attention.key.weight"),
        Key("h.{}.attn.v_proj.weight", "layers.{}.attention.value.weight"),
        Key("h.{}.attn.out_proj.weight", "layers.{}.attention.out.weight"),
        Key("h.{}.mlp.fc_in.*", "layers.{}.mlp.up.*"),
        Key("h.{}.mlp.fc_out.*", "layers.{}.mlp.down.*"),
        Key("ln_f.*", "final_norm.*"),
        Key("/lm_head.bias", "head.bias"),
        *lm_head_keys(),
        *dropped("h.{}.attn.bias", "h.{}.attn.masked_bias", "h.{}.attn.embed_positions"),
    ],
    prefixes=("transformer.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a GPT-J ``config.json``."""
    head = causal_head(config, tie=False)
    return CoreConfig(
        position="rope",
        rope_dim=config.get("rotary_dim", 64),
        rope_interleaved=True,
        block="parallel",
        qkv_bias=False,
        out_bias=False,
        activation=activation(config.get("activation_function", "gelu_new")),
        head_bias=head["head"] == "linear",
        **gpt_fields(config, dropout=0.0),
        **head,
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "gptj", "GPTJ"),
        **hf_gpt(config),
        "n_inner": config.d_ff,
        "rotary_dim": config.rope_dim,
        "activation_function": activation_name(config.activation),
    }
