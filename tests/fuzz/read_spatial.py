"""Sections of tissue and their images; folders of real readers' fixtures come from ../shared."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cases import SHARED, Case
from read_cells import table_of

from biolm.io.spatial import open_section
from biolm.io.spatial.images import open_image
from biolm.io.spatial.positions import COLUMNS, read_positions
from biolm.tasks.spatial.prepared import load_prepared

__all__ = ["CASES"]

PIXELS = np.random.default_rng(0).integers(30, 200, (48, 64, 3), dtype=np.uint8)


def positions(path: Path) -> None:
    rows = [f"AAAC{n}-1,1,{n},{2 * n},{100 * n},{50 * n}.5" for n in range(20)]
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")


def positions_parquet(path: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    positions(path.with_name("in.csv"))
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(path.with_name("in.csv")), path)


def places(path: Path) -> Any:
    found = read_positions(path)
    return found.names, found.xy, found.columns


def picture(path: Path) -> None:
    from PIL import Image

    Image.fromarray(PIXELS).save(path)


def tiff(path: Path, *, compression: str | None = None) -> None:
    import tifffile

    tifffile.imwrite(path, PIXELS, tile=(16, 32), photometric="rgb", compression=compression)


def pixels(path: Path) -> Any:
    with open_image(path) as image:
        return [level.read(0, 0, level.width, level.height) for level in image.levels]


def section(path: Path) -> Any:
    with open_section(path) as found:
        counts = found.counts().tocsr()
        sparse = [np.asarray(counts.data), np.asarray(counts.indices), np.asarray(counts.indptr)]
        return [found.layout, found.names, found.xy, dict(found.columns), *sparse]


def h5ad(path: Path) -> None:
    table = table_of()
    table.obsm["spatial"] = np.random.default_rng(1).random((table.n_obs, 2)) * 100
    table.write_h5ad(path)


def prepared(path: Path) -> Any:
    found = load_prepared(path)
    counts = found.counts
    return [found.names, found.genes, found.xy, counts.data, counts.indices, counts.indptr]


def copied(path: Path, place: str) -> None:
    shutil.copytree(SHARED / "data/spatial" / place, path)
    for file in path.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    path.chmod(0o755)


LAYOUTS = {
    "Space Ranger 1": "visiumio_v1_brain50/outs",
    "Space Ranger 2": "sfe_visium_v2_sample01/outs",
    "CosMx": "sfe_cosmx_toy",
    "MERSCOPE": "sfe_merscope_toy",
    "Xenium": "sfe_xenium_toy",
}

CASES = {
    "positions": Case(file="tissue_positions.csv", make=positions, read=places),
    "positions Parquet": Case(file="tissue_positions.parquet", make=positions_parquet, read=places),
    "PNG": Case(file="x.png", make=picture, read=pixels),
    "JPEG": Case(file="x.jpg", make=picture, read=pixels),
    "TIFF": Case(file="x.tif", make=tiff, read=pixels),
    "TIFF zlib": Case(file="x.tif", make=partial(tiff, compression="zlib"), read=pixels),
    "section h5ad": Case(file="x.h5ad", make=h5ad, read=section),
    "prepared section": Case(file="x.h5ad", make=h5ad, read=prepared),
}
if SHARED.is_dir():
    CASES |= {
        name: Case(file="x", make=partial(copied, place=place), read=section)
        for name, place in LAYOUTS.items()
    }
