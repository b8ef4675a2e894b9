"""Nucleotide Transformer v2 (Dalla-Torre et al. 2024): ESM-2's layout, a gated feed-forward without biases.

Its ``config.json`` says ``model_type: esm``; the field ``add_bias_fnn``, false, tells it from ESM. Source of
shapes and names: ``modeling_esm.py`` beside the published weights, which is not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families import esm
from biolm.models.families.esm import adapt
from biolm.models.families.keys import Key, KeyTable, Rows, gate_up

__all__ = ["KEYS", "adapt", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        *esm.SHARED_KEYS,
        Key("encoder.layer.{}.intermediate.dense.weight", gate_up("weight"), Rows()),
        Key("encoder.layer.{}.output.dense.weight", "layers.{}.mlp.down.weight"),
    ],
    prefixes=("esm.", ""),
)


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a Nucleotide Transformer v2 ``config.json``."""
    core = esm.core_config(config)
    # The fused map holds gate and value, so the width in the file is that of one half.
    return replace(core, glu=True, activation="silu", mlp_bias=False, mlp_out_bias=False)


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` of the published layout."""
    return {**esm.hf_config(config), "add_bias_fnn": False}
