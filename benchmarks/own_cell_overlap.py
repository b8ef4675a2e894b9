"""Look for cells of the evaluation sets among the cells of a run.

    python benchmarks/own_cell_overlap.py CELLS FILE...

``CELLS`` is the folder with the three evaluation sets of ``_evaluation_sets.py``, each ``FILE`` a table of
cells that a model was trained on. Every cell of a file is compared with every cell of an evaluation set, over
the genes that both measure (by Ensembl id): cells with the same counts of all of them, and the largest cosine
of log1p counts, which is 1 for the same counts. Prints a Markdown table.

Dimensions: ``n`` cells of a file · ``j`` cells of an evaluation set · ``s`` shared genes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import numpy as np
from _evaluation_sets import NAMES
from numpy.typing import NDArray

ROWS = 1000
FEWEST = 20  # a cell with fewer counts over the shared genes looks like many others


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    sets = {name: counts(given.cells / f"{name}.h5ad") for name in NAMES}
    print("| file | evaluation set | cells | shared genes | same counts | largest cosine |")
    print("| --- | --- | --- | --- | --- | --- |")
    for file in given.files:
        table, genes = counts(file)
        for name, (evaluated, known) in sets.items():
            shared, left, right = np.intersect1d(genes, known, return_indices=True)
            first, second = table[:, left], evaluated[:, right]
            print(
                f"| {file.stem} | {name} | {len(table)} | {len(shared)} | {same_counts(first, second)} |"
                f" {nearest(first, second):.3f} |",
                flush=True,
            )


def counts(file: Path) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Counts by gene, and the Ensembl ids; genes without one, or with one seen before, are left out."""
    held = anndata.read_h5ad(file)
    names, first = np.unique(held.var["ensembl_id"].to_numpy(str), return_index=True)
    kept = first[names != ""]
    return held.X.tocsc()[:, kept].toarray().astype(np.float32), names[names != ""]


def same_counts(first: NDArray[np.float32], second: NDArray[np.float32]) -> int:
    """How many rows of the first are rows of the second."""
    known = {row.tobytes() for row in second if row.sum() >= FEWEST}
    return sum(row.tobytes() in known for row in first)


def unit(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of log1p counts, one long; rows of too few counts are 0."""
    made = np.log1p(table)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    return np.where(table.sum(1, keepdims=True) >= FEWEST, made / np.maximum(length, 1e-9), 0)


def nearest(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Largest cosine of any two rows."""
    known = unit(second).T
    rows = range(0, len(first), ROWS)
    return max(float((unit(first[start : start + ROWS]) @ known).max()) for start in rows)


if __name__ == "__main__":
    main()
