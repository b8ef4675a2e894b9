"""Annotation by the vectors of several models, on the same splits as ``annotate_marks.py``.

Usage: ``python benchmarks/annotate_default.py FOLDER [-m MODEL ...] [--only SET ...] [--splits 3]``, FOLDER
being that of the labelled sets. Prints macro-F1 of every frozen method, mean over splits, and CPU seconds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from _annotate_data import points_of, read
from annotate_marks import PLANS, biolm_methods, numbers, splits

from biolm.models.catalogue import DEFAULT_GENES, DEFAULT_MODEL

SETS = ("pbmc_cite_10k", "her2st_G2", "pbmc_3chemistries")


def main() -> None:
    """Print a row a set and model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-m", "--model", nargs="*", default=[DEFAULT_GENES, DEFAULT_MODEL])
    parser.add_argument("--only", nargs="*", default=list(SETS))
    parser.add_argument("--splits", type=int, default=3)
    chosen = parser.parse_args()
    for name in chosen.only:
        plan = PLANS[name]
        for model in chosen.model:
            began = time.process_time()
            cells = read(chosen.folder / plan.path, plan.label, plan.leave_out, plan.batch, model)
            points = points_of(cells, use_batches=plan.batch is not None)
            scores: dict[str, list[float]] = {}
            for seed, split in splits(cells, plan)[: chosen.splits]:
                train, test = points.take(split.train), points.take(split.test)
                for method, probabilities in biolm_methods(train, test, seed).items():
                    scores.setdefault(method, []).append(numbers(test.codes, probabilities)["macro_f1"])
            row = [f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in scores.values()]
            print(
                f"| {name} | {model} | " + " | ".join(row) + f" | {time.process_time() - began:.0f} |",
                flush=True,
            )
    print(list(scores))


if __name__ == "__main__":
    main()
