"""RoBERTa (Liu et al. 2019): BERT whose positions count from the padding token's id on.

Source of shapes and names: ``transformers`` ``RobertaForMaskedLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.models.families.bert import EMBEDDING_KEYS, LAYER_KEYS, POST_NORM_FIELDS, decoder_keys
from biolm.models.families.config_table import ConfigTable, Rule, activation_field
from biolm.models.families.encoders import masked
from biolm.models.families.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["KEYS", "core_config", "hf_config"]


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


def _positions(config: Mapping[str, Any]) -> dict[str, Any]:
    """The table's first rows, up to that of the padding token, are of no position."""
    # The offset is inherited from fairseq, which counts positions from the padding id on.
    offset = (1 if config.get("pad_token_id") is None else config["pad_token_id"]) + 1
    return {"max_length": config["max_position_embeddings"] - offset, "position_offset": offset}


_CONFIG = ConfigTable(
    *masked("roberta", "Roberta"),
    Rule(_positions, lambda core: {"max_position_embeddings": core.max_length + core.position_offset}),
    *POST_NORM_FIELDS,
    activation_field("hidden_act", "gelu"),
    embed_norm=True,
    block="post",
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
