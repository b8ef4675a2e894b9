"""DINOv2 (Oquab et al. 2023): ViT with a learned factor for each channel of a branch, plain or gated.

Images of another size than the config's: :func:`biolm.core.patches.resize_positions`. Source of shapes and
names: ``transformers`` ``Dinov2Model``, in the spelling of version 4 and of version 5.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, Rows
from biolm.models.families.vit import EMBEDDING_KEYS, hf_image, image_fields

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 2}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "image_size": 8, "mlp_ratio": 2},
    {**_SMALL, "image_size": 6, "mlp_ratio": 3, "num_channels": 1, "use_swiglu_ffn": True},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

_LAYER = "encoder.layer.{}"


def _projection(old: str, new: str, ours: str) -> Key:
    return Key(
        f"{_LAYER}.attention.{old}.*",
        f"layers.{{}}.attention.{ours}.*",
        also=(f"{_LAYER}.attention.{new}.*",),
    )


def _gated(ending: str) -> tuple[str, str]:
    return f"layers.{{}}.mlp.gate.{ending}", f"layers.{{}}.mlp.up.{ending}"


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
        Key(f"{_LAYER}.mlp.weights_in.weight", _gated("weight"), Rows()),
        Key(f"{_LAYER}.mlp.weights_in.bias", _gated("bias"), Rows()),
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


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a DINOv2 ``config.json``."""
    glu = bool(config.get("use_swiglu_ffn"))
    return CoreConfig(
        **image_fields(config, image=224, patch=14, eps=1e-6),
        d_ff=_width(config["hidden_size"], config.get("mlp_ratio", 4), glu=glu),
        layer_scale=True,
        glu=glu,
        activation="silu" if glu else activation(config.get("hidden_act", "gelu")),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family.

    Raises
    ------
    ConfigError
        If no whole ratio gives the feed-forward width.
    """
    ratios = [r for r in range(1, 65) if _width(config.d_model, r, glu=config.glu) == config.d_ff]
    if not ratios:
        raise ConfigError(
            f"d_ff {config.d_ff} is no whole multiple of d_model, which this family's files want"
        )
    return {
        **hf_image(config, "dinov2", "Dinov2Model"),
        "mlp_ratio": ratios[0],
        "use_swiglu_ffn": config.glu,
        "hidden_act": "gelu" if config.glu else activation_name(config.activation),
    }
