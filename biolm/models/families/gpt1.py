"""GPT-1 (Radford et al. 2018): post-norm decoder with learned positions and transposed matrices.

Source of shapes and names: ``transformers`` ``OpenAIGPTLMHeadModel``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.decoders import causal_head, hf_common, lm_head_keys
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, Transposed, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

EXAMPLES: list[dict[str, Any]] = [
    {"vocab_size": 40, "n_embd": 48, "n_layer": 2, "n_head": 2, "n_positions": 40},
    {"vocab_size": 40, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 40, "afn": "relu"},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

_QKV = ("query", "key", "value")

KEYS = KeyTable(
    [
        Key("tokens_embed.weight", "embeddings.token.weight"),
        Key("positions_embed.weight", "embeddings.position.weight"),
        Key("h.{}.attn.c_attn.*", tuple(f"layers.{{}}.attention.{n}.*" for n in _QKV), Transposed()),
        Key("h.{}.attn.c_proj.*", "layers.{}.attention.out.*", Transposed()),
        Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
        Key("h.{}.mlp.c_fc.*", "layers.{}.mlp.up.*", Transposed()),
        Key("h.{}.mlp.c_proj.*", "layers.{}.mlp.down.*", Transposed()),
        Key("h.{}.ln_2.*", "layers.{}.mlp_norm.*"),
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
        vocab_size=config["vocab_size"],
        d_model=config["n_embd"],
        n_layers=config["n_layer"],
        n_heads=config["n_head"],
        d_ff=4 * config["n_embd"],
        max_length=config["n_positions"],
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        block="post",
        activation=activation(_TANH.get(act, act)),
        dropout_embed=config.get("embd_pdrop", 0.1),
        dropout_residual=config.get("resid_pdrop", 0.1),
        dropout_attention=config.get("attn_pdrop", 0.1),
        **causal_head(config, tie=True),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    act = activation_name(config.activation)
    return {
        **hf_common(config, "openai-gpt", "OpenAIGPT", "LMHeadModel"),
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_positions": config.max_length,
        "layer_norm_epsilon": config.norm_eps,
        "afn": "gelu" if config.activation == "gelu_tanh" else act,
        "embd_pdrop": config.dropout_embed,
        "resid_pdrop": config.dropout_residual,
        "attn_pdrop": config.dropout_attention,
    }
