"""ALBERT (Lan et al. 2019): BERT with one block used in every layer and a factorised embedding.

Source of shapes and names: ``transformers`` ``AlbertForMaskedLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.bert import EMBEDDING_KEYS, decoder_keys
from biolm.models.families.encoders import dropouts, hf_common, masked_head, shape
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "hidden_size": 32, "embedding_size": 12, "num_attention_heads": 4}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 3, "intermediate_size": 48, "max_position_embeddings": 40},
    {
        **_SMALL,
        "architectures": ["AlbertModel"],
        "num_hidden_layers": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 30,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

_BLOCK = "encoder.albert_layer_groups.0.albert_layers.0"

KEYS = KeyTable(
    [
        *EMBEDDING_KEYS,
        Key("encoder.embedding_hidden_mapping_in.*", "embeddings.projection.*"),
        Key(f"{_BLOCK}.attention.query.*", "layers.0.attention.query.*"),
        Key(f"{_BLOCK}.attention.key.*", "layers.0.attention.key.*"),
        Key(f"{_BLOCK}.attention.value.*", "layers.0.attention.value.*"),
        Key(f"{_BLOCK}.attention.dense.*", "layers.0.attention.out.*"),
        *norm_keys(f"{_BLOCK}.attention.LayerNorm", "layers.0.attn_norm"),
        Key(f"{_BLOCK}.ffn.*", "layers.0.mlp.up.*"),
        Key(f"{_BLOCK}.ffn_output.*", "layers.0.mlp.down.*"),
        *norm_keys(f"{_BLOCK}.full_layer_layer_norm", "layers.0.mlp_norm"),
        Key("/predictions.dense.*", "head.dense.*"),
        *norm_keys("/predictions.LayerNorm", "head.norm"),
        *decoder_keys("predictions"),
        *dropped("pooler.*", "/sop_classifier.classifier.*"),
    ],
    prefixes=("albert.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of an ALBERT ``config.json``.

    Raises
    ------
    ConfigError
        For more than one group of layers, which no published model has.
    """
    for name in ("num_hidden_groups", "inner_group_num"):
        if config.get(name, 1) != 1:
            raise ConfigError(f"{name} must be 1, not {config[name]}: all layers share one block here")
    act = activation(config.get("hidden_act", "gelu_new"))
    return CoreConfig(
        **shape(config),
        embed_dim=config.get("embedding_size", 128),
        share_layers=True,
        max_length=config["max_position_embeddings"],
        n_segments=config.get("type_vocab_size", 2),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        embed_norm=True,
        block="post",
        activation=act,
        head_activation=act,
        **masked_head(config),
        **dropouts(config, 0.0),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "albert", "Albert"),
        "embedding_size": config.embed_dim,
        "max_position_embeddings": config.max_length,
        "type_vocab_size": config.n_segments,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": activation_name(config.activation),
    }
