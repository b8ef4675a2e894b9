"""Cells per CPU-second of the built-in model: ``python benchmarks/default_model.py [--cells 20000]``.

Makes its own file: 20,000 genes, about 2,100 expressed genes a cell, counts stored as they come. Timed are
the whole job (file in, vectors file out, every check included), reading alone, the compiled kernel, and for
comparison the same formula by a dense product, in turns and as medians of CPU time.
Dimensions: ``n`` cells · ``g`` genes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from _measure import interleaved
from _synthetic import write_h5ad
from scipy.sparse import csr_matrix

import biolm
from biolm.adapters.cells.kernels import kernel
from biolm.adapters.cells.rows import by_column, prepare
from biolm.io.cells import CellBlock, open_cells
from biolm.models.systems import genetext
from biolm.vocab.match import GeneMatch

GENES, DENSE = 20_000, 1_000


def by_kernel(block: CellBlock, match: GeneMatch, model: genetext.GeneText) -> None:
    """One block through a kernel, its preparation included."""
    rows = prepare(block, match)
    out = np.zeros((len(block), model.width), np.float32)
    factors = by_column(match, model.factors, 0)
    kernel("mean_rows")(rows.data, rows.indices, rows.indptr, match.target, model.vectors, factors, out)


def densely(block: CellBlock, match: GeneMatch, model: genetext.GeneText) -> None:
    """The first rows as a dense table times the gene vectors, as a first sketch would have it."""
    stop = int(block.indptr[DENSE])
    shape = (DENSE, block.n_genes)
    counts = csr_matrix((block.data[:stop], block.indices[:stop], block.indptr[: DENSE + 1]), shape=shape)
    weights = counts.toarray() ** 0.75 * by_column(match, model.factors, 0)
    vectors = np.where(match.target[:, None] >= 0, model.vectors[match.target], 0)
    np.asarray((weights @ vectors) / weights.sum(1, keepdims=True))


def main() -> None:
    """Make the file, time the jobs, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = genetext.load()
    human = [name for name in model.vocabulary.genes if name.startswith("ENSG")]
    names = [*human, *(f"unknown{place}" for place in range(GENES - len(human)))][:GENES]
    with tempfile.TemporaryDirectory(prefix="biolm-bench-") as folder:
        path, output = Path(folder) / "cells.h5ad", Path(folder) / "vectors.npy"
        write_h5ad(path, options.cells, n_genes=GENES, genes=names)
        with open_cells(path) as source:
            match = model.vocabulary.match(source.gene_columns())
            block = next(source.blocks(min(8192, options.cells)))

        def read() -> None:
            with open_cells(path) as source:
                for part in source.blocks():
                    part.data.sum()

        def whole() -> None:
            biolm.embed(path, model=model, output=output, overwrite=True)

        jobs = {
            "h5ad to vectors file, all checks": (whole, options.cells),
            "reading alone": (read, options.cells),
            "compiled kernel": (lambda: by_kernel(block, match, model), len(block)),
            "dense numpy": (lambda: densely(block, match, model), DENSE),
        }
        whole()  # compiles what is not compiled yet
        times = interleaved({name: job for name, (job, _) in jobs.items()}, rounds=options.rounds)
    expressed = np.diff(block.indptr).mean()
    print(f"{options.cells} cells, {GENES} genes, {expressed:.0f} expressed a cell, {model.width} axes")
    for name, (_, cells) in jobs.items():
        print(f"{name:36}{cells / times[name]:12,.0f} cells/CPU-s")


if __name__ == "__main__":
    main()
