"""OPT (Zhang et al. 2022) and OPT-IML: decoder with learned positions from row 2 and ReLU, pre- or post-norm.

Source of shapes and names: ``transformers`` ``OPTForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.decoders import causal_head, hf_common, lm_head_keys
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "ffn_dim": 24,
    "max_position_embeddings": 40,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 3},
    {**_SMALL, "num_hidden_layers": 2, "do_layer_norm_before": False, "word_embed_proj_dim": 8},
    {**_SMALL, "num_hidden_layers": 2, "enable_bias": False, "activation_function": "gelu"},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

# The position table has two rows that no token uses.
_OFFSET = 2

KEYS = KeyTable(
    [
        Key("embed_tokens.weight", "embeddings.token.weight"),
        Key("embed_positions.weight", "embeddings.position.weight"),
        Key("project_in.weight", "embeddings.projection.weight"),
        Key("project_out.weight", "head.projection.weight", when=lambda core: core.head != "none"),
        Key("project_out.weight", when=lambda core: core.head == "none"),
        Key("layers.{}.self_attn.q_proj.*", "layers.{}.attention.query.*"),
        Key("layers.{}.self_attn.k_proj.*", "layers.{}.attention.key.*"),
        Key("layers.{}.self_attn.v_proj.*", "layers.{}.attention.value.*"),
        Key("layers.{}.self_attn.out_proj.*", "layers.{}.attention.out.*"),
        Key("layers.{}.self_attn_layer_norm.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.fc1.*", "layers.{}.mlp.up.*"),
        Key("layers.{}.fc2.*", "layers.{}.mlp.down.*"),
        # In a layer this is the feed-forward's norm, outside of it the model's.
        Key("layers.{}.final_layer_norm.*", "layers.{}.mlp_norm.*"),
        Key("final_layer_norm.*", "final_norm.*", also=("layer_norm.*",)),
        *lm_head_keys(),
    ],
    prefixes=("model.decoder.", "decoder.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of an OPT ``config.json``.

    Raises
    ------
    ConfigError
        If norms have no weights, as in Galactica.
    """
    if not config.get("layer_norm_elementwise_affine", True):
        raise ConfigError("OPT with norms without weights (Galactica) is not supported; use another model")
    width, before = config["hidden_size"], config.get("do_layer_norm_before", True)
    narrow, bias = config.get("word_embed_proj_dim") or width, config.get("enable_bias", True)
    return CoreConfig(
        vocab_size=config["vocab_size"],
        d_model=width,
        embed_dim=narrow,
        project_tokens=narrow != width,
        n_layers=config["num_hidden_layers"],
        n_heads=config["num_attention_heads"],
        d_ff=config["ffn_dim"],
        max_length=config["max_position_embeddings"],
        position_offset=_OFFSET,
        block="pre" if before else "post",
        final_norm=before and not config.get("_remove_final_layer_norm", False),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        mlp_out_bias=bias,
        activation=activation(config.get("activation_function", "relu")),
        dropout_embed=config.get("dropout", 0.1),
        dropout_residual=config.get("dropout", 0.1),
        dropout_attention=config.get("attention_dropout", 0.0),
        **causal_head(config, tie=True),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "opt", "OPT"),
        "hidden_size": config.d_model,
        "word_embed_proj_dim": config.embed_dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "ffn_dim": config.d_ff,
        "max_position_embeddings": config.max_length,
        "do_layer_norm_before": config.block == "pre",
        "_remove_final_layer_norm": config.block == "pre" and not config.final_norm,
        "enable_bias": config.qkv_bias,
        "activation_function": activation_name(config.activation),
        "dropout": config.dropout_residual,
        "attention_dropout": config.dropout_attention,
    }
