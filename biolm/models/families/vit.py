"""ViT (Dosovitskiy et al. 2020): a pre-norm encoder whose tokens are patches of an image.

Token 0 is the summary token, token 1 a patch, whose pixels are in ``Batch.values``; see
:func:`biolm.core.patches.image_batch`. Source of shapes and names: ``transformers`` ``ViTModel``, in the
spelling of version 4 and of version 5.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.encoders import dropouts
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EMBEDDING_KEYS", "EXAMPLES", "KEYS", "core_config", "hf_config", "hf_image", "image_fields"]

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "image_size": 12, "patch_size": 4, "num_channels": 3},
    {**_SMALL, "image_size": 8, "patch_size": 2, "num_channels": 1, "qkv_bias": False, "hidden_act": "relu"},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""


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


class Unbatched:
    """Stored with a leading dimension of one."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """Take it away."""
        return [tensor.squeeze(0)]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """Put it back."""
        return parts[0][None]


EMBEDDING_KEYS = [
    Key("embeddings.cls_token", "embeddings.token.weight", SummaryRow()),
    Key("embeddings.position_embeddings", "embeddings.position.weight", Unbatched()),
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


def image_fields(config: dict[str, Any], *, image: int, patch: int, eps: float) -> dict[str, Any]:
    """Core fields of a model of patches; the numbers are the family's defaults.

    Parameters
    ----------
    config
        A ``config.json``.
    image, patch, eps
        The family's defaults.

    Raises
    ------
    ConfigError
        If images or patches are not square.
    """
    size, side = (
        _square(config.get(name, default)) for name, default in (("image_size", image), ("patch_size", patch))
    )
    return {
        "vocab_size": 2,
        "d_model": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "max_length": 1 + (size // side) ** 2,
        "value_encoder": "patches",
        "n_values": config.get("num_channels", 3) * side**2,
        "qkv_bias": config.get("qkv_bias", True),
        "norm_eps": config.get("layer_norm_eps", eps),
        **dropouts(config, 0.0),
    }


def _square(size: int | list[int]) -> int:
    sides = [size] if isinstance(size, int) else list(size)
    if len(set(sides)) != 1:
        raise ConfigError(f"images and patches must be square, not {sides}")
    return sides[0]


def _side(config: CoreConfig) -> int:
    """Pixels along a patch: of three channels where that is square, else of one."""
    side = math.isqrt(config.n_values // 3)
    return side if 3 * side**2 == config.n_values else math.isqrt(config.n_values)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a ViT ``config.json``."""
    return CoreConfig(
        **image_fields(config, image=224, patch=16, eps=1e-12),
        d_ff=config["intermediate_size"],
        activation=activation(config.get("hidden_act", "gelu")),
    )


def hf_image(config: CoreConfig, model_type: str, name: str) -> dict[str, Any]:
    """What the ``config.json`` of every model of patches says.

    Parameters
    ----------
    config
        Of the core.
    model_type
        In ``transformers``.
    name
        Begins the name of the architecture.

    Raises
    ------
    ConfigError
        If the positions were resized to a grid that is not square.
    """
    grid, side = math.isqrt(config.max_length - 1), _side(config)
    if grid**2 != config.max_length - 1:
        raise ConfigError("the published layout has positions on a square grid only; resize them to one")
    return {
        "architectures": [name],
        "model_type": model_type,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "image_size": grid * side,
        "patch_size": side,
        "num_channels": config.n_values // side**2,
        "qkv_bias": config.qkv_bias,
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.dropout_residual,
        "attention_probs_dropout_prob": config.dropout_attention,
    }


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_image(config, "vit", "ViTModel"),
        "intermediate_size": config.d_ff,
        "hidden_act": activation_name(config.activation),
    }
