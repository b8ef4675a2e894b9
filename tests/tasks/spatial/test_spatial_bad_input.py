"""Faults of sections and images from the command line: one sentence, exit status 1, nothing written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import tifffile
from conftest import make_section
from PIL import Image
from typer.testing import CliRunner

from biolm.cli.main import app

Change = Callable[[anndata.AnnData, np.ndarray, Path], list[str]]


def _image(pixels: np.ndarray, folder: Path, name: str = "x.png", **options: Any) -> list[str]:
    Image.fromarray(pixels).save(folder / name, **options)
    return ["--image", str(folder / name)]


def _another_scale(adata: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    adata.uns["image_size_xy"] = np.array([image.shape[1] + 9, image.shape[0]])
    return _image(image, folder)


def _cropped(_: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    return [*_image(image[: image.shape[0] // 3], folder), "--image-scale", "1"]


def _no_scale(adata: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    del adata.uns["spot_pitch_um"]
    return _image(image, folder)


def _blank(_: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    return _image(np.full_like(image, 255), folder)


def _transparent(_: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    return _image(np.zeros((*image.shape[:2], 4), np.uint8), folder)


def _turned(_: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _image(image, folder, "x.jpg", exif=exif)


def _cut_off(_: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    path = folder / "x.tif"
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", compression="zlib")
    os.truncate(path, path.stat().st_size // 2)
    return ["--image", str(path)]


def _mirrored(adata: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    cut = image.copy()
    cut[:, : image.shape[1] // 3] = 235  # tissue on one side alone
    keep = adata.obsm["spatial"][:, 0] > image.shape[1] // 3
    adata._inplace_subset_obs(keep)
    adata.obsm["spatial"][:, 0] = image.shape[1] - adata.obsm["spatial"][:, 0]
    return _image(cut, folder)


def _two_libraries(adata: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    scale = {"scalefactors": {"tissue_hires_scalef": 0.1}}
    adata.uns["spatial"] = {"A": scale, "B": scale}
    return _image(image, folder)


def _not_a_number(adata: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    adata.obsm["spatial"][3, 0] = np.nan
    return _image(image, folder)


def _normalised(adata: anndata.AnnData, image: np.ndarray, folder: Path) -> list[str]:
    adata.X = np.log1p(adata.X * 0.37)
    return _image(image, folder)


CASES: dict[str, tuple[Change, str]] = {
    "image of another size": (_another_scale, "was measured on an image of"),
    "spots outside a cropped image": (_cropped, "lie outside the image"),
    "no scale anywhere": (_no_scale, "how many micrometres a pixel has"),
    "blank image": (_blank, "blank"),
    "transparent image": (_transparent, "blank"),
    "image turned by EXIF": (_turned, "EXIF orientation 6"),
    "truncated TIFF": (_cut_off, "is cut off"),
    "mirrored": (_mirrored, "mirrored left to right"),
    "two libraries": (_two_libraries, "no column of obs says which spot is of which"),
    "NaN coordinates": (_not_a_number, "NaN or infinite"),
    "log-normalised": (_normalised, "raw counts"),
}


def _refused(arguments: list[str], message: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    target = folder / "out.h5ad"
    result = CliRunner().invoke(app, ["spatial", "prepare", *arguments, "-o", str(target), "--no-cache"])
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    lines = [line for line in result.stderr.strip().splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert result.stderr.strip().splitlines()[-1] == lines[0]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", CASES)
def test_a_section_that_cannot_be_prepared(name: str, tmp_path: Path) -> None:
    change, message = CASES[name]
    adata, image = make_section(0)
    options = change(adata, image, tmp_path)
    adata.write_h5ad(tmp_path / "s.h5ad")
    _refused([str(tmp_path / "s.h5ad"), *options], message, tmp_path)


@pytest.mark.parametrize(
    ("folder", "options", "message"),
    [
        ("seurat_visium_hd", ["--bin-um", "16"], "only 642 of 2,695 ids of the counts (24%)"),
        ("visium_heart_reader/1.0.0", [], "is blank"),
        ("sfe_merscope_toy", [], "says 0.108 µm per pixel"),
        ("sfe_xenium_toy", [], "give --microns-per-pixel"),
    ],
)
def test_a_folder_that_cannot_be_prepared(
    folder: str, options: list[str], message: str, shared: Path, tmp_path: Path
) -> None:
    data = shared / "data/spatial" / folder
    if not data.is_dir():
        pytest.skip("needs ../shared/data/spatial")
    _refused([str(data), *options], message, tmp_path)


def test_cosmx_counts_in_no_cell_are_no_spot_and_a_lost_cell_table_is_named(
    shared: Path, tmp_path: Path
) -> None:
    data = shared / "data/spatial/sfe_cosmx_toy"
    if not data.is_dir():
        pytest.skip("needs ../shared/data/spatial")
    shutil.copytree(data, tmp_path / "run")
    (table,) = (tmp_path / "run").glob("*metadata_file.csv")
    table.unlink()
    _refused([str(tmp_path / "run")], "no section that biolm knows", tmp_path)
