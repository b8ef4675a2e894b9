"""ViT (Dosovitskiy et al. 2020): a pre-norm encoder whose tokens are patches of an image.

Token 0 is the summary token, token 1 a patch, whose pixels are in ``Batch.values``; see
:func:`biolm.core.patches.image_batch`. Source of shapes and names: ``transformers`` ``ViTModel``, in the
spelling of version 4 and of version 5.

Dimensions: ``d`` width · ``c`` channels · ``p`` pixels along a patch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field, Part, Rule, activation_field, write_always
from biolm.models.families.encoders import dropout_fields
from biolm.models.families.keys import Key, KeyTable, Squeezed, dropped

__all__ = ["EMBEDDING_KEYS", "KEYS", "PATCHES", "core_config", "hf_config", "image_parts"]


class Flattened:
    """A convolution over patches is a linear map of the patch's numbers."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """``(d, c, p, p)`` to ``(d, c * p * p)``."""
        return [tensor.flatten(1)]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:
        """Back to a convolution's shape."""
        side = _side(config)
        return parts[0].view(len(parts[0]), -1, side, side)


class SummaryRow:
    """The summary token is row 0 of the token embedding; row 1, of patches, stays zero."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """``(1, 1, d)`` to ``(2, d)``."""
        row = tensor.flatten(0, 1)
        return [torch.cat((row, torch.zeros_like(row)))]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """Back to ``(1, 1, d)``."""
        return parts[0][None, :1]


EMBEDDING_KEYS = [
    Key("embeddings.cls_token", "embeddings.token.weight", SummaryRow()),
    Key("embeddings.position_embeddings", "embeddings.position.weight", Squeezed(0)),
    Key("embeddings.patch_embeddings.projection.weight", "embeddings.value.weight", Flattened()),
    Key("embeddings.patch_embeddings.projection.bias", "embeddings.value.bias"),
    Key("layernorm.*", "final_norm.*"),
    *dropped("embeddings.mask_token", "/classifier.*"),
]
"""Also of DINOv2."""

_LAYER, _ATTENTION = "encoder.layer.{}", "encoder.layer.{}.attention.attention"

KEYS = KeyTable(
    [
        *EMBEDDING_KEYS,
        Key(f"{_ATTENTION}.query.*", "layers.{}.attention.query.*", also=("layers.{}.attention.q_proj.*",)),
        Key(f"{_ATTENTION}.key.*", "layers.{}.attention.key.*", also=("layers.{}.attention.k_proj.*",)),
        Key(f"{_ATTENTION}.value.*", "layers.{}.attention.value.*", also=("layers.{}.attention.v_proj.*",)),
        Key(
            f"{_LAYER}.attention.output.dense.*",
            "layers.{}.attention.out.*",
            also=("layers.{}.attention.o_proj.*",),
        ),
        Key(f"{_LAYER}.layernorm_before.*", "layers.{}.attn_norm.*", also=("layers.{}.layernorm_before.*",)),
        Key(f"{_LAYER}.layernorm_after.*", "layers.{}.mlp_norm.*", also=("layers.{}.layernorm_after.*",)),
        Key(f"{_LAYER}.intermediate.dense.*", "layers.{}.mlp.up.*", also=("layers.{}.mlp.fc1.*",)),
        Key(f"{_LAYER}.output.dense.*", "layers.{}.mlp.down.*", also=("layers.{}.mlp.fc2.*",)),
        *dropped("pooler.dense.*"),
    ],
    prefixes=("", "vit."),
)


def _square(size: int | list[int]) -> int:
    sides = [size] if isinstance(size, int) else list(size)
    if len(set(sides)) != 1:
        raise ConfigError(f"images and patches must be square, not {sides}")
    return sides[0]


def _side(config: CoreConfig) -> int:
    """Pixels along a patch: of three channels where that is square, else of one."""
    side = math.isqrt(config.n_values // 3)
    return side if 3 * side**2 == config.n_values else math.isqrt(config.n_values)


def _hf_grid(core: CoreConfig) -> dict[str, Any]:
    grid, side = math.isqrt(core.max_length - 1), _side(core)
    if grid**2 != core.max_length - 1:
        raise ConfigError("the published layout has positions on a square grid only; resize them to one")
    return {"image_size": grid * side, "patch_size": side, "num_channels": core.n_values // side**2}


def image_parts(model_type: str, name: str, *, image: int, patch: int, eps: float) -> tuple[Part, ...]:
    """What the ``config.json`` of every model of patches says; images and patches must be square.

    Parameters
    ----------
    model_type
        In ``transformers``.
    name
        Of the architecture.
    image, patch, eps
        The family's defaults: pixels along an image and a patch, epsilon of the norms.
    """

    # Length and patch size are one choice: a table of positions fits one grid alone.
    def grid(config: Mapping[str, Any]) -> dict[str, Any]:
        size, side = _square(config.get("image_size", image)), _square(config.get("patch_size", patch))
        # One position more than patches, for the summary token.
        return {"max_length": 1 + (size // side) ** 2, "n_values": config.get("num_channels", 3) * side**2}

    return (
        write_always(architectures=[name], model_type=model_type),
        Field("hidden_size", "d_model"),
        Field("num_hidden_layers", "n_layers"),
        Field("num_attention_heads", "n_heads"),
        Rule(grid, _hf_grid),
        Field("qkv_bias", "qkv_bias", True),
        Field("layer_norm_eps", "norm_eps", eps),
        *dropout_fields(0.0),
    )


PATCHES = {"vocab_size": 2, "value_encoder": "patches"}
"""Core fields of every model of patches: tokens are the summary and the patch."""

_CONFIG = ConfigTable(
    *image_parts("vit", "ViTModel", image=224, patch=16, eps=1e-12),
    Field("intermediate_size", "d_ff"),
    activation_field("hidden_act", "gelu"),
    **PATCHES,
)
core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
