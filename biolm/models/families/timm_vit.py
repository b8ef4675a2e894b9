"""ViT in the layout of timm, which UNI, CONCH's image tower and other histology models are published in.

A folder holds ``config.json`` with ``architecture`` (``vit_large_patch16_224``) and ``model_args``, and
``pytorch_model.bin`` or ``model.safetensors``. Query, key and value are one matrix; with ``init_values`` each
branch has a learned factor a channel, as DINOv2 has. Source of shapes and names: timm ``VisionTransformer``.
"""

from __future__ import annotations

import re
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field
from biolm.models.families.keys import Key, KeyTable, Rows, Squeezed, dropped, qkv
from biolm.models.families.vit import PATCHES, Flattened, SummaryRow, image_parts

__all__ = ["KEYS", "core_config", "hf_config"]


_SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}
"""Width, layers and heads by name."""
# A model with one of these would load without a word and compute something else.
_REFUSED = ("reg_tokens", "no_embed_class", "qk_norm", "pre_norm", "fc_norm", "class_token", "global_pool")


KEYS = KeyTable(
    [
        Key("cls_token", "embeddings.token.weight", SummaryRow()),
        Key("pos_embed", "embeddings.position.weight", Squeezed(0)),
        Key("patch_embed.proj.weight", "embeddings.value.weight", Flattened()),
        Key("patch_embed.proj.bias", "embeddings.value.bias"),
        Key("blocks.{}.norm1.*", "layers.{}.attn_norm.*"),
        Key("blocks.{}.norm2.*", "layers.{}.mlp_norm.*"),
        Key("blocks.{}.attn.qkv.weight", qkv("weight"), Rows()),
        Key("blocks.{}.attn.qkv.bias", qkv("bias"), Rows(), when=lambda core: core.qkv_bias),
        Key("blocks.{}.attn.proj.*", "layers.{}.attention.out.*"),
        Key("blocks.{}.ls1.gamma", "layers.{}.attn_scale", when=lambda core: core.layer_scale),
        Key("blocks.{}.ls2.gamma", "layers.{}.mlp_scale", when=lambda core: core.layer_scale),
        Key("blocks.{}.mlp.fc1.*", "layers.{}.mlp.up.*"),
        Key("blocks.{}.mlp.fc2.*", "layers.{}.mlp.down.*"),
        Key("norm.*", "final_norm.*"),
        *dropped("/head.*"),
    ],
    prefixes=("",),
)


_SHAPE = ConfigTable(
    *image_parts("timm_vit", "VisionTransformer", image=224, patch=16, eps=1e-6),
    Field("intermediate_size", "d_ff"),
    Field("layer_scale", "layer_scale"),
    **PATCHES,
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a timm ``config.json``.

    Raises
    ------
    ConfigError
        For an architecture or an option that the core does not compute.
    """
    name, options = str(config.get("architecture", "")), dict(config.get("model_args") or {})
    # A tag of the training may follow the size, as in `.augreg_in21k`.
    match = re.fullmatch(r"vit_(\w+?)_patch(\d+)_(\d+)(?:\..*)?", name)
    if not match or (match[1] not in _SIZES and "embed_dim" not in options):
        known = ", ".join(f"vit_{size}_patch16_224" for size in _SIZES)
        raise ConfigError(f"architecture {name!r} is none that is read here; known are {known}")
    for option in _REFUSED:
        plain = {"class_token": (True,), "global_pool": ("token", "")}.get(option, (None, False, 0))
        if option in options and options[option] not in plain:
            raise ConfigError(f"{name} sets {option} = {options[option]!r}, which the core does not compute")
    width, depth, heads = _SIZES.get(match[1], (0, 12, 12))
    width = int(options.get("embed_dim", width))
    shape = {
        "hidden_size": width,
        "num_hidden_layers": int(options.get("depth", depth)),
        "num_attention_heads": int(options.get("num_heads", heads)),
        "num_channels": int(options.get("in_chans", 3)),
        "image_size": options.get("img_size", int(match[3])),
        "patch_size": options.get("patch_size", int(match[2])),
        "qkv_bias": bool(options.get("qkv_bias", True)),
        "intermediate_size": int(width * float(options.get("mlp_ratio", 4))),
        "layer_scale": bool(options.get("init_values")),
    }
    return _SHAPE.core_config(shape)


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that timm's hub loader reads for a core config of this family."""
    about = _SHAPE.hf_config(config)
    size, patch = about["image_size"], about["patch_size"]
    return {
        # Any known size will do: the arguments below overrule what it stands for.
        "architecture": f"vit_base_patch{patch}_{size}",
        "num_classes": 0,
        "num_features": config.d_model,
        "model_args": {
            "embed_dim": config.d_model,
            "depth": config.n_layers,
            "num_heads": config.n_heads,
            "mlp_ratio": config.d_ff / config.d_model,
            "img_size": size,
            "patch_size": patch,
            "in_chans": about["num_channels"],
            "qkv_bias": config.qkv_bias,
            "init_values": 1.0 if config.layer_scale else None,
        },
    }
