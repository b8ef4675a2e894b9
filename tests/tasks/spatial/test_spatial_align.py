"""Which image it is, at which scale, which way round; and everything that is refused, with one sentence.

Numbers of traps are those of the specification, A.5.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import make_section
from typer.testing import CliRunner

from biolm.errors import InputError
from biolm.io.spatial import SectionOptions, open_section
from biolm.tasks.spatial.align import align
from biolm.tasks.spatial.check import check
from biolm.tasks.spatial.prepare import prepare
from biolm.tasks.spatial.settings import AlignSettings, PrepareSettings


@pytest.fixture
def case():
    return make_section(0)


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "data" / "spatial"


def with_images(adata, image, **scales: float):
    """The AnnData with small copies of its image, as scanpy keeps them."""
    from biolm.io.spatial.resample import resize

    small = {
        name: resize(image, (round(image.shape[1] * s), round(image.shape[0] * s)))
        for name, s in scales.items()
    }
    factors = {f"tissue_{name}_scalef": s for name, s in scales.items()}
    adata.uns["spatial"] = {"L": {"images": small, "scalefactors": factors}}
    return adata, small


def test_trap_5_hires_is_recognised_and_its_scale_used(case) -> None:
    """Trap 5: a small image is not taken for the full resolution, nor the other way round."""
    adata, image = case
    adata, small = with_images(adata, image, hires=0.5, lowres=0.25)
    with open_section(adata) as section:
        full = align(section, image)
        assert full.which.startswith("full resolution")
        assert np.array_equal(full.places, section.xy)
        half = align(section, small["hires"])
        assert half.which == "hires"
        assert np.allclose(half.places, section.xy * 0.5)
        assert half.microns_per_pixel == pytest.approx(2 * full.microns_per_pixel)
        named = align(section, "lowres")
        assert np.allclose(named.places, section.xy * 0.25)
        with pytest.raises(InputError, match="perhaps a crop; say how many"):
            align(section, image[: image.shape[0] // 2])
        assert align(section, image, AlignSettings(image_scale=1.0)).which == "scale given"


def test_an_image_of_another_scale_or_section_is_refused(case) -> None:
    adata, image = case
    with open_section(adata) as section:
        with pytest.raises(InputError, match="lie outside the image"):
            align(section, image[::2, ::2])
        other = np.full((900, 900, 3), 235, np.uint8)
        other[600:, 600:] = 100
        with pytest.raises(InputError, match=r"of the spots lie on tissue"):
            align(section, other)
        adata.uns["image_size_xy"] = np.array([image.shape[1] + 9, image.shape[0]])
    with open_section(adata) as section, pytest.raises(InputError, match="was measured on an image of"):
        align(section, image)


def test_trap_6_a_mirrored_section_is_refused_and_the_contact_sheet_written(case, tmp_path: Path) -> None:
    """Trap 6: a flip is named; what no number shows is drawn."""
    adata, image = case
    image[:200, : image.shape[1] // 2] = 235  # tissue that is not its own mirror image
    keep = ~((adata.obsm["spatial"][:, 1] < 200) & (adata.obsm["spatial"][:, 0] < image.shape[1] // 2))
    adata = adata[keep].copy()
    with open_section(adata) as section:
        assert align(section, image).orientation.verdict == "right"
    adata.obsm["spatial"][:, 0] = image.shape[1] - adata.obsm["spatial"][:, 0]
    with open_section(adata) as section, pytest.raises(InputError, match="when mirrored left to right"):
        align(section, image)
    found = check(adata, tmp_path / "check", image=image)
    assert found["orientation"]["on_tissue"]["mirrored left to right"] > 0.95
    assert json.loads((tmp_path / "check" / "check.json").read_text())["orientation"] == found["orientation"]
    for name in ("overlay.png", "contact_sheet.png"):
        assert (tmp_path / "check" / name).stat().st_size > 10_000


def test_spots_outside_a_cropped_image_are_refused(data: Path, tmp_path: Path) -> None:
    outs = data / "sfe_visium_v2_sample01" / "outs"
    with open_section(outs) as section, pytest.raises(InputError, match="100% of the spots lie outside"):
        align(section, None)
    with pytest.raises(InputError, match="100% of the spots lie outside"):
        prepare(outs, tmp_path / "out.h5ad")
    assert list(tmp_path.iterdir()) == []


def test_a_blank_image_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="blank"):
        prepare(data / "visium_heart_reader" / "1.0.0", tmp_path / "out.h5ad")
    assert list(tmp_path.iterdir()) == []


def test_no_scale_anywhere_is_refused(case, tmp_path: Path) -> None:
    adata, image = case
    del adata.uns["spot_pitch_um"]
    with pytest.raises(InputError, match="nothing states how many micrometres a pixel has"):
        prepare(adata, tmp_path / "out.h5ad", image=image)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_disagrees_with_its_image_is_refused(data: Path) -> None:
    with open_section(data / "sfe_merscope_toy") as section:
        with pytest.raises(InputError, match=r"says 0\.108 µm per pixel, but its box of 217\.3 µm"):
            align(section, None)
        settings = AlignSettings(microns_per_pixel=0.432, force_alignment=True)
        with align(section, None, settings) as found:
            assert found.orientation.inside["as stored"] == 1


def test_a_crop_that_is_all_tissue_cannot_be_checked(data: Path) -> None:
    folder = data / "squidpy_mouse_brain"
    found = check(folder / "test_data.h5ad", image=folder / "test_img.jpg")
    assert found["image"].startswith("full resolution")
    assert found["orientation"]["verdict"] == "cannot be checked"
    assert found["coordinates"]["microns_per_pixel"] == pytest.approx(0.730, abs=0.002)


def test_trap_12_normalised_values_are_refused_where_counts_are_needed(data: Path, tmp_path: Path) -> None:
    """Trap 12: log-normalised values are no counts."""
    source = data / "squidpy_mouse_brain" / "test_data.h5ad"
    with pytest.raises(InputError, match="where raw counts are wanted"):
        prepare(source, tmp_path / "out.h5ad", image="none")
    assert list(tmp_path.iterdir()) == []
    settings = PrepareSettings(allow_normalised=True)
    assert prepare(source, tmp_path / "out.h5ad", image="none", settings=settings)["species"] == "mouse"


def test_options_that_a_layout_does_not_use_are_refused(case) -> None:
    with pytest.raises(InputError, match="the option segmented is not used"):
        open_section(case[0], SectionOptions(segmented=True))


def test_failures_on_the_command_line_are_one_sentence(data: Path, tmp_path: Path) -> None:
    from biolm.cli.main import app

    for folder, text in (
        ("sfe_visium_v2_sample01/outs", "lie outside the image"),
        ("visium_heart_reader/1.0.0", "is blank"),
        ("sfe_xenium_toy", "give --microns-per-pixel"),
    ):
        result = CliRunner().invoke(
            app, ["spatial", "prepare", str(data / folder), "-o", str(tmp_path / "x.h5ad")]
        )
        assert result.exit_code == 1
        assert text in result.output
        assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_check_from_the_command_line(data: Path, tmp_path: Path) -> None:
    from biolm.cli.main import app

    folder = data / "squidpy_mouse_brain"
    arguments = ["spatial", "check", str(folder / "test_data.h5ad"), "--image", str(folder / "test_img.jpg")]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "check"), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "orientation: cannot be checked" in result.stdout
    assert "0.7299 µm per unit of the coordinates, from spot pitch" in result.stdout


def test_prepared_file_is_what_scanpy_expects(prepared: list[Path]) -> None:
    import anndata

    adata = anndata.read_h5ad(prepared[0])
    assert adata.obsm["spatial"].shape == (80, 2)
    assert adata.obsm["X_image"].dtype == np.float32
    record = adata.uns["biolm"]["spatial"]
    assert record["patch_um"] == 112
    assert record["microns_per_pixel"] == pytest.approx(5)
    assert record["image_sha256"]
    assert adata.obsm["X_image"].shape[1] == int(record["image_tokens"]) * 27


def test_symmetric_features_do_not_change_when_the_tissue_is_turned(case, tmp_path: Path) -> None:
    import anndata

    from biolm.adapters.spatial.patches import PatchSettings

    adata, image = case
    turned, other = adata.copy(), np.ascontiguousarray(np.rot90(image, 2))
    turned.obsm["spatial"] = np.array([image.shape[1], image.shape[0]]) - adata.obsm["spatial"]
    settings = PrepareSettings(symmetric=True, patches=PatchSettings(pixels=32))
    for name, one, picture in (("a", adata, image), ("b", turned, other)):
        prepare(one, tmp_path / f"{name}.h5ad", image=picture, settings=settings)
    a, b = (anndata.read_h5ad(tmp_path / f"{name}.h5ad").obsm["X_image"] for name in "ab")
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1.0)


def test_features_come_from_the_cache_of_their_content(case, tmp_path: Path, monkeypatch) -> None:
    from biolm.adapters.spatial.patches import Patches, PatchSettings

    adata, image = case
    settings = PrepareSettings(cache=tmp_path / "cache", overwrite=True, patches=PatchSettings(pixels=32))
    prepare(adata, tmp_path / "a.h5ad", image=image, settings=settings)
    first = (tmp_path / "a.h5ad").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Patches, "blocks", lambda *_: pytest.fail("patches were cut again"))
        prepare(adata, tmp_path / "a.h5ad", image=image, settings=settings)
    assert (tmp_path / "a.h5ad").read_bytes() == first
    changed = image.copy()
    changed[100, 100] ^= 1
    prepare(adata, tmp_path / "b.h5ad", image=changed, settings=settings)
    assert len(list((tmp_path / "cache").iterdir())) == 2
