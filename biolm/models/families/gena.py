"""GENA-LM (Fishman et al. 2025): BERT whose blocks are normed before, with or without a norm at the end.

Its ``config.json`` says ``model_type: bert``; the field ``pre_layer_norm`` tells it from BERT. Source of
shapes and names: ``src/gena_lm/modeling_bert.py`` of github.com/AIRI-Institute/GENA_LM, which is not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families import bert
from biolm.models.families.keys import KeyTable, dropped, norm_keys

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        *bert.EMBEDDING_KEYS,
        *bert.PROJECTION_KEYS,
        *norm_keys("encoder.layer.{}.pre_attention_ln", "layers.{}.attn_norm"),
        *norm_keys("encoder.layer.{}.post_attention_ln", "layers.{}.mlp_norm"),
        *norm_keys("encoder.last_layer_ln", "final_norm"),
        *bert.HEAD_KEYS,
        *bert.decoder_keys("cls.predictions"),
        *dropped("pooler.dense.*", "/cls.seq_relationship.*"),
    ],
    prefixes=("bert.", ""),
)


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a GENA-LM ``config.json``.

    Raises
    ------
    ConfigError
        For other than learned positions.
    """
    kind = config.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise ConfigError(
            f"GENA-LM with position_embedding_type {kind!r} is not supported; use 'absolute' ones"
        )
    # Some releases end without a norm, and all of them call themselves BERT.
    ends_normed = bool(config.get("last_layer_norm", True))
    return replace(bert.core_config(config), block="pre", final_norm=ends_normed)


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` of the published layout."""
    return {**bert.hf_config(config), "pre_layer_norm": True, "last_layer_norm": config.final_norm}
