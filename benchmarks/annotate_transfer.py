"""Labels learned on one set of blood cells, asked for on others: the real test of an annotator.

Usage: ``python benchmarks/annotate_transfer.py CELLS [-o FILE]``, CELLS being the folder of the sets. Fits on
``pbmc3k`` and names the cells of each other set; beside it the baselines on the genes that both sets share.
Types are spelled alike first, and only cells of types that both sets have are scored, among these types.
Each seed learns from four fifths of the training cells. What is measured is kept after every seed, and an
interrupted run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from _annotate_data import Cells, points_of, read
from numpy.typing import NDArray

from biolm.scoring.baselines import BASELINES
from biolm.scoring.quality import macro_f1
from biolm.scoring.splits import fraction
from biolm.tasks.annotate.expression import ExpressionSpace, log_normalised
from biolm.tasks.annotate.frozen import OFFERED, Frozen, fit_variants
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.settings import FitSettings

SEEDS = 5
ALIKE = {
    "Naive CD4 T": "CD4 T", "Memory CD4 T": "CD4 T", "CD14+ Mono": "CD14 mono", "FCGR3A+ Mono": "CD16 mono",
    "nk": "NK", "bcells": "B", "memoryt": "CD4 T", "regulatoryt": "CD4 T", "thelper": "CD4 T",
    "naivet": "CD4 T", "cytotoxict": "CD8 T", "naivecytotoxic": "CD8 T", "monocytes": "CD14 mono",
    "T_CD4": "CD4 T", "T_CD8": "CD8 T", "Mono_CD14": "CD14 mono", "Mono_CD16": "CD16 mono", "MK": "Platelet",
}  # fmt: skip
QUERIES = {
    "pbmc_cite_10k": "pbmc_cite_10k.h5ad",
    "zheng_purified": "zheng_purified_2007.h5ad",
    "pbmc_3chemistries": "pbmc_3chemistries_1500.h5ad",
}
RIVALS = ("L1 logistic regression", "PCA-50 + logistic regression", "PCA-50 + kNN", "SGD logistic regression")


def main() -> None:
    """Measure every query with every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("annotate_transfer.json"))
    chosen = parser.parse_args()
    content: dict[str, Any] = {"cpu_seconds": 0.0, "runs": {name: [] for name in QUERIES}}
    if chosen.output.exists():
        content = json.loads(chosen.output.read_text())
    done = len(content["runs"]["pbmc_cite_10k"])
    train = read(chosen.folder / "pbmc3k_2638.h5ad", "cell_type")
    queries = {name: read(chosen.folder / file, "cell_type") for name, file in QUERIES.items()}
    for seed in range(done, SEEDS):
        began = time.process_time()
        rows = fraction(train.labels, 0.8, seed=seed)
        part = points_of(train, use_batches=False).take(rows)
        fitted = fit_variants(part, FitSettings(seed=seed), list(OFFERED))
        fitted["knn"] = fit_variants(part, FitSettings(method="knn", seed=seed), ["embedding"])["embedding"]
        space = ExpressionSpace.of(train.vocabulary, train.counts[rows])
        for name, query in queries.items():
            content["runs"][name].append(asked(train, rows, fitted, space, query, seed))
        content["cpu_seconds"] += round(time.process_time() - began, 1)
        chosen.output.write_text(json.dumps(content, indent=1))
        print(seed, content["cpu_seconds"], flush=True)


def asked(
    train: Cells,
    rows: NDArray[np.int64],
    fitted: dict[str, Frozen],
    space: ExpressionSpace,
    query: Cells,
    seed: int,
) -> dict[str, Any]:
    """Macro-F1 of every method on one query."""
    classes = np.unique(train.labels)
    theirs, ours = in_common(query, train)
    table = log_normalised(theirs, 1e4 * float(space.share[ours].sum()))
    wide = table @ placed(ours, table.shape[1], len(space.vocabulary))
    present = np.isin(np.arange(len(space.vocabulary)), ours)
    held = {}
    for kind, frozen in fitted.items():
        scorer = frozen.scorer
        if isinstance(scorer, LinearMap) and scorer.reads_genes:
            genes, bias = space.without(present, scorer.genes)
            scorer = LinearMap(scorer.vectors, genes, scorer.bias + bias)
        held["biolm knn" if kind == "knn" else f"biolm linear, {kind}"] = scorer.logits(query.vectors, wide)
    for name in RIVALS:
        predictor = BASELINES[name](train.counts[rows][:, ours], train.labels[rows], seed=seed)
        held[name] = np.log(predictor.predict_proba(theirs) + 1e-9)
    spelled = np.array([ALIKE.get(name, name) for name in classes])
    truth = np.array([ALIKE.get(name, name) for name in query.labels])
    return {"genes": len(ours), "seed": seed} | {
        name: scored(logits, spelled, truth) for name, logits in held.items()
    }


def in_common(query: Cells, train: Cells) -> tuple[Any, NDArray[np.int64]]:
    """Counts of the query in the genes that both sets have, and which genes of training these are."""
    names = np.array(query.vocabulary.genes)
    target = train.vocabulary.match({"index": names}, minimum=0).target
    first = {int(row): column for column, row in reversed(list(enumerate(target))) if row >= 0}
    ours = np.array(sorted(first))
    return query.counts[:, [first[row] for row in ours]], ours


def placed(ours: NDArray[np.int64], width: int, genes: int) -> Any:
    """Sparse ``(width, genes)`` matrix that puts columns in their places."""
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(width, np.float32), (np.arange(width), ours)), (width, genes))


def scored(logits: NDArray[np.float64], spelled: NDArray[np.str_], truth: NDArray[np.str_]) -> float:
    """Macro-F1 over the types of both sets, the likeliest of which each cell is called."""
    types = np.intersect1d(spelled, truth)
    odds = np.stack([logits[:, spelled == name].max(1) for name in types], 1)
    rows = np.isin(truth, types)
    return float(macro_f1(np.searchsorted(types, truth[rows]), odds[rows].argmax(1))[0])


if __name__ == "__main__":
    main()
