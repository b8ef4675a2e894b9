"""ALBERT (Lan et al. 2019): BERT with one block used in every layer and a factorised embedding.

Source of shapes and names: ``transformers`` ``AlbertForMaskedLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.bert import EMBEDDING_KEYS, POST_NORM_FIELDS, decoder_keys
from biolm.models.families.config_table import ConfigTable, Field, activation_field
from biolm.models.families.encoders import masked
from biolm.models.families.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["KEYS", "core_config", "hf_config"]


# Files number one group of one layer; its weights serve all layers.
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


_CONFIG = ConfigTable(
    *masked("albert", "Albert", dropout=0.0),
    Field("embedding_size", "embed_dim", 128),
    Field("max_position_embeddings", "max_length"),
    *POST_NORM_FIELDS,
    activation_field("hidden_act", "gelu_new", "activation", "head_activation"),
    # One block in every layer is the point of the family: 12 million weights instead of 108.
    share_layers=True,
    embed_norm=True,
    block="post",
)
hf_config = _CONFIG.hf_config


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of an ALBERT ``config.json``.

    Raises
    ------
    ConfigError
        For more than one group of layers, which no published model has.
    """
    for name in ("num_hidden_groups", "inner_group_num"):
        if config.get(name, 1) != 1:
            raise ConfigError(f"{name} must be 1, not {config[name]}: all layers share one block here")
    return _CONFIG.core_config(config)
