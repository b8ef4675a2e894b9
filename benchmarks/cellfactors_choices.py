"""Choices of the factor model, one changed at a time: ``python benchmarks/cellfactors_choices.py RAW_DATA``.

Means of macro-F1 within sets, of label transfer, and of transfer over disjoint halves, over the sets that
choose and over those that confirm; rules in ``docs/explanation/default-model.md``. About eight minutes of CPU
time.
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


def main(raw: Path) -> None:
    """Print the table."""
    sets = {name: Cells(name, raw / "cells") for name in (*BLOOD, *TISSUE)}
    asked = [one for one in questions(sets) if one[0] in KINDS]
    print("| choice | " + " | ".join(KINDS) + " | sum | confirm: " + " | ".join(KINDS) + " |")
    print("| --- |" + " --- |" * 7)
    for name, model in choices(raw):
        found = {(choose, kind): [] for choose in (True, False) for kind in KINDS}
        for kind, title, score in asked:
            found[all(word in CHOOSE for word in title.split() if "_" in word), kind].append(
                score(model).macro_f1
            )
        means = [float(np.mean(found[choose, kind])) for choose in (True, False) for kind in KINDS]
        cells = [*means[:3], sum(means[:3]), *means[3:]]
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in cells)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
