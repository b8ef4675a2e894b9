"""Embedding a file into a copy of it: time, memory, and what the copy costs.

    python benchmarks/embed_file.py --cells 20000

Makes its own file of 20,000 genes and about 2,100 expressed genes a cell. Every job runs in a process of
its own, so that its peak memory is its own, and the jobs take turns. CPU seconds count all threads and
leave out imports and compiling. Files are read once before, so that the disk plays no part in reading.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from _synthetic import write_h5ad

GENES, WIDTH = 20_000, 32


def main() -> None:
    """Make the file, let the jobs take turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compression", choices=("gzip", "lzf"))
    parser.add_argument("--one", nargs=2, metavar=("JOB", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(JOBS[options.one[0]], Path(options.one[1]))))
        return
    with tempfile.TemporaryDirectory(prefix="biolm-bench-") as folder:
        path = Path(folder) / "cells.h5ad"
        write_h5ad(path, options.cells, n_genes=GENES, genes=gene_names(), compression=options.compression)
        results = {name: [] for name in JOBS}
        for _ in range(options.rounds):
            for name in JOBS:
                command = [sys.executable, __file__, "--one", name, str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                results[name].append(json.loads(done.stdout))
        size = path.stat().st_size
    print(f"{options.cells} cells, {size / 1e6:,.0f} MB, median of {options.rounds} rounds")
    print(f"{'job':44}{'CPU s':>8}{'wall s':>8}{'cells/CPU-s':>13}{'peak MiB':>10}{'MB written':>12}")
    for name, rounds in results.items():
        cpu, wall, peak, written = (statistics.median(r[key] for r in rounds) for key in rounds[0])
        rate = f"{options.cells / cpu:,.0f}"
        print(f"{name:44}{cpu:8.2f}{wall:8.2f}{rate:>13}{peak:10,.0f}{written / 1e6:12,.0f}")


def gene_names() -> list[str]:
    """Human genes of the built-in model, filled up with names it does not know."""
    from biolm.models.systems import genetext

    human = [name for name in genetext.load().vocabulary.genes if name.startswith("ENSG")]
    return [*human, *(f"unknown{place}" for place in range(GENES - len(human)))][:GENES]


def measure(job: Callable[[Path, Path], None], path: Path) -> dict[str, float]:
    """One job, after a small one that pays for imports and compiling."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        small = Path(folder) / "small.h5ad"
        write_h5ad(small, 50, n_genes=GENES, genes=gene_names())
        job(small, Path(folder) / "warm")
        touch(path)
        target = Path(folder) / "out"
        wall, cpu = time.perf_counter(), time.process_time()
        job(path, target)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        written = sum(file.stat().st_size for file in Path(folder).glob("out*"))
    return {"cpu": cpu, "wall": wall, "peak": peak_mib(), "written": written}


def embed_copy(path: Path, target: Path) -> None:
    """The whole job: vectors in a copy of the input."""
    import biolm

    biolm.embed(path, output=target, format="h5ad")


def embed_vectors(path: Path, target: Path) -> None:
    """The vectors alone."""
    import biolm

    biolm.embed(path, output=target, format="npy")


def vectors_for(path: Path) -> np.ndarray:
    """Some vectors for the cells of a file."""
    with h5py.File(path) as file:
        return np.ones((len(file["X/indptr"]) - 1, WIDTH), np.float32)


def copy_bytes(path: Path, target: Path) -> None:
    """Copy as biolm does it: the bytes of the file, then the vectors are added."""
    from biolm.io.anndata.copy import copy_h5ad
    from biolm.io.anndata.vectors import CellVectors

    vectors = vectors_for(path)
    empty = np.zeros(len(vectors), bool)
    copy_h5ad(path, target, CellVectors(key="X_v", vectors=vectors, empty=empty, provenance={"model": "v"}))


def copy_objects(path: Path, target: Path) -> None:
    """Copy the objects of the file one by one (H5Ocopy), then add the vectors."""
    with h5py.File(path) as old, h5py.File(target, "w") as new:
        for name in old:
            old.copy(name, new)
        new["obsm/X_v"] = vectors_for(path)


def read_and_write(path: Path, target: Path) -> None:
    """What a notebook does: read with anndata, add, write with anndata."""
    warnings.simplefilter("ignore")
    import anndata

    adata = anndata.read_h5ad(path)
    adata.obsm["X_v"] = vectors_for(path)
    adata.write_h5ad(target)


def plain_copy(path: Path, target: Path) -> None:
    """The floor of a copy: the bytes alone."""
    shutil.copyfile(path, target)


JOBS = {
    "embed into a copy (genetext)": embed_copy,
    "embed, vectors alone": embed_vectors,
    "copy + vectors, bytes (biolm)": copy_bytes,
    "copy + vectors, HDF5 objects": copy_objects,
    "copy + vectors, anndata read and write": read_and_write,
    "copy of the file alone": plain_copy,
}


def touch(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb") as stream:
        while stream.read(1 << 24):
            pass


def peak_mib() -> float:
    """Peak resident memory of this process; 0 where /proc is missing."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
