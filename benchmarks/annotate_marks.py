"""Annotation on real cells beside the baselines: within sets, few-shot, across sets, and on shuffled labels.

Usage: ``python benchmarks/annotate_marks.py FOLDER [-o RESULTS] [--only SET ...]``, FOLDER being that of the
labelled sets (``cells/``, ``spatial/``, ``cells_resampled/``). Each set is written to a JSON file of its own
and passed over when that exists, so that an interrupted run goes on. Large sets are sampled (``CELLS``).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _annotate_data import Cells, points_of, read
from numpy.typing import NDArray

from biolm.scoring.baselines import BASELINES
from biolm.scoring.calls import calibration
from biolm.scoring.quality import macro_f1
from biolm.scoring.splits import Split, few_shot, holdout, leave_one_group_out
from biolm.tasks.annotate.frozen import OFFERED, fit_variants
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.score import COMPARED
from biolm.tasks.annotate.settings import FitSettings

SEEDS = 5
CELLS = 4000
SHOTS = (1, 5, 10, 50)


@dataclass(frozen=True)
class Plan:
    """One set: its file, labels, how it is split, and which labels are no class."""

    path: str
    label: str = "cell_type"
    batch: str | None = None
    leave_out: tuple[str, ...] = ()
    each_batch: bool = False
    shots: bool = False


REGIONS = ("undetermined", "immune infiltrate")
PLANS = {
    "pbmc3k": Plan("cells/pbmc3k_2638.h5ad", shots=True),
    "pbmc_cite_10k": Plan("cells/pbmc_cite_10k.h5ad", leave_out=("other",)),
    "kang_ctrl_5donors": Plan("cells/kang_ctrl_5donors.h5ad", batch="batch", each_batch=True, shots=True),
    "paul15": Plan("cells/paul15_mouse_2660.h5ad", batch="batch", shots=True),
    "pbmc_3chemistries": Plan("cells/pbmc_3chemistries_1500.h5ad", batch="batch", each_batch=True),
    "her2st_A1": Plan("spatial/her2st_labelled_noimage/A1.h5ad", "pathologist_label", leave_out=REGIONS),
    "her2st_C1": Plan(
        "spatial/her2st_labelled_noimage/C1.h5ad", "pathologist_label", leave_out=(*REGIONS, "adipose tissue")
    ),
    "her2st_G2": Plan(
        "spatial/her2st_labelled_noimage/G2.h5ad", "pathologist_label", leave_out=("undetermined",)
    ),
    "shuffled labels": Plan("cells_resampled/cellxgene_220.h5ad", "shuffled_label"),
}


def main() -> None:
    """Measure what is not yet on disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("annotate_marks"))
    parser.add_argument("--only", nargs="*", default=list(PLANS))
    chosen = parser.parse_args()
    chosen.output.mkdir(exist_ok=True)
    for name in chosen.only:
        plan = PLANS[name]
        cells = None
        for kind in ("within", "shots") if plan.shots else ("within",):
            target = chosen.output / f"{kind}_{name.replace(' ', '_')}.json"
            if target.exists():
                continue
            cells = cells or read(chosen.folder / plan.path, plan.label, plan.leave_out, plan.batch)
            began = time.process_time()
            found = within(cells, plan) if kind == "within" else shots(cells)
            found["cpu_seconds"] = round(time.process_time() - began, 1)
            target.write_text(json.dumps(found, indent=1))
            print(kind, name, found["cpu_seconds"], flush=True)


def within(cells: Cells, plan: Plan) -> dict[str, Any]:
    """Scores of every method on every split."""
    rows = [score(cells, split, seed, plan.batch) for seed, split in splits(cells, plan)]
    return {"cells": len(cells.labels), "runs": rows}


def splits(cells: Cells, plan: Plan) -> list[tuple[int, Split]]:
    """Five splits or more; of large sets the training side is sampled."""
    if not plan.each_batch:
        made = [
            (seed, holdout(cells.labels, groups=cells.batches, copies=cells.copies, seed=seed))
            for seed in range(SEEDS)
        ]
    else:
        assert cells.batches is not None
        left = leave_one_group_out(cells.labels, cells.batches, copies=cells.copies)
        repeats = -(-SEEDS // len(left))
        made = [(seed * len(left) + k, split) for seed in range(repeats) for k, (_, split) in enumerate(left)]
    # Where every batch is left out more than once, nine tenths of the training cells make the repeats differ.
    return [(seed, Split(sample(split.train, seed, plan.each_batch), split.test)) for seed, split in made]


def sample(rows: NDArray[np.int64], seed: int, thin: bool) -> NDArray[np.int64]:
    """At most ``CELLS`` rows, nine tenths of them where asked."""
    count = min(CELLS, int(0.9 * len(rows)) if thin else len(rows))
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def shots(cells: Cells) -> dict[str, Any]:
    """Scores after 1, 5, 10 and 50 cells a type."""
    rows = []
    for seed in range(SEEDS):
        split = holdout(cells.labels, groups=cells.batches, copies=cells.copies, seed=seed)
        for k in SHOTS:
            few = few_shot(cells.labels, k, rows=split.train, seed=seed)
            rows.append({"k": k} | score(cells, Split(few, split.test), seed, None))
    return {"cells": len(cells.labels), "runs": rows}


def score(cells: Cells, split: Split, seed: int, batch: str | None) -> dict[str, Any]:
    """Macro-F1, accuracy and ECE of every method on one split."""
    points = points_of(cells, use_batches=batch is not None)
    train, test = points.take(split.train), points.take(split.test)
    found = biolm_methods(train, test, seed)
    for name in COMPARED:
        predictor = BASELINES[name](cells.counts[split.train], train.codes.astype(str), seed=seed)
        held = np.zeros((len(split.test), points.n_classes))
        held[:, predictor.classes.astype(int)] = predictor.predict_proba(cells.counts[split.test])
        found[name] = held
    return {"seed": seed} | {name: numbers(test.codes, held) for name, held in found.items()}


def biolm_methods(train: Points, test: Points, seed: int) -> dict[str, NDArray[np.float64]]:
    """Probabilities ``(n, c)`` of every frozen method."""
    found = {}
    knn = fit_variants(train, FitSettings(method="knn", seed=seed), ["embedding"])["embedding"]
    found["biolm knn, embedding"] = knn.probabilities(test.vectors, test.table)
    for kind, fitted in fit_variants(train, FitSettings(seed=seed), list(OFFERED)).items():
        found[f"biolm linear, {kind}"] = fitted.probabilities(test.vectors, test.table)
    return found


def numbers(truth: NDArray[np.int64], held: NDArray[np.float64]) -> dict[str, float]:
    """Scores of probabilities ``(n, c)``."""
    called = held.argmax(1)
    return {
        "macro_f1": float(macro_f1(truth, called)[0]),
        "accuracy": float((called == truth).mean()),
        "ece": calibration(held.max(1), called == truth).ece,
    }


if __name__ == "__main__":
    main()
