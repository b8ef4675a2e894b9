"""Shuffled sparse batches of cells per CPU-second: this project's loader beside plain loops.

    python benchmarks/load_cells.py --cells 100000

Makes its own file of 20,000 genes and about 2,100 expressed genes a cell (1.7 GB at 100,000 cells),
uncompressed, and packs it with ``biolm.pack``. Every loader hands over batches of 64 cells as CSR arrays:
``blocks`` shuffles runs of 64 cells and the cells of pools of 4,096; ``random`` takes cells in true random
order. Loaders take turns and the median of the rounds is printed, so that drift of the machine hits all
alike. Files are read once before the clock starts. CPU seconds count all threads of the process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from _synthetic import write_h5ad
from read_cells import touch
from scipy.sparse import csr_matrix

import biolm
from biolm.training.batches import cell_batches

SIZE, RUN, POOL = 64, 64, 4096


def main() -> None:
    """Make the files, time every loader, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-cells", type=int, default=8_192, help="cells of the slow loaders")
    parser.add_argument("--folder", type=Path, help="where files of an earlier run are, or are to stay")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="biolm-bench-") as temporary:
        folder = options.folder or Path(temporary)
        path, store = folder / f"cells-{options.cells}.h5ad", folder / f"cells-{options.cells}.store"
        if not path.exists():
            write_h5ad(path, options.cells)
        rates = {"pack, cells written": []}
        if not store.exists():
            start = time.process_time()
            biolm.pack(path, store)
            rates["pack, cells written"] = [options.cells / (time.process_time() - start)]
        touch(path)
        touch(store)
        for number in range(options.rounds):
            for name, (loader, limit) in loaders(path, store, options).items():
                rates.setdefault(name, []).append(rate(loader(number), limit))
    medians = {name: statistics.median(found) for name, found in rates.items() if found}
    if options.json:
        print(json.dumps({"cells": options.cells, "cells_per_cpu_s": medians}, indent=1))
        return
    print(f"{options.cells} cells, batches of {SIZE}, median of {options.rounds}")
    for name, median in medians.items():
        spread = f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}"
        print(f"{name:44}{median:12,.0f} cells/CPU-s   ({spread})", flush=True)


def loaders(
    path: Path, store: Path, options: argparse.Namespace
) -> dict[str, tuple[Callable[[int], Iterator[int]], int]]:
    """What is timed: a loader of one epoch that yields sizes of batches, and how many cells it loads."""
    everything, few = options.cells, options.slow_cells
    return {
        "biolm, h5ad, blocks": (lambda epoch: biolm_batches(path, epoch), everything),
        "biolm, store, blocks": (lambda epoch: biolm_batches(store, epoch, chunk=RUN), everything),
        "biolm, store, random": (lambda epoch: biolm_batches(store, epoch), everything),
        "biolm, h5ad, random": (lambda epoch: biolm_batches(path, epoch, chunk=1), everything),
        "h5py and scipy, h5ad, blocks": (lambda epoch: plain_blocks(path, epoch), everything),
        "h5py, h5ad, random": (lambda epoch: plain_random(path, epoch), few),
        "anndata backed, h5ad, blocks": (lambda epoch: backed(path, epoch, run=RUN), few),
        "anndata backed, h5ad, random": (lambda epoch: backed(path, epoch, run=1), few),
    }


def rate(batches: Iterator[int], limit: int) -> float:
    """Cells per CPU-second over an epoch or its first cells; opening the file counts."""
    start, cells = time.process_time(), 0
    for size in batches:
        cells += size
        if cells >= limit:
            break
    return cells / (time.process_time() - start)


def biolm_batches(path: Path, epoch: int, chunk: int | None = None) -> Iterator[int]:
    """The loader of this project."""
    for batch in cell_batches(path, size=SIZE, epoch=epoch, chunk=chunk, pool=POOL):
        yield len(batch)


def order_of(cells: int, run: int, epoch: int) -> Iterator[tuple[Any, Any]]:
    """Row numbers of pools, out of shuffled runs."""
    rng = np.random.default_rng(epoch)
    starts = rng.permutation(cells // run) * run
    for first in range(0, len(starts), POOL // run):
        yield np.sort(starts[first : first + POOL // run]), rng


def plain_blocks(path: Path, epoch: int) -> Iterator[int]:
    """Slices of the arrays of an h5ad, put together and shuffled by scipy, unchecked."""
    with h5py.File(path) as file:
        pointers = file["X/indptr"][:]
        genes = int(file["X"].attrs["shape"][1])
        data, indices = file["X/data"], file["X/indices"]
        for starts, rng in order_of(len(pointers) - 1, RUN, epoch):
            spans = [slice(pointers[start], pointers[start + RUN]) for start in starts]
            rows = (starts[:, None] + np.arange(RUN)).ravel()
            lengths = np.concatenate([[0], np.cumsum(pointers[rows + 1] - pointers[rows])])
            values = np.concatenate([data[span] for span in spans])
            pool = csr_matrix(
                (values, np.concatenate([indices[span] for span in spans]), lengths), (len(rows), genes)
            )
            order = rng.permutation(len(rows))
            for first in range(0, len(rows), SIZE):
                yield pool[order[first : first + SIZE]].shape[0]


def plain_random(path: Path, epoch: int) -> Iterator[int]:
    """A slice a cell."""
    with h5py.File(path) as file:
        pointers = file["X/indptr"][:]
        data, indices = file["X/data"], file["X/indices"]
        order = np.random.default_rng(epoch).permutation(len(pointers) - 1)
        for first in range(0, len(order), SIZE):
            rows = order[first : first + SIZE]
            spans = [slice(pointers[row], pointers[row + 1]) for row in rows]
            np.concatenate([data[span] for span in spans])
            np.concatenate([indices[span] for span in spans])
            yield len(rows)


def backed(path: Path, epoch: int, run: int) -> Iterator[int]:
    """Rows of a backed AnnData, asked for in ascending order as it wants them, then shuffled."""
    warnings.simplefilter("ignore")
    import anndata

    matrix = anndata.read_h5ad(path, backed="r").X
    for starts, rng in order_of(matrix.shape[0], run, epoch):
        rows = (starts[:, None] + np.arange(run)).ravel()
        if run == 1:
            for first in range(0, len(rows), SIZE):
                yield matrix[np.sort(rows[first : first + SIZE])].shape[0]
            continue
        pool = matrix[rows]
        order = rng.permutation(len(rows))
        for first in range(0, len(rows), SIZE):
            yield pool[order[first : first + SIZE]].shape[0]


if __name__ == "__main__":
    main()
