"""Draw the held-out loss of a run beside its trivial baselines.

    python workflows/pretrain/curve.py runs/first/metrics.csv curve.svg

The picture's ending says its kind.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

BASELINES = {
    "unigram": "how often each token occurs",
    "place": "how often it occurs at that place",
    "gene_mean": "mean of each gene",
    "chance": "chance",
}


def read(path: Path) -> dict[tuple[str, str], dict[int, float]]:
    """Values by step, of each split and name."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["split"], row["name"]), {})[int(row["step"])] = float(row["value"])
    return found


def draw(found: dict[tuple[str, str], dict[int, float]], output: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same bytes each time, so that a picture changes only when the numbers do.
    mpl.rcParams["svg.hashsalt"] = "biolm"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for split, colour in (("train", "0.7"), ("validation", "C0")):
        if curve := found.get((split, "loss")):
            name = "training batches" if split == "train" else "held-out examples"
            axes.plot(list(curve), list(curve.values()), color=colour, label=name)
    for number, (name, words) in enumerate(BASELINES.items()):
        if curve := found.get(("validation", name)):
            level = list(curve.values())[-1]
            axes.axhline(level, color=f"C{number + 1}", linestyle="--", label=f"guessing by {words}")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss (nats)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    metadata = {"Date": None} if output.suffix == ".svg" else None
    figure.savefig(output, dpi=120, metadata=metadata)
    plt.close(figure)


def main() -> None:
    """Read the table and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("metrics", type=Path, help="metrics.csv of a run")
    parser.add_argument("output", type=Path, help="picture to write")
    given = parser.parse_args()
    draw(read(given.metrics), given.output)


if __name__ == "__main__":
    main()
