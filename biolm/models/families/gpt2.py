"""GPT-2 (Radford et al. 2019): pre-norm decoder with learned positions and transposed matrices.

Source of shapes and names: ``transformers`` ``GPT2LMHeadModel``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.decoders import causal_head, hf_common, lm_head_keys
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, Transposed, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

EXAMPLES: list[dict[str, Any]] = [
    {"vocab_size": 40, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 40},
    {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "activation_function": "relu"},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

_QKV = ("query", "key", "value")

KEYS = KeyTable(
    [
        Key("wte.weight", "embeddings.token.weight"),
        Key("wpe.weight", "embeddings.position.weight"),
        Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
        Key("h.{}.attn.c_attn.*", tuple(f"layers.{{}}.attention.{n}.*" for n in _QKV), Transposed()),
        Key("h.{}.attn.c_proj.*", "layers.{}.attention.out.*", Transposed()),
        Key("h.{}.ln_2.*", "layers.{}.mlp_norm.*"),
        Key("h.{}.mlp.c_fc.*", "layers.{}.mlp.up.*", Transposed()),
        Key("h.{}.mlp.c_proj.*", "layers.{}.mlp.down.*", Transposed()),
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
    width, heads = config["n_embd"], config["n_head"]
    return CoreConfig(
        vocab_size=config["vocab_size"],
        d_model=width,
        n_layers=config["n_layer"],
        n_heads=heads,
        d_ff=config.get("n_inner") or 4 * width,
        max_length=config["n_positions"],
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        activation=activation(config.get("activation_function", "gelu_new")),
        attn_scale=None if config.get("scale_attn_weights", True) else 1.0,
        dropout_embed=config.get("embd_pdrop", 0.1),
        dropout_residual=config.get("resid_pdrop", 0.1),
        dropout_attention=config.get("attn_pdrop", 0.1),
        **causal_head(config, tie=True),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "gpt2", "GPT2", "LMHeadModel"),
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "n_positions": config.max_length,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": activation_name(config.activation),
        "scale_attn_weights": config.attn_scale is None,
        "embd_pdrop": config.dropout_embed,
        "resid_pdrop": config.dropout_residual,
        "attn_pdrop": config.dropout_attention,
    }
