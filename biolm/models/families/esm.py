"""ESM-1b (Rives et al. 2021) and ESM-2 (Lin et al. 2023): pre-norm protein encoders.

ESM-1b has learned positions and a norm on the embeddings, ESM-2 rotary positions; both rescale the input by
the fraction of mask tokens. Source of shapes and names: ``transformers`` ``EsmForMaskedLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.core.positions import rope_angles
from biolm.errors import CheckpointError, ConfigError
from biolm.models.families.bert import ATTENTION_KEYS, FEED_FORWARD_KEYS
from biolm.models.families.config_table import ConfigTable, Field, Rule
from biolm.models.families.encoders import masked
from biolm.models.families.fields import rope
from biolm.models.families.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["KEYS", "SHARED_KEYS", "adapt", "core_config", "extra_weights", "hf_config"]


_FREQUENCIES = ("rotary_embeddings.inv_freq", "encoder.layer.{}.attention.self.rotary_embeddings.inv_freq")


def _learned(config: CoreConfig) -> bool:
    return config.position == "learned"


SHARED_KEYS = [
    Key("embeddings.word_embeddings.weight", "embeddings.token.weight"),
    Key("embeddings.position_embeddings.weight", "embeddings.position.weight", when=_learned),
    *norm_keys("embeddings.layer_norm", "embeddings.norm"),
    *ATTENTION_KEYS,
    *norm_keys("encoder.layer.{}.attention.LayerNorm", "layers.{}.attn_norm"),
    *norm_keys("encoder.layer.{}.LayerNorm", "layers.{}.mlp_norm"),
    *norm_keys("encoder.emb_layer_norm_after", "final_norm"),
    Key("/lm_head.dense.*", "head.dense.*"),
    *norm_keys("/lm_head.layer_norm", "head.norm"),
    Key("/lm_head.bias", "head.bias"),
    Key("/lm_head.decoder.weight", "head.decoder.weight", when=lambda core: not core.tied),
    *dropped(
        "/lm_head.decoder.weight",
        "embeddings.position_embeddings.weight",
        "embeddings.position_ids",
        # Looked at by `adapt` and written by `extra_weights`.
        *_FREQUENCIES,
        "contact_head.regression.*",
        "pooler.dense.*",
    ),
]
"""Also of Nucleotide Transformer v2, whose feed-forward is another."""

KEYS = KeyTable([*SHARED_KEYS, *FEED_FORWARD_KEYS], prefixes=("esm.", ""))


def _positions(config: Mapping[str, Any]) -> dict[str, Any]:
    kind, length = config.get("position_embedding_type", "absolute"), config["max_position_embeddings"]
    if kind == "rotary":
        theta, scaling = rope(config)
        return {"position": "rope", "rope_theta": theta, "rope_scaling": scaling, "max_length": length}
    if kind == "absolute":
        offset = config.get("pad_token_id", 1) + 1
        return {"position_offset": offset, "max_length": length - offset}
    raise ConfigError(f"position_embedding_type must be rotary or absolute, not {kind!r}")


def _hf_positions(core: CoreConfig) -> dict[str, Any]:
    learned = _learned(core)
    return {
        "position_embedding_type": "absolute" if learned else "rotary",
        "max_position_embeddings": core.max_length + (core.position_offset if learned else 0),
        "rope_theta": core.rope_theta,
    }


_CONFIG = ConfigTable(
    *masked("esm", "Esm"),
    Rule(_positions, _hf_positions),
    Field("mask_token_id", "mask_id", None),
    Field("token_dropout", "token_dropout", False, bool),
    Field("emb_layer_norm_before", "embed_norm", False, bool),
    Field("layer_norm_eps", "norm_eps", 1e-12),
)
core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config


def adapt(core: CoreConfig, tensors: Mapping[str, Tensor]) -> CoreConfig:
    """Note in which precision the rotary frequencies of a file are.

    ESM-2 was trained in half precision, frequencies included, and its published files keep the rounded
    numbers; far from the start of a protein the difference is plain.

    Parameters
    ----------
    core
        As ``config.json`` describes it.
    tensors
        Weights of the file.

    Raises
    ------
    CheckpointError
        If they are not those of the config's base in any precision.
    """
    for name in sorted(tensors):
        if name.endswith("rotary_embeddings.inv_freq") and core.position == "rope":
            for rounding in ("none", "float16", "bfloat16"):
                adapted = replace(core, rope_rounding=rounding)
                if torch.allclose(tensors[name].float(), _frequencies(adapted), rtol=1e-6, atol=0):
                    return adapted
            raise CheckpointError(f"{name} does not hold the rotary frequencies of base {core.rope_theta}")
    return core


def extra_weights(core: CoreConfig) -> dict[str, Tensor]:
    """Published tensors that are no weights of the core: the rotary frequencies."""
    rotary = core.position == "rope" and core.rope_scaling is None
    return {"esm.rotary_embeddings.inv_freq": _frequencies(core)} if rotary else {}


def _frequencies(core: CoreConfig) -> Tensor:
    """``(head_dim / 2,)`` angles by which one step turns each pair."""
    return rope_angles(core)[0]
