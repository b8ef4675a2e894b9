"""Choices of the factor model, one changed at a time.

    python benchmarks/cellfactors_choices.py RAW_DATA [--fourth]

Means of macro-F1 within sets, of label transfer, and of transfer over disjoint halves, over the sets that
choose and over those that confirm; rules in ``docs/explanation/default-model.md``. About eight minutes of CPU
time; ``--fourth`` scores the fourth round alone, in a minute and a half.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cellfactors import BLOOD, TISSUE, Cells, make, questions

from biolm.models.systems import cellfactors
from biolm.models.systems.cellfactors import TEXT_SHARE, CellFactors
from biolm.tasks.factors.fit import fit_to_files
from biolm.tasks.factors.settings import FitSettings

CHOOSE = (*BLOOD[:3], TISSUE[0])
KINDS = ("within", "transfer", "halves")


@dataclass(frozen=True, eq=False, repr=False)
class Weighed(CellFactors):
    """The model with another power of the signal."""

    power: float = 0.25

    @property
    def _weights(self) -> np.ndarray:
        return (self.signal / self.signal.max()) ** self.power


def choices(raw: Path) -> Iterator[tuple[str, CellFactors]]:
    """Models by what is changed."""
    shipped = cellfactors.load()
    first, second = shipped.scales
    yield "as specified", shipped
    for power in (0.0, 0.5):
        fields = {name: getattr(shipped, name) for name in shipped.__dataclass_fields__}
        weight = (shipped.signal / shipped.signal.max()) ** (power - 0.25)
        # About the scale that the fit would give: the factors' variances are near those of the prior.
        yield (
            f"signal to the power {power}",
            Weighed(**fields | {"scales": (first * weight.mean(), second)}, power=power),
        )
    for share in (0.25, 1.0):
        yield f"text share {share}", replace(shipped, scales=(first, second * TEXT_SHARE / share))
    files = [raw / name for name in (*make.BLOOD, *make.OTHERS)]
    yield "20 rounds", fit_to_files(files, FitSettings(rounds=20))
    yield "100 factors", fit_to_files(files, FitSettings(factors=100))
    yield "2,000 cells a set", fit_to_files(files, FitSettings(cells=2000))


def predicted(model: CellFactors) -> CellFactors:
    """Genes without loadings get those that a ridge regression on their text vectors predicts.

    The penalty is the one of least squared error over five folds of the genes with loadings. What it leaves
    of the loadings is added to the genes' noise, beside the median noise of those that vary least.
    """
    human = np.flatnonzero(model.text.human == np.arange(len(model.text.human)))
    others = np.setdiff1d(human, model.rows)
    text = np.column_stack([model.text.vectors.astype(np.float64), np.ones(len(model.text.vectors))])
    known, loadings = text[model.rows], model.loadings.astype(np.float64)

    def slopes(rows: np.ndarray, penalty: float) -> np.ndarray:
        some = known[rows]
        return np.linalg.solve(some.T @ some + penalty * np.eye(some.shape[1]), some.T @ loadings[rows])

    fold = np.random.default_rng(0).permutation(len(known)) % 5
    errors = {
        penalty: sum(
            ((loadings[fold == k] - known[fold == k] @ slopes(fold != k, penalty)) ** 2).sum()
            for k in range(5)
        )
        for penalty in (0.1, 1.0, 10.0, 100.0, 1000.0)
    }
    penalty = min(errors, key=errors.__getitem__)
    left = errors[penalty] / len(known)
    print(
        f"penalty {penalty}: {1 - errors[penalty] / (loadings**2).sum():.3f} of the loadings' squares",
        flush=True,
    )
    least = np.sort(model.noise)[: len(model.noise) // 10]
    guesses = text[others] @ slopes(np.ones(len(known), bool), penalty)
    noise = np.full(len(others), np.median(least) + left)
    rows = np.concatenate([model.rows, others])
    order = np.argsort(rows)
    return replace(
        model,
        rows=rows[order],
        loadings=np.concatenate([model.loadings, guesses]).astype(np.float32)[order],
        noise=np.concatenate([model.noise, noise]).astype(np.float32)[order],
        means=np.concatenate([model.means, np.zeros(len(others))]).astype(np.float32)[order],
    )


def fourth(_: Path) -> Iterator[tuple[str, CellFactors]]:
    """Models of the fourth round."""
    shipped = cellfactors.load()
    yield "shipped", shipped
    yield "text predicts the loadings of other genes", predicted(shipped)
    first, second = shipped.scales
    yield "text share 0.25", replace(shipped, scales=(first, second * TEXT_SHARE / 0.25))
    # A share of 0 would divide by it: the text is made too small to matter.
    yield "no text", replace(shipped, scales=(first, second * 1e6))


def main(raw: Path, models: Iterator[tuple[str, CellFactors]]) -> None:
    """Print the table."""
    sets = {name: Cells(name, raw / "cells") for name in (*BLOOD, *TISSUE)}
    asked = [one for one in questions(sets) if one[0] in KINDS]
    print("| choice | " + " | ".join(KINDS) + " | sum | confirm: " + " | ".join(KINDS) + " |")
    print("| --- |" + " --- |" * 7)
    for name, model in models:
        found = {(choose, kind): [] for choose in (True, False) for kind in KINDS}
        for kind, title, score in asked:
            found[all(word in CHOOSE for word in title.split() if "_" in word), kind].append(
                score(model).macro_f1
            )
        means = [float(np.mean(found[choose, kind])) for choose in (True, False) for kind in KINDS]
        cells = [*means[:3], sum(means[:3]), *means[3:]]
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in cells)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--fourth"]):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), (fourth if sys.argv[2:] else choices)(Path(sys.argv[1])))
