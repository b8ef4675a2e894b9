"""BERT (Devlin et al. 2018): post-norm encoder with learned positions and a masked-token head.

ProtBERT and GROVER are of this family too. Source of shapes and names: ``transformers`` ``BertForMaskedLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.encoders import dropouts, hf_common, masked_head, shape
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 40}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 2, "intermediate_size": 48, "type_vocab_size": 2, "pad_token_id": 0},
    {
        **_SMALL,
        "num_hidden_layers": 1,
        "intermediate_size": 24,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu_new",
        "tie_word_embeddings": False,
    },
    {
        **_SMALL,
        "architectures": ["BertModel"],
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "hidden_act": "relu",
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

EMBEDDING_KEYS = [
    Key("embeddings.word_embeddings.weight", "embeddings.token.weight"),
    Key("embeddings.position_embeddings.weight", "embeddings.position.weight"),
    Key("embeddings.token_type_embeddings.weight", "embeddings.segment.weight"),
    *norm_keys("embeddings.LayerNorm", "embeddings.norm"),
    *dropped("embeddings.position_ids", "embeddings.token_type_ids"),
]
"""Also of RoBERTa, ALBERT and DNABERT-2."""

ATTENTION_KEYS = [
    Key("encoder.layer.{}.attention.self.query.*", "layers.{}.attention.query.*"),
    Key("encoder.layer.{}.attention.self.key.*", "layers.{}.attention.key.*"),
    Key("encoder.layer.{}.attention.self.value.*", "layers.{}.attention.value.*"),
    Key("encoder.layer.{}.attention.output.dense.*", "layers.{}.attention.out.*"),
]
FEED_FORWARD_KEYS = [
    Key("encoder.layer.{}.intermediate.dense.*", "layers.{}.mlp.up.*"),
    Key("encoder.layer.{}.output.dense.*", "layers.{}.mlp.down.*"),
]
PROJECTION_KEYS = [*ATTENTION_KEYS, *FEED_FORWARD_KEYS]
"""Also of RoBERTa and ESM, which name their norms otherwise."""

LAYER_KEYS = [
    *PROJECTION_KEYS,
    *norm_keys("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.attn_norm"),
    *norm_keys("encoder.layer.{}.output.LayerNorm", "layers.{}.mlp_norm"),
]


def decoder_keys(head: str) -> list[Key]:
    """Lines of the last map of a masked-token head: tied, or with a matrix and a bias of its own."""
    return [
        Key(f"/{head}.bias", "head.bias", when=lambda core: core.tied),
        Key(f"/{head}.decoder.weight", "head.decoder.weight", when=lambda core: not core.tied),
        # Untied, the file holds both biases, and it is the decoder's own that counts.
        Key(f"/{head}.decoder.bias", "head.bias", when=lambda core: not core.tied),
        *dropped(f"/{head}.decoder.*", f"/{head}.bias"),
    ]


KEYS = KeyTable(
    [
        *EMBEDDING_KEYS,
        *LAYER_KEYS,
        Key("/cls.predictions.transform.dense.*", "head.dense.*"),
        *norm_keys("/cls.predictions.transform.LayerNorm", "head.norm"),
        *decoder_keys("cls.predictions"),
        *dropped("pooler.dense.*", "/cls.seq_relationship.*"),
    ],
    prefixes=("bert.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a BERT ``config.json``."""
    act = activation(config.get("hidden_act", "gelu"))
    return CoreConfig(
        **shape(config),
        max_length=config["max_position_embeddings"],
        n_segments=config.get("type_vocab_size", 2),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        embed_norm=True,
        block="post",
        activation=act,
        head_activation=act,
        **masked_head(config),
        **dropouts(config),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "bert", "Bert"),
        "max_position_embeddings": config.max_length,
        "type_vocab_size": config.n_segments,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": activation_name(config.activation),
    }
