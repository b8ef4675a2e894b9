"""DNABERT-2 (Zhou et al. 2023): post-norm encoder of the MosaicBERT layout, ALiBi positions, GEGLU.

Its ``config.json`` says ``model_type: bert``; the field ``alibi_starting_size`` tells it from BERT. Source of
shapes and names: ``bert_layers.py`` of github.com/mosaicml/examples, which the published checkpoint runs.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.bert import EMBEDDING_KEYS
from biolm.models.families.encoders import dropouts, hf_common, masked_head, shape
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, Rows, dropped, norm_keys

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 40,
    "max_position_embeddings": 512,
    "alibi_starting_size": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 2, "num_attention_heads": 3},
    {**_SMALL, "num_hidden_layers": 1, "num_attention_heads": 4, "hidden_act": "relu"},
]
"""Small ``config.json`` dictionaries; heads that are no power of two have ALiBi slopes of another rule."""

_QKV = ("query", "key", "value")

KEYS = KeyTable(
    [
        *EMBEDDING_KEYS,
        Key(
            "encoder.layer.{}.attention.self.Wqkv.*",
            tuple(f"layers.{{}}.attention.{name}.*" for name in _QKV),
            Rows(),
        ),
        Key("encoder.layer.{}.attention.output.dense.*", "layers.{}.attention.out.*"),
        *norm_keys("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.attn_norm"),
        # The half that goes through the activation comes first.
        Key(
            "encoder.layer.{}.mlp.gated_layers.weight",
            ("layers.{}.mlp.gate.weight", "layers.{}.mlp.up.weight"),
            Rows(),
        ),
        Key("encoder.layer.{}.mlp.wo.*", "layers.{}.mlp.down.*"),
        *norm_keys("encoder.layer.{}.mlp.layernorm", "layers.{}.mlp_norm"),
        Key("/cls.predictions.transform.dense.*", "head.dense.*"),
        *norm_keys("/cls.predictions.transform.LayerNorm", "head.norm"),
        Key("/cls.predictions.decoder.bias", "head.bias"),
        *dropped("/cls.predictions.decoder.weight", "pooler.dense.*"),
    ],
    prefixes=("bert.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a DNABERT-2 ``config.json``."""
    return CoreConfig(
        **shape(config),
        position="alibi",
        max_length=config.get("max_position_embeddings", 512),
        n_segments=config.get("type_vocab_size", 2),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        embed_norm=True,
        block="post",
        glu=True,
        mlp_bias=False,
        # The gate is always a GELU; hidden_act is that of the head.
        head_activation=activation(config.get("hidden_act", "gelu")),
        **masked_head(config),
        **dropouts(config),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` of the published layout."""
    return {
        **hf_common(config, "bert", "Bert"),
        "max_position_embeddings": config.max_length,
        "alibi_starting_size": config.max_length,
        "type_vocab_size": config.n_segments,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": activation_name(config.head_activation),
    }
