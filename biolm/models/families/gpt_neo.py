"""GPT-Neo (Black et al. 2021): GPT-2 with windows in every other layer and unscaled attention.

Source of shapes and names: ``transformers`` ``GPTNeoForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.decoders import causal_head, hf_common, lm_head_keys
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "hidden_size": 16, "num_heads": 4, "max_position_embeddings": 40}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_layers": 4, "attention_types": [[["global", "local"], 2]], "window_size": 5},
    {**_SMALL, "num_layers": 2, "attention_types": [[["global"], 2]], "intermediate_size": 24},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

KEYS = KeyTable(
    [
        Key("wte.weight", "embeddings.token.weight"),
        Key("wpe.weight", "embeddings.position.weight"),
        Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
        Key("h.{}.attn.attention.q_proj.weight", "layers.{}.attention.query.weight"),
        Key("h.{}.attn.attention.k_proj.weight", "layers.{}.attention.key.weight"),
        Key("h.{}.attn.attention.v_proj.weight", "layers.{}.attention.value.weight"),
        Key("h.{}.attn.attention.out_proj.*", "layers.{}.attention.out.*"),
        Key("h.{}.ln_2.*", "layers.{}.mlp_norm.*"),
        Key("h.{}.mlp.c_fc.*", "layers.{}.mlp.up.*"),
        Key("h.{}.mlp.c_proj.*", "layers.{}.mlp.down.*"),
        Key("ln_f.*", "final_norm.*"),
        *lm_head_keys(),
        *dropped("h.{}.attn.attention.bias", "h.{}.attn.attention.masked_bias"),
    ],
    prefixes=("transformer.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a GPT-Neo ``config.json``."""
    width = config["hidden_size"]
    kinds = [
        kind
        for cycle, times in config.get("attention_types") or [[["global", "local"], 12]]
        for kind in cycle * times
    ]
    local = tuple(i for i, kind in enumerate(kinds) if kind == "local")
    return CoreConfig(
        vocab_size=config["vocab_size"],
        d_model=width,
        n_layers=config["num_layers"],
        n_heads=config["num_heads"],
        d_ff=config.get("intermediate_size") or 4 * width,
        max_length=config["max_position_embeddings"],
        window=config.get("window_size", 256) if local else 0,
        windowed_layers=local or None,
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        qkv_bias=False,
        attn_scale=1.0,
        activation=activation(config.get("activation_function", "gelu_new")),
        dropout_embed=config.get("embed_dropout", 0.0),
        dropout_residual=config.get("resid_dropout", 0.0),
        dropout_attention=config.get("attention_dropout", 0.0),
        **causal_head(config, tie=True),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    kinds = ["local" if config.layer_window(i) else "global" for i in range(config.n_layers)]
    return {
        **hf_common(config, "gpt_neo", "GPTNeo"),
        "hidden_size": config.d_model,
        "num_layers": config.n_layers,
        "num_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.max_length,
        "attention_types": [[kinds, 1]],
        "window_size": config.window or 256,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": activation_name(config.activation),
        "embed_dropout": config.dropout_embed,
        "resid_dropout": config.dropout_residual,
        "attention_dropout": config.dropout_attention,
    }
