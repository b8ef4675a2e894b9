"""Annotators that train a small model, beside the frozen ones and the baselines.

Usage: ``python benchmarks/annotate_trained.py CELLS [-o RESULTS] [-m MODEL] [--seeds N]``, CELLS being the
folder of the sets. Every method is fitted and scored on the same held-out cells by :func:`biolm.annotate.fit`
itself. What is measured is kept after every fit, and an interrupted run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from biolm import annotate
from biolm.models.model import CellModel
from biolm.models.registry import load
from biolm.tasks.annotate.settings import METHODS

SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "pbmc_cite_10k": ("pbmc_cite_10k.h5ad", {"leave_out": ("other",)}),
    "pbmc3k, 500 cells": ("pbmc3k_2638.h5ad", {"max_cells": 500}),
}


def main() -> None:
    """Measure what is not yet on disk, then print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("annotate_trained.json"))
    parser.add_argument("-m", "--model", default="biolm-cell-mini")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    content: dict[str, Any] = {}
    if chosen.output.exists():
        content = json.loads(chosen.output.read_text())
    model = load(chosen.model)
    for seed in range(chosen.seeds):
        for name, (file, options) in SETS.items():
            for method in METHODS:
                key = f"{name}/{method}/{seed}"
                if key not in content:
                    content[key] = measured(
                        chosen.folder / file, model, options | {"method": method, "seed": seed}
                    )
                    chosen.output.write_text(json.dumps(content, indent=1))
                    print(key, json.dumps(content[key]), flush=True)


def measured(path: Path, model: CellModel, options: dict[str, Any]) -> dict[str, Any]:
    """Macro-F1 of one method, its parts and the baselines; ECE and the test of unknown cells; CPU time."""
    began = time.process_time()
    fitted = annotate.fit(path, label="cell_type", model=model, progress=False, device="cpu", **options)
    report = fitted.heads[0].report
    rows = [report["held_out"], *report["parts"], *report["baselines"]]
    return {
        "macro_f1": {row["name"]: row["macro_f1"] for row in rows},
        "ece": report["held_out"]["ece"],
        "unknown": {name: report["unknown"].get(name) for name in ("known_rejected", "rejected", "auroc")},
        "test_cells": report["test_cells"],
        "cpu_seconds": round(time.process_time() - began, 1),
    }


if __name__ == "__main__":
    main()
