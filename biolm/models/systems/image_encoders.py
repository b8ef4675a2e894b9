"""Frozen encoders of patches: colour statistics, random convolutions, ViT and DINOv2 of the core.

Dimensions: ``b`` patches · ``o`` pixels along a patch · ``i`` tokens of a patch · ``f`` numbers of a token ·
``s`` cells along the grid of tokens.

Token 0 is of the whole patch, the others of the cells of a grid over it, row by row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.spatial.colour import COLOUR_NAMES, colour_grid
from biolm.errors import ConfigError
from biolm.io.json_file import read_json

__all__ = ["Colours", "Convolutions", "ImageEncoder", "VitEncoder", "make_encoder"]

GRID = 4
# What ImageNet models are normalised by, and histology models after them (UNI, Phikon).
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageEncoder(Protocol):
    """A frozen encoder."""

    @property
    def width(self) -> int:
        """``f``."""
        ...

    @property
    def tokens(self) -> int:
        """``i``."""
        ...

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Patches ``(b, o, o, 3)`` to ``(b, i, f)``."""
        ...

    def describe(self) -> dict[str, Any]:
        """Everything that its features depend on, weights included, for the cache and for provenance."""
        ...


class Colours:
    """27 numbers of the colours of the patch and of each of 16 cells."""

    width, tokens = len(COLOUR_NAMES), 1 + GRID**2

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(b, 17, 27)``."""
        return colour_grid(pixels, GRID)

    def describe(self) -> dict[str, Any]:
        """Name and version."""
        return {"encoder": "colour", "version": 1}


class Convolutions:
    """Three layers of random convolutions, mean and standard deviation of their maps: a control.

    Parameters
    ----------
    seed
        Of the weights.
    channels
        Maps of the last layer.
    """

    tokens = 1

    def __init__(self, seed: int = 0, channels: int = 256) -> None:
        import torch
        from torch import nn

        generator = torch.Generator().manual_seed(seed)
        self.seed, self.width = seed, 2 * channels
        steps: list[nn.Module] = []
        for inner, outer, stride in ((3, 64, 4), (64, 128, 2), (128, channels, 2)):
            layer = nn.Conv2d(inner, outer, 5, stride=stride, bias=False)
            with torch.no_grad():
                layer.weight.normal_(0, (inner * 25) ** -0.5, generator=generator)
            steps += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*steps).eval()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(b, 1, 2 * channels)``."""
        import torch

        with torch.inference_mode():
            maps = self.layers(_normalised(pixels)).flatten(2)
            return torch.cat((maps.mean(2), maps.std(2)), 1)[:, None].numpy()

    def describe(self) -> dict[str, Any]:
        """Name, seed and width."""
        return {"encoder": "random convolutions", "seed": self.seed, "width": self.width}


class VitEncoder:
    """A ViT or DINOv2: its summary token, then its patch tokens averaged over a grid.

    Parameters
    ----------
    model
        A core model of patches.
    metadata
        Where it came from.
    size
        Pixels along the image it reads; patches are resized to it.
    """

    def __init__(self, model: Any, metadata: dict[str, Any], size: int) -> None:
        self.model, self._metadata, self.size = model.eval(), metadata, size
        self.width = int(model.config.d_model)
        self.tokens = 1 + GRID**2

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(b, 17, d)``."""
        import torch
        import torch.nn.functional as F

        from biolm.core.patches import image_batch

        device = next(self.model.parameters()).device
        images = _normalised(pixels).to(device)
        if images.shape[-1] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        with torch.inference_mode():
            batch = image_batch(images, self.model.config)
            states = self.model(batch, logits=False).last_hidden_state
        states = states.view(len(pixels), -1, self.width)
        side = int((states.shape[1] - 1) ** 0.5)
        grid = states[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        parts = F.adaptive_avg_pool2d(grid, GRID).flatten(2).transpose(1, 2)
        return torch.cat((states[:, :1], parts), 1).float().cpu().numpy()

    def describe(self) -> dict[str, Any]:
        """Name, hash of the weights, size."""
        return self._metadata


def make_encoder(name: str, *, device: str = "cpu") -> ImageEncoder:
    """An encoder by name: ``colour``, ``convolutions``, or the folder of a ViT or DINOv2 checkpoint.

    Parameters
    ----------
    name
        Of the encoder, or a folder.
    device
        Where it runs.

    Raises
    ------
    ConfigError
        If it is neither.
    CheckpointError
        If the folder does not hold a whole model.
    """
    if name == "colour":
        return Colours()
    if name.partition(":")[0] == "convolutions":
        seed = name.partition(":")[2] or "0"
        if not seed.isdigit():
            raise ConfigError(f"the seed of random convolutions is a whole number, not {seed!r}")
        return Convolutions(int(seed))
    folder = Path(name)
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{name!r} is no image encoder: give colour, convolutions, or the folder of a ViT or DINOv2"
        )
    return _from_folder(folder, device)


def _from_folder(folder: Path, device: str) -> VitEncoder:
    from biolm.core.checkpoint import find_weights, hash_files
    from biolm.core.patches import patch_size
    from biolm.models.families.hf import from_hf

    model = from_hf(folder).to(device)
    if model.config.value_encoder != "patches":
        raise ConfigError(f"{folder} holds a model that reads no images; give a ViT or DINOv2")
    files = [folder / "config.json", *find_weights(folder)]
    grid = round((model.config.max_length - 1) ** 0.5)
    size = grid * patch_size(model.config, 3)
    kind = read_json(files[0])
    metadata = {
        "encoder": kind.get("architecture") or kind.get("model_type") or "vit",
        "sha256": hash_files(files),
        "size": size,
    }
    return VitEncoder(model, metadata, size)


def _normalised(pixels: NDArray[np.uint8]) -> Any:
    """``(b, 3, o, o)`` float32, as models of images want it."""
    import torch

    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SD)[:, None, None]
