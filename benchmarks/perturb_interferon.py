"""Over-expressed genes of the interferon response beside what interferon beta did to the cells.

    python benchmarks/perturb_interferon.py KANG_CTRL_STIM.h5ad [-m genetext] [--cells 100] [--seeds 3]

The file holds blood cells without and with interferon beta (Kang et al. 2018; obs ``batch`` ctrl / stim).
For each cell type, genes are over-expressed together in unstimulated cells; the predicted shift is the mean
vector after minus before, the measured one the mean of the stimulated cells minus that of the unstimulated
cells that were not perturbed. Their cosine is printed beside

- random genes: as many, matched in expression in the same cell, over-expressed in the same way;
- other types: the mean measured shift of the other types, a baseline that has seen the experiment;
- halves: the difference of two halves of the unstimulated cells, the shift of nothing.

The genes are known from the literature and were not chosen on this file. Only unstimulated cells have labels;
the stimulated ones get theirs from logistic regression on log-normalised genes, each condition centred, the
response genes left out.
"""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path

import anndata
import numpy as np

from biolm.io.cells import open_cells
from biolm.jobs.bind import loaded
from biolm.models.model import EmbedOptions
from biolm.tasks.perturb.cells import open_changing
from biolm.tasks.perturb.controls import MatchedGenes
from biolm.tasks.perturb.edits import Edit, FileGenes
from biolm.tasks.perturb.figures import cosine
from biolm.tasks.perturb.measure import mean_shares

GENES = ("ISG15", "IFI6", "IFIT1", "IFIT2", "IFIT3", "MX1", "MX2", "OAS1", "OASL", "IFI44", "IFI44L", "RSAD2")
LEAST = 20


def main() -> None:
    """Print a line for each cell type, mean and standard deviation over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells_file", type=Path)
    parser.add_argument("-m", "--model", default="genetext")
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    logging.getLogger("biolm").setLevel(logging.ERROR)
    types, batch = labels(given.cells_file)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(given.seeds):
        for name, figures in one_seed(given, types, batch, seed).items():
            found.setdefault(name, []).append(figures)
    heads = list(next(iter(found.values()))[0])
    print(f"{'cosine with the measured shift':32}" + "".join(f"{head:>20}" for head in heads))
    for name, rows in found.items():
        cells = [[row[head] for row in rows] for head in heads]
        print(f"{name:32}" + "".join(f"{np.mean(one):13.2f} ± {np.std(one):.2f}" for one in cells))


def labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Cell type, predicted for stimulated cells, and batch of each cell."""
    import scanpy
    from sklearn.linear_model import LogisticRegression

    adata = anndata.read_h5ad(path)
    batch = adata.obs["batch"].astype(str).to_numpy()
    types = adata.obs["cell_type"].astype(str).to_numpy().copy()
    scanpy.pp.normalize_total(adata, target_sum=1e4)
    scanpy.pp.log1p(adata)
    frequent = np.asarray((adata.X > 0).mean(0)).ravel() > 0.05
    table = adata[:, frequent & ~adata.var_names.isin(GENES)].X.toarray()
    for name in ("ctrl", "stim"):
        table[batch == name] -= table[batch == name].mean(0)
    known = (batch == "ctrl") & (types != "unknown")
    fitted = LogisticRegression(C=0.01, max_iter=300).fit(table[known], types[known])
    types[batch == "stim"] = fitted.predict(table[batch == "stim"])
    return types, batch


def one_seed(
    given: argparse.Namespace, types: np.ndarray, batch: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    """Cosines of every cell type."""
    rng = np.random.default_rng(seed)
    model, options = loaded(given.model), EmbedOptions(device="cpu", seed=seed)
    with open_cells(given.cells_file) as source:
        match = model.vocabulary.match(source.gene_columns())
        known = FileGenes(source.gene_columns(), match, model.vocabulary)
        edit = Edit(
            raised=tuple(known.find([gene for gene in GENES if gene in source.gene_columns()["index"]]))
        )
        shares = mean_shares(source, np.arange(source.n_cells), match, len(model.vocabulary))
        matched = MatchedGenes(known.rows, shares, seed)
        every = model.embed(next(source.blocks(source.n_cells)), match, options).astype(float)
        shifts, measured, halves = {}, {}, {}
        for name in np.unique(types):
            ctrl = rng.permutation(np.flatnonzero((types == name) & (batch == "ctrl")))
            stim = np.flatnonzero((types == name) & (batch == "stim"))
            if name == "unknown" or min(len(ctrl) // 2, len(stim)) < LEAST:
                continue
            # Perturbed and measured cells are not the same, so that their noise is not shared.
            perturbed, rest = np.sort(ctrl[: len(ctrl) // 2][: given.cells]), ctrl[len(ctrl) // 2 :]
            cells = open_changing(model, source.take(perturbed.astype(np.int64)), match, options)
            all_cells = np.arange(len(perturbed))
            before = every[perturbed].mean(0)
            random = [
                matched.draw(edit, cells.expressed[i], int(perturbed[i]), 0, 1, partial(cells.changes, i))[0]
                for i in all_cells
            ]
            shifts[name] = (
                cells.vectors(all_cells, [edit] * len(all_cells)).mean(0) - before,
                cells.vectors(all_cells, random).mean(0) - before,
            )
            measured[name] = every[stim].mean(0) - every[rest].mean(0)
            halves[name] = before - every[rest].mean(0)
    out = {}
    for name, (predicted, control) in shifts.items():
        others = np.mean([shift for other, shift in measured.items() if other != name], axis=0)
        pairs = {"interferon genes": predicted, "random genes": control, "other types": others}
        pairs["halves"] = halves[name]
        out[name] = {title: float(cosine(one, measured[name])) for title, one in pairs.items()}
    return out


if __name__ == "__main__":
    main()
