"""Cells read per CPU-second from every storage, beside plain h5py and a backed AnnData.

    python benchmarks/read_cells.py --cells 20000

Makes its own file of 20,000 genes and about 2,100 expressed genes a cell. Every reading runs in a process
of its own, so that its peak memory is its own; CPU seconds count all threads. Files are read once before
the clock starts, so that the disk plays no part.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
from _synthetic import write_h5ad

DENSE_CELLS = 4_000
STORAGES = ("contiguous", "gzip", "gzip+shuffle", "lzf", "csc", "zarr", "dense")


def main() -> None:
    """Make the files, time every reader, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=8_192, help="rows of a block")
    parser.add_argument("--storages", nargs="+", default=STORAGES, choices=STORAGES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("READER", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]), options.rows)))
        return
    with tempfile.TemporaryDirectory(prefix="biolm-bench-") as folder:
        results = list(all_results(Path(folder), options))
    if options.json:
        print(json.dumps(results, indent=1))


def all_results(folder: Path, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Time every reader on every storage, printing as it goes."""
    plain = folder / "contiguous.h5ad"
    write_h5ad(plain, options.cells)
    if not options.json:
        print(f"{options.cells} cells, blocks of {options.rows} rows")
        print(
            f"{'storage':14}{'reader':10}{'cells/CPU-s':>12}{'cells/s':>10}{'peak MiB':>10}{'MB on disk':>12}"
        )
    for storage in options.storages:
        path = plain if storage == "contiguous" else store(plain, folder, storage)
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))
        for reader in READERS:
            if reader == "h5py" and storage in {"csc", "zarr", "dense"}:
                continue
            command = [sys.executable, __file__, "--rows", str(options.rows), "--one", reader, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            result = {"storage": storage, "reader": reader, "disk_mb": size / 1e6, **json.loads(done.stdout)}
            if not options.json:
                print(
                    f"{storage:14}{reader:10}{result['cells_per_cpu_s']:12,.0f}{result['cells_per_s']:10,.0f}"
                    f"{result['peak_mib']:10,.0f}{result['disk_mb']:12,.0f}",
                    flush=True,
                )
            yield result
        if path != plain and path.is_file():
            path.unlink()


def store(plain: Path, folder: Path, storage: str) -> Path:
    """The same cells in another storage."""
    path = folder / f"{storage}.{'zarr' if storage == 'zarr' else 'h5ad'}"
    if storage in {"gzip", "lzf"}:
        with h5py.File(plain) as file:
            write_h5ad(path, len(file["X/indptr"]) - 1, compression=storage)
        return path
    if storage == "gzip+shuffle":
        with h5py.File(path, "w") as file, h5py.File(plain) as source:
            for name in ("obs", "var", "X/indptr"):
                source.copy(name, file, name=name)
            file["X"].attrs.update(source["X"].attrs)
            for name in ("X/data", "X/indices"):
                file.create_dataset(name, data=source[name][:], compression="gzip", shuffle=True)
        return path
    import anndata

    warnings.simplefilter("ignore")
    adata = anndata.read_h5ad(plain)
    if storage == "zarr":
        adata.write_zarr(path)
        return path
    if storage == "csc":
        adata.X = adata.X.tocsc()
    else:
        # Dense cells take 80 kB each.
        adata = adata[:DENSE_CELLS].copy()
        adata.X = adata.X.toarray()
    adata.write_h5ad(path)
    return path


def measure(reader: str, path: Path, rows: int) -> dict[str, float]:
    """Read all blocks in this process."""
    touch(path)
    READERS[reader](path, 64, 64)  # imports and first calls
    before = peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    cells = READERS[reader](path, rows, None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rates = {"cells_per_cpu_s": cells / cpu, "cells_per_s": cells / wall}
    return rates | {"cells": cells, "peak_mib": peak_mib(), "grown_mib": peak_mib() - before}


def biolm(path: Path, rows: int, stop: int | None) -> int:
    """The reader of this project."""
    from biolm.io.cells import open_cells

    with open_cells(path) as source:
        return sum(len(block) for block in source.blocks(rows, 0, stop))


def plain_h5py(path: Path, rows: int, stop: int | None) -> int:
    """Slices of the three arrays of a CSR matrix, unchecked."""
    with h5py.File(path) as file:
        indptr = file["X/indptr"][:]
        data, indices = file["X/data"], file["X/indices"]
        last = len(indptr) - 1 if stop is None else stop
        for start in range(0, last, rows):
            first, end = indptr[start], indptr[min(start + rows, last)]
            data[first:end], indices[first:end]
        return last


def backed(path: Path, rows: int, stop: int | None) -> int:
    """``anndata.read_h5ad(backed="r")``, sliced by rows; a lazy read of zarr."""
    warnings.simplefilter("ignore")
    import anndata

    if path.suffix == ".zarr":
        import zarr

        matrix = anndata.io.sparse_dataset(zarr.open_group(path, mode="r")["X"])
    else:
        matrix = anndata.read_h5ad(path, backed="r").X
    last = matrix.shape[0] if stop is None else stop
    for start in range(0, last, rows):
        matrix[start : min(start + rows, last)]
    return last


READERS: dict[str, Callable[[Path, int, int | None], int]] = {
    "biolm": biolm,
    "h5py": plain_h5py,
    "anndata": backed,
}


def touch(path: Path) -> None:
    """Bring a file or folder into the page cache."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                while stream.read(1 << 24):
                    pass


def peak_mib() -> float:
    """Peak resident memory of this process; 0 where /proc is missing."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
