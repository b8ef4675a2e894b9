"""Are cells of a type noticed that was left out? ``python benchmarks/novelty.py CELLS [--check]``.

CELLS is the folder of the shared sets. Rules, sets, kin and marks stand in
``docs/explanation/novelty.md``. Prints Markdown: a row a type, means, then what is rejected of known cells
on donors that nobody saw. ``--check`` does three of the rows by the commands themselves instead. About eight
minutes of CPU time, the check one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from _novelty_sets import CHOOSING, JUDGING, LoadedSet, is_kin, load_set
from numpy.typing import NDArray
from scipy.sparse import vstack
from sklearn.metrics import roc_auc_score

from biolm.progress import log
from biolm.scoring.splits import Split, kfold, leave_one_group_out
from biolm.tasks.annotate.align import QueryCells, align
from biolm.tasks.annotate.frozen import Frozen, fit_variants
from biolm.tasks.annotate.novelty import doubt_of
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import FitSettings

SCORES = ("confidence", "before", "alone", "novelty")
REJECTING = ("before", "alone", "novelty")
FOLDS, TESTED, NEAREST = 5, 2, 10
DONORS = {"kang_ctrl_5donors": 2000, "kang_ctrl_stim": 2000}
CHECKED = (
    ("pbmc_cite_10k", "NK"),
    ("pbmc68k_reduced_counts_700", "CD34+"),
    ("kang_ctrl_5donors", "NK cells"),
)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """One type left out of one fold: what is learned from, known cells that are tested, cells of the type."""

    learned: Points
    known: Points
    novel: Points
    rows: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

    @cached_property
    def frozen(self) -> Frozen:
        """As ``biolm annotate fit`` fits it: what it reads, chooses and promises."""
        classes, codes = np.unique(self.learned.codes, return_inverse=True)
        points = replace(self.learned, codes=codes, n_classes=len(classes))
        return fit_variants(points, FitSettings(), ["joint"])["joint"]

    @cached_property
    def aligned(self) -> Frozen:
        """As ``biolm annotate predict`` uses it for one file of the known and the novel cells."""
        both = (self.known, self.novel)
        vectors, factors = (
            np.concatenate([getattr(part, name) for part in both]) for name in ("vectors", "factors")
        )
        table = vstack([part.table for part in both]).tocsr()
        return align(self.frozen, QueryCells(vectors, table, factors))[0]

    def scored(self, cells: Points) -> dict[str, NDArray[np.float64]]:
        """Scores of cells by name; above 1 a cell is unknown by all but ``confidence``."""
        frozen, aligned = self.frozen, self.aligned
        confidence = frozen.probabilities(cells.vectors, cells.table).max(1)
        far = frozen.far(cells.vectors, cells.table)
        return {
            "confidence": doubt_of(confidence, frozen.threshold, np.zeros(len(far))),
            "before": doubt_of(confidence, frozen.threshold, far),
            "alone": frozen.novelty_of(cells, confidence).astype(np.float64),
            "novelty": aligned.novelty_of(cells, confidence).astype(np.float64),
        }

    def cosine(self, cells: Points) -> NDArray[np.float64]:
        """Mean cosine distance to the ten nearest training cells, for comparison."""
        assert self.learned.factors is not None
        assert cells.factors is not None
        centre = self.learned.factors.mean(0)
        a, b = (_units(each - centre) for each in (cells.factors, self.learned.factors))
        return np.asarray(np.sort(1 - a @ b.T, axis=1)[:, :NEAREST].mean(1))

    def row(self) -> dict[str, float]:
        """AUROC of every score; what novelty rejects, aligned and not, and the score of before."""
        known, novel = self.scored(self.known), self.scored(self.novel)
        found = {name: auroc(known[name], novel[name]) for name in SCORES}
        found["cosine"] = auroc(self.cosine(self.known), self.cosine(self.novel))
        for name in REJECTING:
            found[f"{name} rejected"] = float((novel[name] > 1).mean())
            found[f"{name} loss"] = float((known[name] > 1).mean())
        return found


def _units(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)


def auroc(known: NDArray[np.float64], novel: NDArray[np.float64]) -> float:
    """Probability that a cell of the type that was left out scores above a known one."""
    truth = np.concatenate([np.zeros(len(known)), np.ones(len(novel))])
    return float(roc_auc_score(truth, np.concatenate([known, novel])))


def left_out(cells: LoadedSet, code: int) -> Iterator[LeftOut]:
    """Two of the folds, without a type."""
    rest, novel = np.flatnonzero(cells.points.codes != code), np.flatnonzero(cells.points.codes == code)
    known = cells.points.take(rest)
    folds = kfold(known.codes.astype(str), folds=FOLDS, groups=known.batches, copies=known.copies, seed=0)
    for split in folds[:TESTED]:
        parts = (rest[split.train], rest[split.test], novel)
        yield LeftOut(*(cells.points.take(each) for each in parts), rows=parts)


def rows_of(cells: LoadedSet) -> Iterator[tuple[str, dict[str, float]]]:
    """Every type with its mean over the folds."""
    for code, name in enumerate(cells.classes):
        if len(cells.classes) < 3:
            return
        rows = [fold.row() for fold in left_out(cells, code)]
        yield name, {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def table(folder: Path, names: tuple[str, ...]) -> None:
    """A row a type, then means over the sets."""
    rejected = [f"{name} {part}" for name in REJECTING for part in ("rejected", "loss")]
    columns = ("cosine", *SCORES, *rejected)
    print(f"| set | left out | {' | '.join(columns)} |\n| --- | --- |{' ---: |' * len(columns)}")
    means, nk = [], []
    for name in names:
        own = []
        for left, row in rows_of(load_set(folder, name)):
            values = np.array([row[column] for column in columns])
            kin = is_kin(name, left)
            print(f"| {name} | {left}{' (kin)' if kin else ''} | {_shown(values)} |", flush=True)
            if not kin:
                own.append(values)
            if left.lower().removesuffix(" cells").endswith("nk"):
                nk.append(values)
        means.append(np.mean(own, axis=0))
    print(f"| **mean of {len(means)} sets** | no kin | {_shown(np.mean(means, axis=0))} |")
    print(f"| **mean of {len(nk)} sets** | NK | {_shown(np.mean(nk, axis=0))} |\n", flush=True)


def _shown(values: NDArray[np.float64]) -> str:
    return " | ".join(f"{value:.3f}" for value in values)


def donors(folder: Path) -> None:
    """Leave one donor out at a time: the fraction of its cells, all of known types, that is rejected."""
    for name, most in DONORS.items():
        columns = " | ".join(REJECTING)
        print(f"| set | donor | cells | {columns} |\n| --- | --- | ---: | ---: | ---: | ---: |")
        cells, found = load_set(folder, name, most=most), []
        assert cells.points.batches is not None
        for donor, split in leave_one_group_out(cells.points.codes.astype(str), cells.points.batches):
            fold = _of_known(cells.points, split)
            scores = fold.scored(fold.known)
            found.append([float((scores[key] > 1).mean()) for key in REJECTING])
            print(
                f"| {name} | {donor} | {len(fold.known.codes)} | {_shown(np.array(found[-1]))} |", flush=True
            )
        print(f"| {name} | **mean** | | {_shown(np.mean(found, axis=0))} |\n")


def _of_known(points: Points, split: Split) -> LeftOut:
    test = split.test[np.isin(points.codes[split.test], points.codes[split.train])]
    parts = (split.train, test, test[:0])
    return LeftOut(*(points.take(each) for each in parts), rows=parts)


def check(folder: Path) -> None:
    """The same rows by ``biolm annotate fit`` and ``predict`` on files of these cells."""
    import anndata

    print("| set | left out | largest difference in novelty | AUROC | AUROC by the commands |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, left in CHECKED:
        cells = load_set(folder, name)
        fold = next(left_out(cells, cells.classes.index(left)))
        whole = anndata.read_h5ad(folder / f"{name}.h5ad")[cells.rows].copy()
        with tempfile.TemporaryDirectory() as place:
            paths = [Path(place) / f"{part}.h5ad" for part in ("learn", "query", "named")]
            learned, known, novel = fold.rows
            for path, rows in zip(paths[:2], (learned, np.concatenate([known, novel])), strict=True):
                whole[rows].write_h5ad(path)
            given = ["--batch", cells.batch] if cells.batch else []
            fit = ["annotate", "fit", str(paths[0]), "--label", "cell_type", "-m", "cellfactors", *given]
            _biolm(*fit, "-o", f"{place}/made")
            _biolm("annotate", "predict", str(paths[1]), "-a", f"{place}/made", "-o", str(paths[2]))
            column = anndata.read_h5ad(paths[2]).obs["biolm_cell_type_novelty"].to_numpy()
            said = column[: len(known)], column[len(known) :]
        own = [fold.scored(part)["novelty"] for part in (fold.known, fold.novel)]
        gap = max(float(np.abs(a - b).max()) for a, b in zip(own, said, strict=True))
        print(f"| {name} | {left} | {gap:.2g} | {auroc(*own):.4f} | {auroc(*said):.4f} |", flush=True)


def _biolm(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "biolm", *words, "--quiet"], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--check"]):
        sys.exit(__doc__)
    log.setLevel("ERROR")
    if sys.argv[2:]:
        check(Path(sys.argv[1]))
    else:
        table(Path(sys.argv[1]), JUDGING)
        donors(Path(sys.argv[1]))
        table(Path(sys.argv[1]), CHOOSING)
