"""Evo 2 (StripedHyena 2, Brixi et al. 2025): three kinds of hyena mixers between attention layers.

A layer is ``x + mixer(norm(x))`` and ``x + down(act(gate(x)) * up(x))``; the activation is a GELU in the
first layer and the identity in all others. Source of shapes and names: github.com/Zymrael/vortex
(Apache-2.0), which is not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.keys import Key, KeyTable, Squeezed, dropped
from biolm.models.families.striped import (
    block_keys,
    check_fields,
    common_fields,
    kinds_of_layers,
    rope_factor,
)

__all__ = ["EXTRAS", "KEYS", "core_config", "published_config"]

_LISTS = {
    "hcs_layer_idxs": "hyena_short",
    "hcm_layer_idxs": "hyena_medium",
    "hcl_layer_idxs": "hyena_long",
    "attn_layer_idxs": "attention_stored_rope",
}
_PUBLISHED = {
    "tie_embeddings": True,
    "final_norm": True,
    "proj_groups": 1,
    "mlp_activation": "gelu",
    "hyena_flip_x1x2": False,
    "column_split": True,
}
# The length from which the reference reads taps as an impulse response.
_LONG_TAPS = 128

EXTRAS = (
    "unembed.weight",
    *(f"blocks.{{}}.{part}._extra_state" for part in ("projections", "mlp.l1", "mlp.l2", "mlp.l3")),
    *(
        f"blocks.{{}}.{part}._extra_state"
        for part in ("out_filter_dense", "inner_mha_cls.Wqkv", "mixer.dense", "mixer.attn")
    ),
    "blocks.{}.mixer.mixer.filter.t",
)
"""Published tensors that hold nothing the core needs: a copy of the embedding, FP8 state, a counter."""

KEYS = KeyTable(
    [
        *block_keys(head_major=True),
        Key("blocks.{}.filter.h", "layers.{}.attention.filter.inner.taps", Squeezed(1)),
        Key("blocks.{}.filter.log_poles", "layers.{}.attention.filter.inner.log_poles", Squeezed(2)),
        Key("blocks.{}.filter.residues", "layers.{}.attention.filter.inner.residues"),
        Key("blocks.{}.inner_mha_cls.rotary_emb.inv_freq", "layers.{}.attention.frequencies"),
        *dropped(*EXTRAS),
    ]
)


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a published ``config.yml`` or ``config.json``.

    Raises
    ------
    ConfigError
        If it differs from the published models in what the core does not do.
    KeyError
        If a field is missing.
    """
    check_fields(config, _PUBLISHED, "Evo 2")
    mixers = kinds_of_layers(config, _LISTS)
    hyena = _hyena_options(config)
    short, medium = int(config.get("hcs_filter_length") or 7), int(config.get("hcm_filter_length") or 128)
    if not short < _LONG_TAPS <= medium:
        raise ConfigError(
            f"hcs_filter_length must be below {_LONG_TAPS} and hcm_filter_length at least that, not {short} "
            f"and {medium}"
        )
    options: dict[str, dict[str, Any]] = {
        "hyena_short": {**hyena, "taps": short, "groups": int(config["hcs_filter_groups"])},
        "hyena_medium": {**hyena, "taps": medium, "groups": int(config["hcm_filter_groups"])},
        "hyena_long": {**hyena, "modes": int(config.get("state_size") or 16)},
        "attention_stored_rope": {
            "theta": float(config.get("rotary_emb_base") or 10_000),
            "factor": rope_factor(config),
        },
    }
    bilinear = bool(config.get("evo2_style_activations"))
    return CoreConfig(
        **common_fields(config, mixers),
        position="none",
        qkv_bias=bool(config.get("qkv_proj_bias", True)),
        out_bias=bool(config.get("mha_out_proj_bias", True)),
        activation="identity" if bilinear else "gelu",
        first_activation="gelu" if bilinear else None,
        mixer_options={name: options[name] for name in dict.fromkeys(mixers)},
    )


def _hyena_options(config: Mapping[str, Any]) -> dict[str, Any]:
    by_heads = bool(config.get("column_split_hyena", True))
    if not by_heads and not config.get("interleave"):
        raise ConfigError(
            "Evo 2 with neither interleave nor column_split_hyena is not supported; check the config"
        )
    return {
        "projection_bias": bool(config.get("qkv_proj_bias", True)),
        "fir_bias": bool(config.get("short_filter_bias", True)),
        "out_bias": bool(config.get("hyena_out_proj_bias", True)),
        "fir_taps": int(config.get("short_filter_length") or 3),
        "split": "heads" if by_heads else "interleaved",
    }


def published_config(config: CoreConfig) -> dict[str, Any]:
    """The fields of a published ``config.yml`` for a core of this family; :func:`core_config` reads them."""
    options = config.mixer_options
    hyena = next((own for name, own in options.items() if name.startswith("hyena")), {})
    rope = options.get("attention_stored_rope", {})
    lists = {
        name: [layer for layer in range(config.n_layers) if config.layer_mixer(layer) == mixer]
        for name, mixer in _LISTS.items()
    }
    factor = rope.get("factor", 1.0)
    return {
        **lists,
        **{name: value for name, value in _PUBLISHED.items() if name != "proj_groups"},
        "proj_groups": 1,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "inner_mlp_size": config.d_ff,
        "max_seqlen": config.max_length,
        "eps": config.norm_eps,
        "evo2_style_activations": config.activation == "identity",
        "qkv_proj_bias": config.qkv_bias,
        "mha_out_proj_bias": config.out_bias,
        "hyena_out_proj_bias": hyena.get("out_bias", True),
        "short_filter_bias": hyena.get("fir_bias", False),
        "short_filter_length": hyena.get("fir_taps", 3),
        "interleave": hyena.get("split", "interleaved") == "interleaved",
        "column_split_hyena": hyena.get("split") == "heads",
        "hcs_filter_length": options.get("hyena_short", {}).get("taps", 7),
        "hcs_filter_groups": options.get("hyena_short", {}).get("groups", 1),
        "hcm_filter_length": options.get("hyena_medium", {}).get("taps", 128),
        "hcm_filter_groups": options.get("hyena_medium", {}).get("groups", 1),
        "state_size": options.get("hyena_long", {}).get("modes", 16),
        "rotary_emb_base": rope.get("theta", 10_000.0),
        "use_interpolated_rotary_pos_emb": factor != 1,
        "rotary_emb_scaling_factor": factor,
        "tokenizer_type": "CharLevelTokenizer",
    }
