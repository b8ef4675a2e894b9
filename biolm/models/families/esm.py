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
from biolm.models.families.encoders import dropouts, hf_common, masked_head, shape
from biolm.models.families.fields import rope
from biolm.models.families.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["EXAMPLES", "KEYS", "SHARED_KEYS", "adapt", "core_config", "extra_weights", "hf_config"]

_SMALL = {
    "vocab_size": 33,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "mask_token_id": 32,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "position_embedding_type": "rotary", "max_position_embeddings": 1026, "token_dropout": True},
    {
        **_SMALL,
        "position_embedding_type": "absolute",
        "max_position_embeddings": 40,
        "token_dropout": True,
        "emb_layer_norm_before": True,
    },
    {
        **_SMALL,
        "position_embedding_type": "rotary",
        "max_position_embeddings": 40,
        "rope_theta": 500.0,
        "tie_word_embeddings": False,
    },
]
"""Small ``config.json`` dictionaries of ESM-2, ESM-1b and an untied relative."""


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


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of an ESM-1b or ESM-2 ``config.json``.

    Raises
    ------
    ConfigError
        For another kind of positions.
    """
    kind = config.get("position_embedding_type", "absolute")
    if kind == "rotary":
        theta, scaling = rope(config)
        positions = {
            "position": "rope",
            "rope_theta": theta,
            "rope_scaling": scaling,
            "max_length": config["max_position_embeddings"],
        }
    elif kind == "absolute":
        offset = config.get("pad_token_id", 1) + 1
        positions = {"position_offset": offset, "max_length": config["max_position_embeddings"] - offset}
    else:
        raise ConfigError(f"position_embedding_type must be rotary or absolute, not {kind!r}")
    return CoreConfig(
        **shape(config),
        **positions,
        mask_id=config.get("mask_token_id"),
        token_dropout=bool(config.get("token_dropout")),
        embed_norm=bool(config.get("emb_layer_norm_before")),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        **masked_head(config),
        **dropouts(config),
    )


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


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    learned = _learned(config)
    return {
        **hf_common(config, "esm", "Esm"),
        "position_embedding_type": "absolute" if learned else "rotary",
        "max_position_embeddings": config.max_length + (config.position_offset if learned else 0),
        "rope_theta": config.rope_theta,
        "mask_token_id": config.mask_id,
        "token_dropout": config.token_dropout,
        "emb_layer_norm_before": config.embed_norm,
        "layer_norm_eps": config.norm_eps,
    }
