"""RoBERTa (Liu et al. 2019): BERT whose positions count from the padding token's id on.

Source of shapes and names: ``transformers`` ``RobertaForMaskedLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.bert import EMBEDDING_KEYS, LAYER_KEYS, decoder_keys
from biolm.models.families.encoders import dropouts, hf_common, masked_head, shape
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 2, "max_position_embeddings": 40, "layer_norm_eps": 1e-5},
    {
        **_SMALL,
        "num_hidden_layers": 1,
        "max_position_embeddings": 30,
        "type_vocab_size": 1,
        "hidden_act": "gelu_new",
        "pad_token_id": 3,
        "tie_word_embeddings": False,
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

KEYS = KeyTable(
    [
        *EMBEDDING_KEYS,
        *LAYER_KEYS,
        Key("/lm_head.dense.*", "head.dense.*"),
        *norm_keys("/lm_head.layer_norm", "head.norm"),
        *decoder_keys("lm_head"),
        *dropped("pooler.dense.*"),
    ],
    prefixes=("roberta.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a RoBERTa ``config.json``."""
    offset = (1 if config.get("pad_token_id") is None else config["pad_token_id"]) + 1
    return CoreConfig(
        **shape(config),
        max_length=config["max_position_embeddings"] - offset,
        position_offset=offset,
        n_segments=config.get("type_vocab_size", 2),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        embed_norm=True,
        block="post",
        activation=activation(config.get("hidden_act", "gelu")),
        **masked_head(config),
        **dropouts(config),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "roberta", "Roberta"),
        "max_position_embeddings": config.max_length + config.position_offset,
        "type_vocab_size": config.n_segments,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": activation_name(config.activation),
    }
