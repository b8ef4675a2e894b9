"""ModernBERT (Warner et al. 2024): pre-norm encoder, gated, with alternating local and global layers.

ModernGENA is of this family too. Source of shapes and names: ``transformers`` ``ModernBertForMaskedLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.decoders import hf_layer_types, windowed_layers
from biolm.models.families.encoders import hf_common, masked_head, shape
from biolm.models.families.fields import activation, activation_name, rope
from biolm.models.families.keys import Key, KeyTable, Rows, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
EXAMPLES: list[dict[str, Any]] = [
    {
        **_SMALL,
        "num_hidden_layers": 3,
        "intermediate_size": 40,
        "local_attention": 9,
        "global_attn_every_n_layers": 2,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 500.0,
    },
    {
        **_SMALL,
        "num_hidden_layers": 2,
        "intermediate_size": 24,
        "local_attention": 6,
        "global_attn_every_n_layers": 2,
        "norm_bias": True,
        "attention_bias": True,
        "mlp_bias": True,
        "classifier_bias": True,
        "decoder_bias": False,
        "hidden_activation": "silu",
        "classifier_activation": "relu",
        "tie_word_embeddings": False,
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

_QKV = ("query", "key", "value")

KEYS = KeyTable(
    [
        Key("embeddings.tok_embeddings.weight", "embeddings.token.weight"),
        Key("embeddings.norm.*", "embeddings.norm.*"),
        Key("layers.{}.attn_norm.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.attn.Wqkv.*", tuple(f"layers.{{}}.attention.{name}.*" for name in _QKV), Rows()),
        Key("layers.{}.attn.Wo.*", "layers.{}.attention.out.*"),
        Key("layers.{}.mlp_norm.*", "layers.{}.mlp_norm.*"),
        # The half that goes through the activation comes first.
        Key("layers.{}.mlp.Wi.*", ("layers.{}.mlp.gate.*", "layers.{}.mlp.up.*"), Rows()),
        Key("layers.{}.mlp.Wo.*", "layers.{}.mlp.down.*"),
        Key("final_norm.*", "final_norm.*"),
        Key("/head.dense.*", "head.dense.*"),
        Key("/head.norm.*", "head.norm.*"),
        Key("/decoder.weight", "head.decoder.weight", when=lambda core: not core.tied),
        Key("/decoder.bias", "head.bias"),
        *dropped("/decoder.weight"),
    ],
    prefixes=("model.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a ModernBERT ``config.json``.

    Raises
    ------
    ConfigError
        For a kind of layer or of rotary positions that the core does not have.
    """
    headed = masked_head(config)
    norm_bias, mlp_bias = config.get("norm_bias", False), config.get("mlp_bias", False)
    return CoreConfig(
        **shape(config),
        **_positions(config),
        **_windows(config),
        max_length=config["max_position_embeddings"],
        embed_norm=True,
        embed_norm_bias=norm_bias,
        norm_bias=norm_bias,
        final_norm_bias=norm_bias,
        norm_eps=config.get("norm_eps", 1e-5),
        first_attn_norm=False,
        qkv_bias=config.get("attention_bias", False),
        out_bias=config.get("attention_bias", False),
        glu=True,
        activation=activation(config.get("hidden_activation", "gelu")),
        mlp_bias=mlp_bias,
        mlp_out_bias=mlp_bias,
        head_activation=activation(config.get("classifier_activation", "gelu")),
        head_dense_bias=config.get("classifier_bias", False),
        **{**headed, "head_bias": headed["head_bias"] and config.get("decoder_bias", True)},
        dropout_embed=config.get("embedding_dropout", 0.0),
        dropout_attention=config.get("attention_dropout", 0.0),
    )


def _positions(config: dict[str, Any]) -> dict[str, Any]:
    wide = {**config, "rope_theta": config.get("global_rope_theta")}
    theta, scaling = rope(wide, layer_type="full_attention", theta=160_000.0)
    # Old files may leave the local base empty, which means the global one.
    local = {**config, "rope_theta": config.get("local_rope_theta", 10_000.0)}
    theta_local, scaling_local = rope(local, layer_type="sliding_attention", theta=theta)
    if scaling_local is not None:
        raise ConfigError("rotary positions of layers with a window cannot be scaled; remove rope_scaling")
    return {
        "position": "rope",
        "rope_theta": theta,
        "rope_scaling": scaling,
        "rope_theta_local": theta_local,
    }


def _windows(config: dict[str, Any]) -> dict[str, Any]:
    kinds, every = config.get("layer_types"), config.get("global_attn_every_n_layers", 3)
    if kinds is None:
        depth = config["num_hidden_layers"]
        kinds = ["sliding_attention" if i % every else "full_attention" for i in range(depth)]
    # Half of the published width to each side, the token itself not counted.
    return {"window": config.get("local_attention", 128) // 2, "windowed_layers": windowed_layers(kinds)}


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    kinds = hf_layer_types(config)
    later = [i for i, kind in enumerate(kinds) if kind == "full_attention" and i]
    return {
        **hf_common(config, "modernbert", "ModernBert"),
        "max_position_embeddings": config.max_length,
        "norm_eps": config.norm_eps,
        "norm_bias": config.norm_bias,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "hidden_activation": activation_name(config.activation),
        "classifier_activation": activation_name(config.head_activation),
        "classifier_bias": config.head_dense_bias,
        "decoder_bias": config.head_bias,
        "local_attention": config.window * 2,
        # Version 4 reads the period and the two bases, version 5 the list.
        "global_attn_every_n_layers": later[0] if later else config.n_layers,
        "layer_types": kinds,
        "global_rope_theta": config.rope_theta,
        "local_rope_theta": config.rope_theta_local,
        "embedding_dropout": config.dropout_embed,
        "attention_dropout": config.dropout_attention,
    }
