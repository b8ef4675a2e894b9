"""Peak memory of reading sections: a Visium HD table of 10^6 bins, and tiled pyramids of two sizes.

    python benchmarks/spatial_memory.py

Files are made up in a temporary folder; each is read in a process of its own, whose peak above what it takes
after the imports is printed. The table has 18,000 genes and 20 counts a bin and is read in blocks; of a
pyramid the thumbnail, the tissue mask and 1,000 patches of 112 µm to 224 pixels are taken.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

from biolm.adapters.spatial.patches import PatchSettings, cut_patches
from biolm.adapters.spatial.tissue import find_tissue
from biolm.io.spatial import open_section
from biolm.io.spatial.images import open_image
from biolm.io.spatial.positions import COLUMNS

BINS, GENES, COUNTS = 1_000_000, 18_000, 20
SIDES = (8_192, 32_768)
TILE = 512


def write_bins(folder: Path) -> None:
    """A folder as Space Ranger writes it for bins of 8 µm."""
    place = folder / "binned_outputs" / "square_008um"
    (place / "spatial").mkdir(parents=True)
    row, col = np.divmod(np.arange(BINS), 1000)
    names = np.array([f"s_008um_{r:05d}_{c:05d}-1" for r, c in zip(row, col, strict=True)])
    rng = np.random.default_rng(0)
    with h5py.File(place / "filtered_feature_bc_matrix.h5", "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = names.astype("S24")
        group["shape"] = [GENES, BINS]
        group["indptr"] = np.arange(0, BINS * COUNTS + 1, COUNTS)
        first = rng.integers(0, GENES - 60 * COUNTS, BINS, dtype=np.int32)
        indices = (first[:, None] + 60 * np.arange(COUNTS, dtype=np.int32)).ravel()
        group.create_dataset("indices", data=indices, chunks=(1 << 18,))
        group.create_dataset(
            "data", data=rng.poisson(1, BINS * COUNTS).astype(np.int32) + 1, chunks=(1 << 18,)
        )
        features = group.create_group("features")
        for key in ("id", "name"):
            features[key] = [f"G{number}".encode() for number in range(GENES)]
        features["feature_type"] = [b"Gene Expression"] * GENES
    table = dict(zip(COLUMNS, (names, np.ones(BINS, int), row, col, row * 29.2, col * 29.2), strict=True))
    places = pa.table({key: pa.array(values) for key, values in table.items()})
    pq.write_table(places, place / "spatial" / "tissue_positions.parquet")


def write_pyramid(path: Path, side: int) -> None:
    """A tiled BigTIFF with two coarser levels."""
    tile = np.random.default_rng(0).integers(90, 130, (TILE, TILE, 3)).astype(np.uint8)
    blank = np.full_like(tile, 235)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for step in (1, 4, 16):
            across = side // step // TILE
            file.write(
                (blank if number % 2 else tile for number in range(across**2)),
                shape=(side // step, side // step, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                subfiletype=int(step > 1),
                metadata=None,
            )


def read_bins(path: Path) -> None:
    """Open the section and sum its counts."""
    with open_section(path) as section:
        total = sum(float(block.data.sum()) for block in section.blocks(8192))
        assert len(section) == BINS
        assert total > BINS


def read_pyramid(path: Path) -> None:
    """Thumbnail, tissue and patches."""
    with open_image(path) as image:
        find_tissue(image)
        centres = np.random.default_rng(0).uniform(300, image.width - 300, (1000, 2))
        for _ in cut_patches(image, centres, 0.25, PatchSettings()).blocks():
            pass


WORK: dict[str, Callable[[Path], None]] = {"bins": read_bins, "pyramid": read_pyramid}


def in_process(kind: str, path: Path) -> str:
    """Peak above the imports, and process time, of reading in a new process."""
    found = subprocess.run([sys.executable, __file__, kind, str(path)], check=True, capture_output=True)
    return found.stdout.decode().strip()


def main() -> None:
    """Write, read, print."""
    if len(sys.argv) == 3:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        WORK[sys.argv[1]](Path(sys.argv[2]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"{peak / 1024:.0f} MiB, {time.process_time() - began:.1f} s")
        return
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            path = Path(folder) / f"{side}.tif"
            write_pyramid(path, side)
            print(f"pyramid of {side:,} x {side:,}: {in_process('pyramid', path)}", flush=True)
            path.unlink()
        write_bins(Path(folder) / "hd")
        print(f"{BINS:,} bins, {GENES:,} genes: {in_process('bins', Path(folder) / 'hd')}", flush=True)


if __name__ == "__main__":
    main()
