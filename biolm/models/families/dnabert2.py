"""DNABERT-2 (Zhou et al. 2023): post-norm encoder of the MosaicBERT layout, ALiBi positions, GEGLU.

Its ``config.json`` says ``model_type: bert``; the field ``alibi_starting_size`` tells it from BERT. Source of
shapes and names: ``bert_layers.py`` of github.com/mosaicml/examples, which the published checkpoint runs.
"""

from __future__ import annotations

from biolm.models.families.bert import EMBEDDING_KEYS, HEAD_KEYS, POST_NORM_FIELDS
from biolm.models.families.config_table import ConfigTable, Field, Rule, activation_field
from biolm.models.families.encoders import masked
from biolm.models.families.keys import Key, KeyTable, Rows, dropped, gate_up, norm_keys, qkv

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        *EMBEDDING_KEYS,
        Key("encoder.layer.{}.attention.self.Wqkv.*", qkv(), Rows()),
        Key("encoder.layer.{}.attention.output.dense.*", "layers.{}.attention.out.*"),
        *norm_keys("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.attn_norm"),
        Key("encoder.layer.{}.mlp.gated_layers.weight", gate_up("weight"), Rows()),
        Key("encoder.layer.{}.mlp.wo.*", "layers.{}.mlp.down.*"),
        *norm_keys("encoder.layer.{}.mlp.layernorm", "layers.{}.mlp_norm"),
        *HEAD_KEYS,
        Key("/cls.predictions.decoder.bias", "head.bias"),
        *dropped("/cls.predictions.decoder.weight", "pooler.dense.*"),
    ],
    prefixes=("bert.", ""),
)


_CONFIG = ConfigTable(
    *masked("bert", "Bert"),
    Field("max_position_embeddings", "max_length", 512),
    Rule(write=lambda core: {"alibi_starting_size": core.max_length}),
    *POST_NORM_FIELDS,
    # The gate is always a GELU; hidden_act is that of the head.
    activation_field("hidden_act", "gelu", "head_activation"),
    position="alibi",
    embed_norm=True,
    block="post",
    glu=True,
    mlp_bias=False,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
