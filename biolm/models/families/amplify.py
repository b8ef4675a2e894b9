"""AMPLIFY (Fournier et al. 2024): pre-norm protein encoder with RMS norms, SwiGLU and interleaved positions.

Source of shapes and names: ``src/amplify/model/amplify.py`` of github.com/chandar-lab/AMPLIFY, which is not
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field, Rule, write_always
from biolm.models.families.encoders import SIZES
from biolm.models.families.fields import pad_id
from biolm.models.families.keys import Key, KeyTable, Rows, dropped, gate_up

__all__ = ["KEYS", "core_config", "hf_config"]


_LAYER = "transformer_encoder.{}"

KEYS = KeyTable(
    [
        Key("encoder.weight", "embeddings.token.weight"),
        Key("layer_norm_1.weight", "embeddings.norm.weight"),
        Key(f"{_LAYER}.q.*", "layers.{}.attention.query.*"),
        Key(f"{_LAYER}.k.*", "layers.{}.attention.key.*"),
        Key(f"{_LAYER}.v.*", "layers.{}.attention.value.*"),
        Key(f"{_LAYER}.wo.*", "layers.{}.attention.out.*"),
        Key(f"{_LAYER}.ffn.w12.*", gate_up(), Rows()),
        Key(f"{_LAYER}.ffn.w3.*", "layers.{}.mlp.down.*"),
        Key(f"{_LAYER}.attention_norm.weight", "layers.{}.attn_norm.weight"),
        Key(f"{_LAYER}.ffn_norm.weight", "layers.{}.mlp_norm.weight"),
        Key("layer_norm_2.weight", "final_norm.weight"),
        Key("decoder.weight", "head.decoder.weight"),
        Key("decoder.bias", "head.bias"),
        *dropped("freqs_cis"),
    ]
)


# Two thirds of the published width are built, rounded up to a multiple of 8; what is written reads as ours.
_WIDTH = Rule(
    lambda config: {"d_ff": -(-int(2 * config["intermediate_size"] / 3) // 8) * 8},
    lambda core: {"intermediate_size": core.d_ff * 3 // 2},
)
_CONFIG = ConfigTable(
    write_always(model_type="AMPLIFY", architectures=["AMPLIFY"]),
    *SIZES[:-1],
    _WIDTH,
    Field("max_length", "max_length", 2048),
    Field("pad_token_id", "pad_id", None, pad_id),
    Field("mask_token_id", "mask_id", 2),
    write_always(hidden_act="SwiGLU", rms_norm=True),
    Field("norm_eps", "norm_eps", 1e-5),
    Field("layer_norm_after_embedding", "embed_norm", False, bool),
    Field("layer_norm_before_last_layer", "final_norm", True, bool),
    Field("att_bias", ("qkv_bias", "out_bias"), False, bool),
    Field("ffn_bias", ("mlp_bias", "mlp_out_bias"), False, bool),
    Field("dropout_prob", ("dropout_residual", "dropout_attention"), 0.0),
    position="rope",
    rope_interleaved=True,
    norm="rmsnorm",
    glu=True,
    activation="silu",
    head="linear",
    head_bias=True,
    tied=False,
)
hf_config = _CONFIG.hf_config


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of an AMPLIFY ``config.json``.

    Raises
    ------
    ConfigError
        For a variant that was never published.
    """
    if str(config.get("hidden_act", "SwiGLU")).lower() != "swiglu" or not config.get("rms_norm", True):
        raise ConfigError("AMPLIFY without SwiGLU or RMS norms is not supported; only the published form is")
    return _CONFIG.core_config(config)
