"""Scale, orientation, patches, stains, neighbours and niches. Numbers of traps: specification, A.5."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.adapters.spatial import (
    ContextVocabulary,
    PatchSettings,
    StainNormaliser,
    TissueMask,
    check_orientation,
    colour_features,
    cut_patches,
    find_pixel_size,
    find_tissue,
    fit_grid,
    nearest,
    niche_composition,
    within_radius,
)
from biolm.adapters.spatial.colour import colour_grid
from biolm.adapters.spatial.orientation import SYMMETRIES, symmetries
from biolm.adapters.spatial.patches import symmetry
from biolm.errors import ConfigError, InputError
from biolm.io.spatial import open_section
from biolm.io.spatial.images import open_image


def test_trap_4_scale_comes_from_the_pitch_and_not_from_the_spot_diameter(shared) -> None:
    """Trap 4: calling the spot 55 µm is 16 % off."""
    with open_section(shared / "data/spatial/squidpy_mouse_brain/test_data.h5ad") as section:
        found = find_pixel_size(section)
        assert found.source == "spot pitch"
        assert found.value == pytest.approx(0.730, abs=0.002)
        assert section.spot_diameter_px is not None
        assert 55 / section.spot_diameter_px == pytest.approx(found.value * 0.84, rel=0.01)


def test_jitter_does_not_shrink_the_pitch(shared) -> None:
    with open_section(shared / "data/spatial/her2st_C/C2.h5ad") as section:
        fitted = fit_grid(section.xy, dict(section.columns))
        near = fit_grid(section.xy)
        assert fitted.method == "grid"
        assert fitted.pitch == pytest.approx(290.3, abs=0.5)
        assert near.pitch < 0.95 * fitted.pitch


@given(st.floats(20, 400), st.floats(0, 6.2), st.booleans())
def test_pitch_of_any_grid_at_any_angle(pitch: float, angle: float, hexagonal: bool) -> None:
    row, col = np.divmod(np.arange(80), 8)
    if hexagonal:
        col = 2 * col + row % 2
        xy = np.stack((col * pitch / 2, row * pitch * np.sqrt(3) / 2), 1)
    else:
        xy = np.stack((col, row), 1) * pitch
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = fit_grid(xy @ turn.T + 1000, {"array_row": row, "array_col": col})
    assert found.pitch == pytest.approx(pitch, rel=1e-5)


def test_trap_13_no_scale_is_asked_for_and_never_assumed() -> None:
    """Trap 13: neither 0.5 nor 0.25 µm per pixel is taken for granted."""
    import anndata

    adata = anndata.AnnData(np.ones((9, 2), np.float32))
    adata.obsm["spatial"] = np.stack(np.divmod(np.arange(9), 3), 1) * 50.0
    with open_section(adata) as section:
        with pytest.raises(InputError, match="`microns_per_pixel`"):
            find_pixel_size(section)
        assert find_pixel_size(section, pitch_um=100).value == pytest.approx(2)
        both = find_pixel_size(section, option=0.25, image=0.5)
        assert (both.value, both.source, both.others) == (0.25, "option", {"image metadata": 0.5})
        with pytest.raises(InputError, match="must be above 0"):
            find_pixel_size(section, option=0.0)
        # The order: option, scale factors, metadata of the image, pitch of the spots.
        told = {"option": 0.1, "image": 0.3, "pitch_um": 100.0}
        stated = replace(section, microns_per_pixel=0.2)
        order = []
        for name, source in (("option", stated), ("", stated), ("image", section), ("pitch_um", section)):
            order.append(find_pixel_size(source, **told).source)
            told.pop(name, None)
        assert order == ["option", "microns_per_pixel", "image metadata", "spot pitch"]


def shape_mask() -> tuple[TissueMask, np.ndarray]:
    """An L of tissue in 200 x 200, and spots on it."""
    mask = np.zeros((200, 200), bool)
    mask[20:150, 20:45] = True
    mask[110:150, 20:90] = True
    y, x = np.nonzero(mask)
    chosen = np.random.default_rng(0).choice(len(x), 120, replace=False)
    return TissueMask(mask, 1.0, 230.0), np.stack((x, y), 1)[chosen] + 0.5


@pytest.mark.parametrize("number", range(1, 8))
def test_each_wrong_orientation_is_refused_and_the_right_one_named(number: int) -> None:
    mask, xy = shape_mask()
    size = (200, 200)
    wrong = symmetries(xy, *size)[SYMMETRIES[number]]
    right = next(key for key, places in symmetries(wrong, *size).items() if np.allclose(places, xy))
    with pytest.raises(InputError, match=f"tissue as stored but 100% when {right};"):
        check_orientation(wrong, mask, size, "section")
    assert check_orientation(xy, mask, size, "section").verdict == "right"
    forced = check_orientation(wrong, mask, size, "section", force=True)
    assert forced.on_tissue["as stored"] < 0.8


def test_an_image_of_tissue_alone_cannot_be_checked() -> None:
    _, xy = shape_mask()
    found = check_orientation(xy, TissueMask(np.ones((200, 200), bool), 1.0, 255.0), (200, 200), "section")
    assert found.verdict == "cannot be checked"


@pytest.mark.slow
def test_orientation_of_real_sections(shared) -> None:
    """On C5 the right orientation has nearly all spots on tissue; the squidpy crop cannot decide."""
    folder = shared / "data/spatial"
    with (
        open_section(folder / "her2st_C/C5.h5ad") as section,
        open_image(folder / "her2st_C/C5.jpg") as image,
    ):
        found = check_orientation(section.xy, find_tissue(image), (image.width, image.height), "C5")
        assert found.verdict == "right"
        assert found.on_tissue["as stored"] > 0.95
        assert set(found.inside.values()) == {1.0}
        wrong = max(v for k, v in found.on_tissue.items() if k != "as stored")
        assert 0.6 < wrong < 0.85
        mirrored = section.xy * [-1, 1] + [image.width, 0]
        with pytest.raises(InputError, match="when mirrored left to right"):
            check_orientation(mirrored, find_tissue(image), (image.width, image.height), "C5")
    crop = folder / "squidpy_mouse_brain"
    with open_section(crop / "test_data.h5ad") as section, open_image(crop / "test_img.jpg") as image:
        size = image.width, image.height
        assert check_orientation(section.xy, find_tissue(image), size, "crop").verdict == "cannot be checked"


def gradient(width: int = 300, height: int = 200):
    y, x = np.mgrid[:height, :width]
    return open_image(np.stack((x * 255 / width, y * 255 / height, np.full_like(x, 90)), -1).astype(np.uint8))


def test_trap_7_patches_have_a_physical_size_that_every_output_states() -> None:
    """Trap 7: the same micrometres at any scale, and the facts say so."""
    image = gradient()
    for scale in (0.5, 2.0):
        patches = cut_patches(image, np.array([[150.0, 100.0]]), scale, PatchSettings(side_um=40, pixels=16))
        assert patches.side == 40 / scale
        assert patches.as_dict()["patch_um"] == 40
        assert patches.as_dict()["patch_pixels_in_image"] == 40 / scale
        pixels = patches.patch(0)
        assert pixels.shape == (16, 16, 3)
        # Its centre is the spot's own colour, whatever the size.
        assert pixels[7:9, 7:9, 0].mean() == pytest.approx(150 * 255 / 300, abs=1.5)
        span = 40 / scale * 255 / 300 * 15 / 16
        assert float(pixels[8, -1, 0]) - float(pixels[8, 0, 0]) == pytest.approx(span, abs=3)
    with pytest.raises(InputError, match="too few to see tissue"):
        cut_patches(image, np.array([[150.0, 100.0]]), 20.0, PatchSettings(side_um=112))


def test_patches_at_the_edge() -> None:
    image, centres = gradient(), np.array([[150.0, 100.0], [3.0, 100.0], [400.0, 100.0]])
    settings = {name: PatchSettings(side_um=40, pixels=16, edge=name) for name in ("drop", "pad", "error")}
    dropped = cut_patches(image, centres, 1.0, settings["drop"])
    assert (dropped.rows.tolist(), dropped.at_edge) == ([0], 2)
    padded = cut_patches(image, centres, 1.0, settings["pad"])
    assert padded.rows.tolist() == [0, 1]
    assert (padded.patch(1)[:, :5] == 255).all()
    with pytest.raises(InputError, match="2 of 3 patches leave the image"):
        cut_patches(image, centres, 1.0, settings["error"])
    with pytest.raises(ConfigError, match="`edge` must be one of"):
        PatchSettings(edge="mirror")


def test_patches_are_antialiased() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    patches = cut_patches(
        open_image(stripes), np.array([[128.0, 128.0]]), 1.0, PatchSettings(side_um=200, pixels=25)
    )
    assert np.abs(patches.patch(0).astype(int) - 127).max() < 30


def test_symmetries_of_patches_are_eight_and_distinct() -> None:
    patch = np.random.default_rng(0).integers(0, 255, (1, 6, 6, 3), dtype=np.uint8)
    made = {symmetry(patch, number).tobytes() for number in range(8)}
    assert len(made) == 8


def test_colour_numbers_are_those_of_numpy() -> None:
    patch = np.random.default_rng(1).integers(0, 255, (2, 24, 24, 3), dtype=np.uint8)
    found = colour_features(patch)
    flat = patch.reshape(2, -1, 3).astype(float)
    np.testing.assert_allclose(found[:, :3], flat.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found[:, 3:6], flat.std(1), rtol=1e-4)
    assert np.abs(found[:, 12:15] - np.percentile(flat, 50, axis=1)).max() <= 1
    density = -np.log((flat + 1) / 256)
    np.testing.assert_allclose(found[:, 21:24], density.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found[:, 24:27], density.std(1), rtol=1e-4)
    grid = colour_grid(patch, 4)
    np.testing.assert_allclose(grid[0, 1], colour_features(patch[:1, :6, :6])[0], rtol=1e-5)
    np.testing.assert_allclose(grid[0, 2], colour_features(patch[:1, :6, 6:12])[0], rtol=1e-5)


def stained(rng: np.random.Generator, strength: float) -> np.ndarray:
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    amount = rng.gamma(2, 0.25, (1, 32, 32, 2)) * strength
    return np.clip(240 * np.exp(-amount @ stains), 0, 255).astype(np.uint8)


def test_trap_14_a_blank_patch_is_returned_unchanged() -> None:
    """Trap 14: neither division by zero nor a singular matrix on a patch without tissue."""
    tissue = stained(np.random.default_rng(0), 1.0)
    for shade in (0, 128, 255):
        blank = np.full((1, 32, 32, 3), shade, np.uint8)
        fitted = StainNormaliser.fit(blank)
        assert np.array_equal(fitted(tissue), tissue)
        if shade == 255:
            assert np.array_equal(StainNormaliser.fit(tissue)(blank), blank)


def test_stains_of_two_sections_come_closer() -> None:
    rng = np.random.default_rng(0)
    pale, dark = stained(rng, 0.7), stained(rng, 1.6)
    before = abs(float(pale.mean()) - float(dark.mean()))
    after = abs(float(StainNormaliser.fit(pale)(pale).mean()) - float(StainNormaliser.fit(dark)(dark).mean()))
    assert after < 0.3 * before


@given(st.integers(2, 40), st.integers(1, 8), st.integers(0, 10**6))
def test_nearest_neighbours_are_the_nearest(n: int, k: int, seed: int) -> None:
    xy = np.random.default_rng(seed).integers(0, 6, (n, 2)).astype(float)
    found = nearest(xy, k)
    distance = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    for spot in range(n):
        own = found.others[found.spots == spot]
        assert spot not in own
        assert len(own) == min(k, n - 1)
        rest = np.delete(distance[spot], spot)
        assert np.allclose(np.sort(distance[spot][own]), np.sort(rest)[: len(own)])


def test_trap_12_a_graph_without_edges_is_seen() -> None:
    """Trap 12: a radius in the wrong unit leaves spots alone; that is refused, not turned into NaN."""
    xy = np.stack(np.divmod(np.arange(25), 5), 1) * 100.0
    assert within_radius(xy, 150).counts.max() == 8
    with pytest.raises(InputError, match="100% of the spots have no neighbour within 1"):
        within_radius(xy, 1.0)


def test_niches_are_compositions_of_the_neighbours() -> None:
    xy = np.stack(np.divmod(np.arange(9), 3), 1) * 1.0
    labels = ["a"] * 4 + ["b"] + ["a"] * 3 + ["nan"]
    table, names = niche_composition(labels, within_radius(xy, 1.1))
    assert names.tolist() == ["a", "b"]
    assert table[4].tolist() == [1, 0]  # its own kind is not counted
    np.testing.assert_allclose(table[1], [2 / 3, 1 / 3])
    np.testing.assert_allclose(table[5], [0.5, 0.5])  # the unknown neighbour is left out


def test_context_tokens() -> None:
    words = ContextVocabulary()
    assert len(set(words.ids(species="human", assay="xenium").tolist())) == 3
    with pytest.raises(ConfigError, match="species must be one of"):
        words.ids(species="yeast")
