"""What the text of genetext adds to axes that were found on unlabelled cells.

Labelled sets of measured cells, none of which the axes have seen. Of each set, one half of the cells keeps
one half of the genes, the other half of the cells the other genes; labels move from the first to the second.
Three splits. Prints a Markdown table; takes the folder of the sets: ``python benchmarks/fitted_control.py
../shared/data/cells``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from biolm.models.model import CellModel
from biolm.scoring.quality import Score, fit_pca, knn_quality, transfer_quality
from biolm.tasks.demo.scores import Baselines, CellSet, gene_half, read_set

SETS = {
    "paul15_mouse_2660": "mouse myeloid progenitors, kind not among the fitted sets",
    "zheng_purified_2007": "purified blood cells",
    "pbmc3k_2638": "blood cells",
    "kang_ctrl_5donors": "blood cells of five patients",
}
SPLITS = 3


def transfer(cells: CellSet, model: CellModel, seed: int) -> Score:
    """Labels from half the cells with half the genes to the other cells with the other genes."""
    genes = gene_half(model, seed)
    first = np.random.default_rng(seed).random(len(cells.labels)) < 0.5
    known, asked = cells.vectors(model, genes)[first], cells.vectors(model, ~genes)[~first]
    return transfer_quality(known, cells.labels[first], asked, cells.labels[~first])


def main(folder: Path) -> None:
    """Print the table."""
    baselines = Baselines.load(0)
    models = {
        "genetext": baselines.text,
        "axes fitted alike": baselines.alike,
        "random": baselines.random[0],
    }
    print("| set | " + " | ".join(f"{name}: within, disjoint" for name in models) + " | PCA-20: within |")
    print("| --- |" + " --- |" * (len(models) + 1))
    for name, title in SETS.items():
        cells = read_set(folder / f"{name}.h5ad", title, baselines.text)
        row = []
        for model in models.values():
            within = knn_quality(cells.vectors(model), cells.labels, repeats=1).macro_f1
            disjoint = np.mean([transfer(cells, model, seed).macro_f1 for seed in range(SPLITS)])
            row.append(f"{within:.3f}, {disjoint:.3f}")
        components = fit_pca(cells.table.X, variable_genes=2000)(cells.table.X)
        row.append(f"{knn_quality(components, cells.labels, repeats=1).macro_f1:.3f}")
        print(f"| {title} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
