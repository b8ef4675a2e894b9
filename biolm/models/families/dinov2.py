"""DINOv2 (Oquab et al. 2023): ViT with a learned factor for each channel of a branch, plain or gated.

Images of another size than the config's: :func:`biolm.core.patches.resize_positions`. Source of shapes and
names: ``transformers`` ``Dinov2Model``, in the spelling of version 4 and of version 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Rule
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, Rows, gate_up
from biolm.models.families.vit import EMBEDDING_KEYS, PATCHES, image_parts

__all__ = ["KEYS", "core_config", "hf_config"]


_LAYER = "encoder.layer.{}"


def _projection(old: str, new: str, ours: str) -> Key:
    return Key(
        f"{_LAYER}.attention.{old}.*",
        f"layers.{{}}.attention.{ours}.*",
        also=(f"{_LAYER}.attention.{new}.*",),
    )


KEYS = KeyTable(
    [
        *EMBEDDING_KEYS,
        _projection("attention.query", "q_proj", "query"),
        _projection("attention.key", "k_proj", "key"),
        _projection("attention.value", "v_proj", "value"),
        _projection("output.dense", "o_proj", "out"),
        Key(f"{_LAYER}.norm1.*", "layers.{}.attn_norm.*"),
        Key(f"{_LAYER}.norm2.*", "layers.{}.mlp_norm.*"),
        Key(f"{_LAYER}.layer_scale1.lambda1", "layers.{}.attn_scale"),
        Key(f"{_LAYER}.layer_scale2.lambda1", "layers.{}.mlp_scale"),
        Key(f"{_LAYER}.mlp.fc1.*", "layers.{}.mlp.up.*", when=lambda core: not core.glu),
        Key(f"{_LAYER}.mlp.fc2.*", "layers.{}.mlp.down.*", when=lambda core: not core.glu),
        Key(f"{_LAYER}.mlp.weights_in.*", gate_up(), Rows()),
        Key(f"{_LAYER}.mlp.weights_out.*", "layers.{}.mlp.down.*", also=(f"{_LAYER}.mlp.down_proj.*",)),
        Key(f"{_LAYER}.mlp.gate_proj.*", "layers.{}.mlp.gate.*"),
        Key(f"{_LAYER}.mlp.up_proj.*", "layers.{}.mlp.up.*"),
    ],
    prefixes=("", "dinov2."),
)


def _width(d_model: int, ratio: float, *, glu: bool) -> int:
    """``d_ff``; gated, two thirds of it, so that three matrices hold as much as two, in multiples of 8."""
    width = int(d_model * ratio)
    return (int(width * 2 / 3) + 7) // 8 * 8 if glu else width


def _feed_forward(config: Mapping[str, Any]) -> dict[str, Any]:
    glu = bool(config.get("use_swiglu_ffn"))
    return {
        "d_ff": _width(config["hidden_size"], config.get("mlp_ratio", 4), glu=glu),
        "glu": glu,
        # A gated file may still name the activation of its plain relatives.
        "activation": "silu" if glu else activation(config.get("hidden_act", "gelu")),
    }


def _hf_feed_forward(core: CoreConfig) -> dict[str, Any]:
    ratios = [r for r in range(1, 65) if _width(core.d_model, r, glu=core.glu) == core.d_ff]
    if not ratios:
        raise ConfigError(f"d_ff {core.d_ff} is no whole multiple of d_model, which this family's files want")
    return {
        "mlp_ratio": ratios[0],
        "use_swiglu_ffn": core.glu,
        "hidden_act": "gelu" if core.glu else activation_name(core.activation),
    }


_CONFIG = ConfigTable(
    *image_parts("dinov2", "Dinov2Model", image=224, patch=14, eps=1e-6),
    Rule(_feed_forward, _hf_feed_forward),
    layer_scale=True,
    **PATCHES,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
