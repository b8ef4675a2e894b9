"""ProGen2 (Nijkamp et al. 2023): GPT-J's block, with query, value and key fused in eight groups.

Source of shapes and names: ``modeling_progen.py`` of github.com/salesforce/progen, which is not run.

Dimensions: ``d`` width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import CheckpointError, ConfigError
from biolm.models.families import gptj
from biolm.models.families.decoders import lm_head_keys
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "core_config", "hf_config"]

# The cores of the TPU that it was trained on; each has heads of its own.
_GROUPS = 8


class Grouped:
    """Query, value and key of each group of heads in turn."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """Cut into the parts, each with the heads of all groups."""
        if len(tensor) % (_GROUPS * names):
            raise CheckpointError(
                f"a fused matrix has {len(tensor)} rows, which {_GROUPS} groups cannot share"
            )
        parts = tensor.view(_GROUPS, names, -1, tensor.shape[1])
        return [parts[:, place].reshape(-1, tensor.shape[1]) for place in range(names)]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """Stack again, group by group."""
        width = parts[0].shape[1]
        return torch.stack([part.view(_GROUPS, -1, width) for part in parts], 1).reshape(-1, width)


_ORDER = ("query", "value", "key")

KEYS = KeyTable(
    [
        Key("wte.weight", "embeddings.token.weight"),
        Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
        Key(
            "h.{}.attn.qkv_proj.weight",
            tuple(f"layers.{{}}.attention.{name}.weight" for name in _ORDER),
            Grouped(),
        ),
        Key("h.{}.attn.out_proj.weight", "layers.{}.attention.out.weight"),
        Key("h.{}.mlp.fc_in.*", "layers.{}.mlp.up.*"),
        Key("h.{}.mlp.fc_out.*", "layers.{}.mlp.down.*"),
        Key("ln_f.*", "final_norm.*"),
        Key("/lm_head.bias", "head.bias"),
        *lm_head_keys(),
        *dropped("h.{}.attn.bias", "h.{}.attn.masked_bias", "h.{}.attn.scale_attn"),
    ],
    prefixes=("transformer.", ""),
)


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a ProGen2 ``config.json``, in its own spelling or that of its ports.

    Raises
    ------
    ConfigError
        If the heads cannot be shared by eight groups.
    """
    if config["n_head"] % _GROUPS:
        raise ConfigError(f"n_head of ProGen2 must be a multiple of {_GROUPS}, not {config['n_head']}")
    width = config["n_embd"] if "n_embd" in config else config["embed_dim"]
    rows = config.get("vocab_size_emb") or config["vocab_size"]
    return gptj.core_config({**config, "n_embd": width, "vocab_size": rows, "tie_word_embeddings": False})


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` of the published layout."""
    return {
        **gptj.hf_config(config),
        "model_type": "progen",
        "architectures": ["ProGenForCausalLM" if config.head == "linear" else "ProGenModel"],
    }
