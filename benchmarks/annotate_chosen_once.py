"""Whether choosing again on all cells is worth it: ``python benchmarks/annotate_chosen_once.py CELLS...``.

Of each labelled set (``obs['cell_type']``) three tenths are held out. ``again`` chooses members, temperature
and cut-offs on the other seven tenths; ``once`` chooses them on four fifths of those, and fits on all of them
what was chosen. Macro-F1 with its interval, ECE, and the fraction of held-out cells called unknown.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from _annotate_data import points_of, read

from biolm.scoring.splits import holdout
from biolm.tasks.annotate.frozen import Frozen, fit_variants, refit
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.score import row
from biolm.tasks.annotate.settings import FitSettings


def main(path: Path) -> None:
    """Print two rows of each split."""
    points = points_of(read(path, "cell_type"), use_batches=False)
    names = points.codes.astype(str)
    for seed in range(3):
        settings = FitSettings(seed=seed)
        outer = holdout(names, share=0.3, copies=points.copies, seed=seed)
        train, test = points.take(outer.train), points.take(outer.test)
        inner = holdout(names[outer.train], share=0.2, copies=train.copies, seed=seed)
        began = time.process_time()
        chosen = fit_variants(train.take(inner.train), settings, ["joint"])["joint"]
        half = time.process_time()
        fitted = {"once": refit(chosen, train, settings)}
        middle = time.process_time()
        fitted["again"] = fit_variants(train, settings, ["joint"])["joint"]
        spent = {"once": middle - half, "again": time.process_time() - middle}
        print(f"choosing on four fifths: {half - began:.1f} CPU s")
        for name, each in fitted.items():
            said = *told(each, test), f"{spent[name]:.1f} CPU s"
            print(path.stem, seed, len(train.codes), name, *said, flush=True)


def told(frozen: Frozen, test: Points) -> tuple[str, ...]:
    """Scores, and what was chosen."""
    found = frozen.probabilities(test.vectors, test.table)
    facts = row("", test.codes, found, 0).facts
    unknown = np.mean(frozen.novelty_of(test, found.max(1)) > 1)
    return str(facts["macro_f1"]), str(facts["ece"]), f"unknown {unknown:.3f}", "+".join(frozen.recipe)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for given in sys.argv[1:]:
        main(Path(given))
