"""Images as documents of patches: a summary token, then the patches row by row (ViT, DINOv2).

Dimensions: ``b`` images · ``c`` channels · ``H``, ``W`` pixels · ``p`` pixels along a patch · ``g``, ``w``
rows and columns of patches · ``t`` tokens of all images · ``d`` width.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Batch
from biolm.core.config import CoreConfig
from biolm.core.embeddings import PATCH_ID
from biolm.core.model import Transformer
from biolm.errors import ConfigError, InputError

__all__ = ["SUMMARY_ID", "image_batch", "patch_size", "resize_positions"]

SUMMARY_ID = 0
"""Token id of the summary token, which stands before the patches."""


def patch_size(config: CoreConfig, channels: int) -> int:
    """Pixels along a patch, from the numbers that a patch holds.

    Parameters
    ----------
    config
        Of the core.
    channels
        Of the images.

    Raises
    ------
    InputError
        If patches of that many channels are not square.

    Examples
    --------
    >>> sizes = {"vocab_size": 2, "d_model": 8, "n_layers": 1, "n_heads": 1, "d_ff": 8}
    >>> patch_size(CoreConfig(**sizes, value_encoder="patches", n_values=3 * 16 * 16), 3)
    16
    """
    side = math.isqrt(config.n_values // channels)
    if config.value_encoder != "patches" or side * side * channels != config.n_values:
        raise InputError(
            f"the model reads patches of {config.n_values} numbers, not {channels} square channels"
        )
    return side


def image_batch(images: Tensor, config: CoreConfig) -> Batch:
    """Cut images into patches.

    Parameters
    ----------
    images
        ``(b, c, H, W)`` float, normalised as the model wants it.
    config
        Of the model that reads them.

    Raises
    ------
    InputError
        If the images do not divide into patches, or have another number of patches than the model has
        positions; :func:`resize_positions` fixes the latter.
    """
    if images.dim() != 4:
        raise InputError(f"images must have 4 dimensions (b, c, H, W), not {images.dim()}")
    count, channels, height, width = images.shape
    side = patch_size(config, channels)
    if height % side or width % side:
        raise InputError(f"images of {height} by {width} pixels do not divide into patches of {side}")
    tokens = 1 + (height // side) * (width // side)
    if config.position == "learned" and tokens != config.max_length:
        raise InputError(
            f"images of {height} by {width} pixels make {tokens} tokens but the model has "
            f"{config.max_length} positions; use biolm.core.patches.resize_positions"
        )
    patches = images.unfold(2, side, side).unfold(3, side, side)  # (b, c, g, w, p, p)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(count, tokens - 1, -1)
    values = F.pad(patches, (0, 0, 1, 0))  # a row of zeros for the summary token
    device = images.device
    ids = torch.full((count, tokens), PATCH_ID, device=device)
    ids[:, 0] = SUMMARY_ID
    return Batch(
        ids=ids.flatten(),
        offsets=torch.arange(count + 1, dtype=torch.int32, device=device) * tokens,
        positions=torch.arange(tokens, device=device).repeat(count),
        max_length=tokens,
        index=torch.arange(count, device=device),
        values=values.flatten(0, 1),
    )


@torch.no_grad()
def resize_positions(model: Transformer, rows: int, columns: int) -> Transformer:
    """A copy of a model for images of ``rows`` by ``columns`` patches.

    The positions of a square grid are interpolated bicubically in float32, as DINOv2 does; the summary
    token's stays.

    Parameters
    ----------
    model
        Of patches.
    rows, columns
        Of the new grid.

    Raises
    ------
    ConfigError
        If the model has no learned positions on a square grid.
    """
    config = model.config
    side = math.isqrt(config.max_length - 1)
    if config.value_encoder != "patches" or config.position != "learned" or side**2 != config.max_length - 1:
        raise ConfigError("positions can be resized where value_encoder='patches' and the grid is square")
    weights = model.state_dict()
    name = "embeddings.position.weight"
    table = weights[name]
    grid = table[1:].T.reshape(1, -1, side, side).float()  # (1, d, g, w)
    grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
    patches = grid.flatten(2)[0].T.to(table.dtype)
    resized = Transformer(replace(config, max_length=1 + rows * columns))
    resized.to(device=table.device, dtype=table.dtype)
    resized.load_state_dict({**weights, name: torch.cat((table[:1], patches))})
    return resized.train(model.training)
