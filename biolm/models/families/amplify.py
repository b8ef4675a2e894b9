"""AMPLIFY (Fournier et al. 2024): pre-norm protein encoder with RMS norms, SwiGLU and interleaved positions.

Source of shapes and names: ``src/amplify/model/amplify.py`` of github.com/chandar-lab/AMPLIFY, which is not
run.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.encoders import shape
from biolm.models.families.keys import Key, KeyTable, Rows, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {
    "model_type": "AMPLIFY",
    "architectures": ["AMPLIFY"],
    "vocab_size": 27,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 60,
    "max_length": 64,
    "pad_token_id": 0,
    "hidden_act": "SwiGLU",
    "rms_norm": True,
    "norm_eps": 1e-5,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 2, "layer_norm_after_embedding": False},
    {
        **_SMALL,
        "num_hidden_layers": 1,
        "layer_norm_after_embedding": True,
        "att_bias": True,
        "ffn_bias": True,
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

_LAYER = "transformer_encoder.{}"

KEYS = KeyTable(
    [
        Key("encoder.weight", "embeddings.token.weight"),
        Key("layer_norm_1.weight", "embeddings.norm.weight"),
        Key(f"{_LAYER}.q.*", "layers.{}.attention.query.*"),
        Key(f"{_LAYER}.k.*", "layers.{}.attention.key.*"),
        Key(f"{_LAYER}.v.*", "layers.{}.attention.value.*"),
        Key(f"{_LAYER}.wo.*", "layers.{}.attention.out.*"),
        # The half that goes through the activation comes first.
        Key(f"{_LAYER}.ffn.w12.*", ("layers.{}.mlp.gate.*", "layers.{}.mlp.up.*"), Rows()),
        Key(f"{_LAYER}.ffn.w3.*", "layers.{}.mlp.down.*"),
        Key(f"{_LAYER}.attention_norm.weight", "layers.{}.attn_norm.weight"),
        Key(f"{_LAYER}.ffn_norm.weight", "layers.{}.mlp_norm.weight"),
        Key("layer_norm_2.weight", "final_norm.weight"),
        Key("decoder.weight", "head.decoder.weight"),
        Key("decoder.bias", "head.bias"),
        *dropped("freqs_cis"),
    ]
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of an AMPLIFY ``config.json``.

    Raises
    ------
    ConfigError
        For a variant that was never published.
    """
    if str(config.get("hidden_act", "SwiGLU")).lower() != "swiglu" or not config.get("rms_norm", True):
        raise ConfigError("AMPLIFY without SwiGLU or RMS norms is not supported; only the published form is")
    narrow = int(2 * config["intermediate_size"] / 3)
    attention, feed_forward = bool(config.get("att_bias")), bool(config.get("ffn_bias"))
    dropout = config.get("dropout_prob", 0.0)
    return CoreConfig(
        # Two thirds of the width, rounded up to a multiple of 8.
        **{**shape(config), "d_ff": -(-narrow // 8) * 8},
        max_length=config.get("max_length", 2048),
        mask_id=config.get("mask_token_id", 2),
        position="rope",
        rope_interleaved=True,
        norm="rmsnorm",
        norm_eps=config.get("norm_eps", 1e-5),
        embed_norm=bool(config.get("layer_norm_after_embedding")),
        final_norm=bool(config.get("layer_norm_before_last_layer", True)),
        qkv_bias=attention,
        out_bias=attention,
        glu=True,
        activation="silu",
        mlp_bias=feed_forward,
        mlp_out_bias=feed_forward,
        head="linear",
        head_bias=True,
        tied=False,
        dropout_residual=dropout,
        dropout_attention=dropout,
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` of the published layout."""
    return {
        "model_type": "AMPLIFY",
        "architectures": ["AMPLIFY"],
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        # Only two thirds of it are built; this is a width that gives ours again.
        "intermediate_size": config.d_ff * 3 // 2,
        "max_length": config.max_length,
        "pad_token_id": config.pad_id,
        "mask_token_id": config.mask_id,
        "hidden_act": "SwiGLU",
        "rms_norm": True,
        "norm_eps": config.norm_eps,
        "layer_norm_after_embedding": config.embed_norm,
        "layer_norm_before_last_layer": config.final_norm,
        "att_bias": config.qkv_bias,
        "ffn_bias": config.mlp_bias,
        "dropout_prob": config.dropout_residual,
    }
