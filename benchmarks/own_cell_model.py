"""Judge models of cells on sets they never saw.

    python benchmarks/own_cell_model.py CELLS [NAME=MODEL ...] [--cellama] [--json FILE]

``CELLS`` is the folder with the three evaluation sets of ``_evaluation_sets.py``; ``MODEL`` is the folder of
a saved model, or a name that ``biolm.load`` knows. Beside them stand the built-in model, the same with random
numbers in place of its text, random gene vectors, CELLama and principal components. Macro-F1 of the ten
nearest neighbours by cosine, all vectors centred over their set, no label used for anything but the score:

- ``within``: five folds within each set;
- ``transfer``: label transfer from each set to each other, all genes;
- ``halves``: the same, the two sets given disjoint random halves of the genes;
- ``within@500``, ``transfer@500``, ``within@200``, ``transfer@200``: on random panels of as many genes.

Means over sets, pairs and seeds; ``--json`` keeps every figure. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from _evaluation_sets import CHOOSING, NAMES, Method, by_model, by_pca, read, score_all

import biolm
from biolm.models.systems import genetext
from biolm.resources import shipped

QUESTIONS = ("within", "transfer", "halves", "within@500", "transfer@500", "within@200", "transfer@200")
DRAWS, WIDTH = 3, 1000


def methods(
    models: list[str], *, baselines: bool, cellama: bool
) -> Iterator[tuple[str, Callable[[], Method]]]:
    """Name and maker of each method, cheap ones first."""
    if baselines:
        yield "genetext (built in)", lambda: by_model(genetext.load())
        yield (
            "genetext, random numbers for text",
            lambda: by_model(genetext.load(shipped("genetext/control"))),
        )
        for draw in range(DRAWS):
            yield (
                f"random gene vectors ({WIDTH:,} wide)",
                lambda draw=draw: by_model(genetext.random_like(genetext.load(), draw, width=WIDTH)),
            )
        yield "PCA-20", lambda: by_pca(20)
        yield "PCA-50", lambda: by_pca(50)
    for model in models:
        name, _, place = model.rpartition("=")
        yield name or Path(place).name, lambda place=place: by_model(biolm.load(place))
    if cellama:
        yield "CELLama (MiniLM)", lambda: by_model(biolm.load("cellama"))


def summary(found: dict[str, float]) -> dict[str, float]:
    """Mean of each question over sets, pairs and seeds."""
    kinds: dict[str, list[float]] = {}
    for key, value in found.items():
        kinds.setdefault(key.split("/")[0], []).append(value)
    return {question: float(np.mean(kinds[question])) for question in QUESTIONS if question in kinds}


def average(rows: list[dict[str, float]]) -> dict[str, float]:
    """Key by key over the draws of one method."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", type=Path)
    parser.add_argument("models", nargs="*", help="NAME=FOLDER, or the name of a model")
    parser.add_argument("--seeds", type=int, default=3, help="random panels of each size")
    parser.add_argument("--splits", type=int, default=3, help="splits of the genes into halves")
    parser.add_argument(
        "--choosing", action="store_true", help="score on the sets on which settings are chosen"
    )
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--cellama", action="store_true", help="half an hour or more on one core")
    parser.add_argument(
        "--json", type=Path, help="keep every figure; those of a file that exists are kept too"
    )
    given = parser.parse_args()
    tables = read(given.cells, CHOOSING if given.choosing else NAMES)
    kept = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    results: dict[str, list[dict[str, float]]] = {}
    for name, make in methods(given.models, baselines=not given.no_baselines, cellama=given.cellama):
        results.setdefault(name, []).append(score_all(make(), tables, given.seeds, given.splits))
        kept[name] = average(results[name])
        if given.json:
            draft = given.json.with_suffix(".part")
            draft.write_text(json.dumps(kept, indent=1) + "\n")
            os.replace(draft, given.json)  # noqa: PTH105  # the same on every platform
    print(f"| method | {' | '.join(QUESTIONS)} |")
    print(f"| --- |{' --- |' * len(QUESTIONS)}")
    for name, found in kept.items():
        means = summary(found)
        cells = (f"{means[question]:.3f}" if question in means else "–" for question in QUESTIONS)
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
