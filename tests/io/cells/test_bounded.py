"""Reading costs the memory of a block, not of the file, in every storage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

CELLS, GENES, PER_CELL = 32_000, 2_000, 250  # 8 million values: 64 MB as CSR
PROGRAM = """
import sys, numpy as np
import h5py, scipy.sparse
from biolm.io.cells import bands, open_cells

bands.BAND_VALUES = 1 << 18

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

before, values, total = peak(), 0, 0.0
with open_cells(sys.argv[1]) as source:
    for block in source.blocks(1024):
        values += len(block.data)
        total += float(block.data.sum())
print(values, total, peak() - before)
"""


def write(path: Path, storage: str) -> None:
    """Every cell has the same number of values; CSC by gene, the same for a square pattern."""
    rng = np.random.default_rng(0)
    rows, columns = (CELLS, GENES) if storage == "csr" else (GENES, CELLS)
    each = CELLS * PER_CELL // rows
    with h5py.File(path, "w") as file:
        for name, size in (("obs", CELLS), ("var", GENES)):
            file[f"{name}/_index"] = np.arange(size).astype("S")
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = f"{storage}_matrix", (CELLS, GENES)
        group["indptr"] = np.arange(rows + 1, dtype=np.int64) * each
        options = {"chunks": (50_000,), "compression": "gzip", "compression_opts": 1}
        data = group.create_dataset("data", (rows * each,), "f4", **options)
        indices = group.create_dataset("indices", (rows * each,), "i4", **options)
        # Evenly spread places with a random start: distinct within a row, ascending after the sort.
        step = columns // each
        place = np.arange(each, dtype=np.int32) * step
        for first in range(0, rows, rows // 10):
            count = min(rows // 10, rows - first)
            span = slice(first * each, (first + count) * each)
            indices[span] = (place + rng.integers(0, step, (count, 1), np.int32)).reshape(-1)
            data[span] = rng.integers(1, 9, count * each).astype("f4")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux: reads the peak from /proc")
@pytest.mark.parametrize("storage", ["csr", "csc"])
def test_memory_is_bounded(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "x.h5ad"
    write(path, storage)
    with h5py.File(path) as file:
        total = float(file["X/data"][:].sum(dtype=np.float64))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True
    )
    values, read, grown = (float(word) for word in done.stdout.split())
    assert values == CELLS * PER_CELL
    assert read == total
    # A block and a band take 2 MB each, several times that while they are sorted; the matrix 64 MB.
    assert grown < 24
