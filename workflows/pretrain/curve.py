"""Draw the held-out losses of a run beside their trivial baselines, one panel an objective.

    python workflows/pretrain/curve.py runs/first/metrics.csv curve.svg

The picture's ending says its kind.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

BASELINES = {
    "unigram": "how often each token occurs",
    "place": "how often it occurs at that place",
    "gene_mean": "mean of each gene",
    "chance": "chance",
    "equal_shares": "equal shares",
    "frequencies": "how often each class occurs",
    "mean": "the mean",
}

Curves = dict[tuple[str, str], dict[int, float]]


def read(path: Path) -> Curves:
    """Values by step, of each split and name."""
    found: Curves = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["split"], row["name"]), {})[int(row["step"])] = float(row["value"])
    return found


def parts(found: Curves) -> list[str]:
    """What stands before ``loss`` in the names of each objective: nothing for one alone."""
    named = [
        name.removesuffix("loss") for split, name in found if split == "validation" and name.endswith("/loss")
    ]
    return sorted(named) or [""]


def draw(found: Curves, output: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same bytes each time, so that a picture changes only when the numbers do.
    mpl.rcParams["svg.hashsalt"] = "biolm"
    from matplotlib import pyplot as plt

    names = parts(found)
    figure, panels = plt.subplots(
        len(names), squeeze=False, figsize=(6.4, 3.6 * len(names)), layout="constrained"
    )
    for axes, part in zip(panels[:, 0], names, strict=True):
        panel(axes, found, part)
    panels[-1, 0].set_xlabel("optimiser step")
    metadata = {"Date": None} if output.suffix == ".svg" else None
    figure.savefig(output, dpi=120, metadata=metadata)
    plt.close(figure)


def panel(axes: Any, found: Curves, part: str) -> None:
    """Losses and baselines of one objective."""
    for split, colour in (("train", "0.7"), ("validation", "C0")):
        if curve := found.get((split, f"{part}loss")):
            name = "training batches" if split == "train" else "held-out examples"
            axes.plot(list(curve), list(curve.values()), color=colour, label=name)
    for number, (name, words) in enumerate(BASELINES.items()):
        if curve := found.get(("validation", f"{part}{name}")):
            level = list(curve.values())[-1]
            axes.axhline(level, color=f"C{number + 1}", linestyle="--", label=f"guessing by {words}")
    # Entropies are in nats; errors of values are in units of their own.
    nats = ("validation", f"{part}gene_mean") not in found and ("validation", f"{part}mean") not in found
    axes.set_ylabel(f"{part.rstrip('/')} loss{' (nats)' if nats else ''}".strip())
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def main() -> None:
    """Read the table and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("metrics", type=Path, help="metrics.csv of a run")
    parser.add_argument("output", type=Path, help="picture to write")
    given = parser.parse_args()
    try:
        found = read(given.metrics)
    except (OSError, KeyError, ValueError):
        parser.error(f"{given.metrics} is no metrics.csv of a run; give that of its folder")
    draw(found, given.output)


if __name__ == "__main__":
    main()
