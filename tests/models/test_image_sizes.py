"""Images of another size than the model's own: interpolated positions, and errors without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity import error, make_case, run_reference

from biolm.core import CoreConfig, Transformer
from biolm.core.patches import image_batch, patch_size, resize_positions
from biolm.errors import ConfigError, InputError
from biolm.models.families.hf import to_hf

SIZES = {"vocab_size": 2, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
CONFIG = CoreConfig(**SIZES, value_encoder="patches", n_values=12, max_length=5)


@pytest.mark.parametrize("family", ["dinov2", "vit"])
@pytest.mark.parametrize("shape", [(12, 8), (6, 16), (10, 10)])
def test_interpolated_positions_agree(family: str, shape: tuple[int, int], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    case = make_case(family, 1 if family == "vit" else 0, tmp_path)
    channels = case.example.get("num_channels", 3)
    images = torch.randn(2, channels, *shape, generator=torch.Generator().manual_seed(3))
    extra = {"interpolate_pos_encoding": True} if family == "vit" else {}
    wanted = run_reference(case.reference, {"pixel_values": images, **extra}).outcome
    resized = resize_positions(case.core, shape[0] // 2, shape[1] // 2)
    with torch.no_grad():
        found = resized(image_batch(images, resized.config)).last_hidden_state
    assert error(found, wanted) < 1e-5
    if shape[0] != shape[1]:
        with pytest.raises(ConfigError, match="square"):
            to_hf(resized, tmp_path / "back", family)


def test_images_that_do_not_fit_are_refused() -> None:
    model = Transformer(CONFIG)
    assert model(image_batch(torch.zeros(3, 3, 4, 4), CONFIG)).last_hidden_state.shape == (15, 8)
    for shape, message in (
        ((3, 4, 4), "4 dimensions"),
        ((1, 3, 5, 4), "do not divide into patches of 2"),
        ((1, 3, 8, 8), "resize_positions"),
        ((1, 2, 4, 4), "not 2 square channels"),
    ):
        with pytest.raises(InputError, match=message):
            image_batch(torch.zeros(shape), CONFIG)


def test_only_square_grids_of_patches_are_resized() -> None:
    with pytest.raises(ConfigError, match="square"):
        resize_positions(Transformer(CoreConfig(**SIZES, max_length=5)), 2, 2)
    resized = resize_positions(Transformer(CONFIG), 2, 3)
    with pytest.raises(ConfigError, match="square"):
        resize_positions(resized, 2, 2)
    assert patch_size(CONFIG, 3) == 2


def test_patches_are_rows_of_the_image() -> None:
    """A patch's numbers are channel by channel, row by row; patches go row by row too."""
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    config = CoreConfig(**SIZES, value_encoder="patches", n_values=4, max_length=5)
    batch = image_batch(image, config)
    assert batch.values is not None
    assert batch.values.tolist() == [
        [0, 0, 0, 0],
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]
    assert batch.ids.tolist() == [0, 1, 1, 1, 1]
