"""Whether a faster ``annotate fit`` is worth as much: held-out cells of labelled sets, beside another commit.

Usage: ``python benchmarks/annotate_quality.py FOLDER -o NEW.npz`` with each biolm (see ``PYTHONPATH``), then
``python benchmarks/annotate_quality.py --compare OLD.npz NEW.npz``.

The rule, written before the two were compared: the faster fit stays if on no set the 95 % interval of the
paired difference in macro-F1 or accuracy lies below zero, if over all sets the mean difference of macro-F1 is
at least -0.002, and if mean ECE is at most 0.01 higher. Two splits of each set, whole batches held out where
there are any, at most 1,500 cells to learn from and 1,500 to name.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from _annotate_data import points_of, read
from numpy.typing import NDArray

from biolm.scoring.calls import calibration
from biolm.scoring.quality import difference, score_calls
from biolm.scoring.splits import holdout
from biolm.tasks.annotate.frozen import fit_variants
from biolm.tasks.annotate.settings import FitSettings

CELLS = 1500
SETS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "pbmc3k_2638": (None, ()),
    "pbmc_cite_10k": (None, ("other",)),
    "kang_ctrl_5donors": ("batch", ()),
    "paul15_mouse_2660": ("batch", ()),
    "pbmc_3chemistries_1500": ("batch", ()),
}


def main() -> None:
    """Measure, or compare what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--compare", type=Path, nargs=2)
    chosen = parser.parse_args()
    if chosen.compare:
        compare(*(dict(np.load(path)) for path in chosen.compare))
        return
    found: dict[str, NDArray[np.float64]] = {}
    for name, (batch, leave_out) in SETS.items():
        cells = read(chosen.folder / f"{name}.h5ad", "cell_type", leave_out, batch)
        points = points_of(cells, use_batches=batch is not None)
        for seed in range(2):
            rng, began = np.random.default_rng(seed), time.process_time()
            split = holdout(cells.labels, share=0.3, groups=cells.batches, copies=cells.copies, seed=seed)
            train, test = (
                np.sort(rng.choice(rows, min(CELLS, len(rows)), replace=False))
                for rows in (split.train, split.test)
            )
            frozen = fit_variants(points.take(train), FitSettings(seed=seed), ["joint"])["joint"]
            tested = points.take(test)
            found[f"{name} {seed} truth"] = tested.codes
            found[f"{name} {seed} found"] = frozen.probabilities(tested.vectors, tested.table)
            print(name, seed, "+".join(frozen.recipe), f"{time.process_time() - began:.1f} CPU s", flush=True)
    np.savez(chosen.output, **found)  # type: ignore[arg-type]


def compare(old: dict[str, NDArray[np.float64]], new: dict[str, NDArray[np.float64]]) -> None:
    """A line for each split, then the means."""
    gaps = []
    for key in (key for key in old if key.endswith("truth")):
        truth = old[key].astype(np.int64)
        pair = [each[key.replace("truth", "found")] for each in (old, new)]
        scores = [score_calls("", truth, probabilities.argmax(1)[None]) for probabilities in pair]
        eces = [calibration(each.max(1), each.argmax(1) == truth).ece for each in pair]
        told = [f"macro-F1 {each.macro_f1:.4f}" for each in scores]
        for metric in ("macro_f1", "accuracy"):
            gap, low, high = difference(scores[1], scores[0], metric=metric)
            told.append(f"{metric} {gap:+.4f} ({low:+.4f} to {high:+.4f})")
        print(key.removesuffix(" truth"), *told, "ECE", *np.round(eces, 4), sep="  ")
        gaps.append((scores[1].macro_f1 - scores[0].macro_f1, eces[1] - eces[0]))
    print("mean difference of macro-F1 and ECE:", np.mean(gaps, axis=0).round(4))


if __name__ == "__main__":
    main()
