"""Evo 1 (StripedHyena, Nguyen et al. 2024): hyena mixers with complex modes, and rotary attention.

Source of shapes and names: github.com/togethercomputer/stripedhyena and github.com/evo-design/evo
(Apache-2.0), which are not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig, RopeScaling
from biolm.models.families.keys import Key, KeyTable, Squeezed, dropped
from biolm.models.families.striped import (
    block_keys,
    check_fields,
    common_fields,
    kinds_of_layers,
    rope_factor,
)

__all__ = ["KEYS", "core_config"]

_LISTS = {"hyena_layer_idxs": "hyena_modal", "attn_layer_idxs": "attention"}
_PUBLISHED = {
    "tie_embeddings": True,
    "final_norm": True,
    "proj_groups": 1,
    "mlp_activation": "gelu",
    "hyena_filter_groups": 1,
    "smeared_gqa": False,
    "column_split_hyena": True,
}
# The loader of evo-1-131k-base divides positions by this, whatever its config.json says.
_LONG_CONTEXT, _LONG_FACTOR = 131_072, 16.0

KEYS = KeyTable(
    [
        *block_keys(head_major=False),
        Key("blocks.{}.filter.poles", "layers.{}.attention.filter.inner.poles", Squeezed(2)),
        Key("blocks.{}.filter.residues", "layers.{}.attention.filter.inner.residues", Squeezed(2)),
        # Recomputed from the base, as the reference does with its rounded copy.
        *dropped("unembed.weight", "blocks.{}.inner_mha_cls.rotary_emb.inv_freq", "blocks.{}.filter.t"),
    ],
    prefixes=("backbone.", ""),
)


def core_config(config: Mapping[str, Any], *, factor: float | None = None) -> CoreConfig:
    """Core config of a published ``config.json``.

    Parameters
    ----------
    config
        As published.
    factor
        By which rotary positions are divided; None for what the config says, or 16 for the models of 131,072
        tokens, whose own loader does that in spite of their ``config.json``.

    Raises
    ------
    ConfigError
        If it differs from the published models in what the core does not do.
    KeyError
        If a field is missing.
    """
    check_fields(config, _PUBLISHED, "Evo 1")
    mixers = kinds_of_layers(config, _LISTS)
    if factor is None:
        long_one = config.get("max_seqlen") == _LONG_CONTEXT
        factor = _LONG_FACTOR if long_one and rope_factor(config) == 1 else rope_factor(config)
    bias = bool(config.get("qkv_proj_bias", True))
    options: dict[str, dict[str, Any]] = {
        "hyena_modal": {
            "projection_bias": bias,
            "fir_bias": bool(config.get("short_filter_bias", True)),
            "out_bias": True,
            "fir_taps": int(config.get("short_filter_length") or 3),
            "split": "heads",
            "modes": int(config["state_size"]),
        }
    }
    return CoreConfig(
        **common_fields(config, mixers),
        position="rope" if "attention" in mixers else "none",
        rope_theta=float(config.get("rotary_emb_base") or 10_000),
        rope_scaling=None if factor == 1 else RopeScaling(kind="linear", factor=factor),
        qkv_bias=bias,
        out_bias=bool(config.get("mha_out_proj_bias", True)),
        activation="gelu",
        mixer_options={name: own for name, own in options.items() if name in mixers},
    )
