"""Adapted factors beside the components alone: ``python benchmarks/cellfactors_adapt.py RAW_DATA``.

Macro-F1 within each held-out evaluation set (``docs/explanation/default-model.md``), with the paired
interval of the difference to PCA-20. Half a minute of CPU time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from cellfactors import BLOOD, TISSUE, Cells, baselines, within

import biolm
from biolm.models.systems.genetext import centre
from biolm.scoring.quality import difference


def main(raw: Path) -> None:
    """Print the table."""
    sets = {name: Cells(name, raw / "cells") for name in (*BLOOD, *TISSUE)}
    print("| set | adapted | PCA-20 | difference |")
    print("| --- | --- | --- | --- |")
    gaps = []
    for name, cells in sets.items():
        table = biolm.embed(cells.table.copy(), model="cellfactors", adapt=True, minimum_match=0)
        adapted = within(centre(table.obsm["X_cellfactors_adapted"]), cells)
        alone = baselines("within", name, sets)["PCA-20"]
        gap, low, high = difference(adapted, alone)
        gaps.append((gap, low, high))
        row = f"{adapted.macro_f1:.3f} | {alone.macro_f1:.3f} | {gap:+.3f} [{low:+.3f}, {high:+.3f}]"
        print(f"| {name} | {row} |", flush=True)
    spread = np.array(gaps)
    error = 1.96 * np.sqrt((((spread[:, 2] - spread[:, 1]) / 3.92) ** 2).sum()) / len(spread)
    mean = spread[:, 0].mean()
    print(f"| mean | | | {mean:+.3f} [{mean - error:+.3f}, {mean + error:+.3f}] |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
