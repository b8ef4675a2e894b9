"""Novelty in another laboratory: ``novelty_laboratories.py CELLS [choosing | judging | tissues | check]``.

CELLS is the folder of the shared sets. Rules stand in ``docs/explanation/novelty.md``. An annotator is fitted
on one set as ``biolm annotate fit`` does it and asked of another by ``biolm annotate predict``, each cell by
itself (``--no-align``) and with the shift of the query's types taken off. Prints Markdown: a row a pair, then
one a type that was left out; ``tissues`` asks of sets that hold no type of the reference, ``check`` does one
pair by the commands. Choosing takes two minutes of CPU time, judging more.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import anndata
import numpy as np
from _cell_types import SAME
from _novelty_sets import MODEL
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from biolm import annotate
from biolm.jobs.modality import modality_of
from biolm.progress import log
from biolm.tasks.annotate.annotator import Annotator, Head, reference_of
from biolm.tasks.annotate.cells import CellKind
from biolm.tasks.annotate.frozen import fit_variants
from biolm.tasks.annotate.labelled import Wanted
from biolm.tasks.annotate.settings import FitSettings

CELLS, FEWEST = 700, 10
FILES = {
    "pbmc3k": "pbmc3k_2638",
    "PBMC 68k": "pbmc68k_reduced_counts_700",
    "purified": "zheng_purified_2007",
    "CITE-seq": "pbmc_cite_10k",
    "Kang": "kang_ctrl_5donors",
    "three chemistries": "pbmc_3chemistries_1500",
    "CEL-seq2": "human_lung_lines_mixology",
    "CEL-seq2, five lines": "human_lung_lines_mixology",
    "Drop-seq": "human_lung_lines_mixology",
    "pancreas, human": "pancreas_baron_hm_350",
    "pancreas, mouse": "pancreas_baron_hm_350",
    "breast tumour": "breast_tumour_302",
    "lung tumour": "human_lung_tumour_merfish_3177",
    "donor A": "pbmc_donor_a_2896",
}
PARTS = {
    "CEL-seq2": ("sc_celseq2",),
    "CEL-seq2, five lines": tuple(f"sc_celseq2_5cl_p{plate}" for plate in (1, 2, 3)),
    "Drop-seq": ("sc_dropseq",),
    "pancreas, human": ("human",),
    "pancreas, mouse": ("mouse",),
}
BATCHES = {"Kang": "batch", "three chemistries": "batch"}
OLD, NEW = ("pbmc3k", "PBMC 68k", "purified"), ("CITE-seq", "Kang", "three chemistries")
LINES = "CEL-seq2, five lines"
CHOOSING = (
    *((a, b) for a in OLD for b in OLD if a != b),
    *((LINES, "Drop-seq"), (LINES, "CEL-seq2"), ("CEL-seq2", LINES), ("Drop-seq", LINES)),
)
JUDGING = (
    *((a, b) for a in (*OLD, *NEW) for b in (*OLD, *NEW) if a != b and {a, b} & set(NEW)),
    ("pancreas, human", "pancreas, mouse"),
    ("pancreas, mouse", "pancreas, human"),
)
TISSUES = (
    *(("pbmc3k", b) for b in ("Drop-seq", LINES, "breast tumour")),
    *(("PBMC 68k", b) for b in (LINES, "breast tumour")),
    *((LINES, b) for b in ("pbmc3k", "breast tumour")),
    *(("purified", LINES), ("Drop-seq", "purified"), ("lung tumour", LINES), ("CITE-seq", LINES)),
    *(("pancreas, human", b) for b in ("pbmc3k", LINES, "breast tumour")),
    *(("Kang", LINES), ("three chemistries", LINES), ("CITE-seq", "pancreas, human")),
)
KIN = ("CD4 T", "CD8 T")
Figures = tuple[float, float, float]


@lru_cache(None)
def cells_of(folder: Path, name: str) -> anndata.AnnData:
    """At most 700 cells, evenly spaced, of types with ten of these or more; ``common`` names the types."""
    cells = anndata.read_h5ad(folder / f"{FILES[name]}.h5ad")
    if name in PARTS:
        cells = cells[cells.obs["batch"].isin(PARTS[name]).to_numpy()]
    if "cell_type" in cells.obs:
        cells = cells[~cells.obs["cell_type"].astype(str).isin(["other", "nan", "unknown"]).to_numpy()]
    cells = cells[:: -(-cells.n_obs // CELLS)]
    if "cell_type" not in cells.obs:
        return cells.copy()
    sizes = cells.obs["cell_type"].value_counts()
    cells = cells[cells.obs["cell_type"].isin(sizes.index[sizes >= FEWEST]).to_numpy()].copy()
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(str)
    cells.obs["common"] = [SAME.get(label, label) for label in cells.obs["cell_type"]]
    return cells


@lru_cache(None)
def fitted(folder: Path, name: str, left: str | None) -> tuple[Annotator, set[str]]:
    """What ``biolm annotate fit`` makes of a set without a type, unmeasured; and the types that it knows."""
    cells = cells_of(folder, name)
    kept = cells[(cells.obs["common"] != left).to_numpy()].copy()
    settings, modality = FitSettings(batch=BATCHES.get(name)), modality_of(kept)
    with modality.open(kept, settings) as source:
        training = CellKind().training(modality, source, Wanted(("cell_type",), None), MODEL, settings)
        (column,) = training.columns
        frozen = fit_variants(training.points(column), settings, ["joint"])["joint"]
        head = Head(column.name, column.classes, frozen)
        annotator = training.annotator(reference_of(MODEL, "cellfactors"), [head])
    return annotator, set(kept.obs["common"])


def novelty(folder: Path, pair: tuple[str, str], left: str | None, *, align: bool) -> NDArray[np.float32]:
    """Novelty of the query's cells; those whose type the reference never had, but ``left``, are not in it."""
    annotator, _ = fitted(folder, pair[0], left)
    named = annotate.predict(asked(folder, pair), annotator, align=align, key="found", copy=True)
    return np.asarray(named.obs["found_novelty"])


def asked(folder: Path, pair: tuple[str, str]) -> anndata.AnnData:
    """Cells of the query whose types the whole reference knows."""
    cells = cells_of(folder, pair[1])
    if "common" not in cells.obs:
        return cells
    return cells[cells.obs["common"].isin(cells_of(folder, pair[0]).obs["common"]).to_numpy()].copy()


def figures(folder: Path, pair: tuple[str, str], left: str | None, *, align: bool) -> Figures:
    """AUROC of the type that was left out, the fractions of its cells and of known ones above 1."""
    score = novelty(folder, pair, left, align=align)
    new = (asked(folder, pair).obs["common"] == left).to_numpy()
    if left is None:
        return np.nan, np.nan, float((score > 1).mean())
    return float(roc_auc_score(new, score)), float((score[new] > 1).mean()), float((score[~new] > 1).mean())


def types(folder: Path, pair: tuple[str, str]) -> list[str]:
    """Types that both sets hold and that are taken out in turn."""
    held = sorted(set(asked(folder, pair).obs["common"]) - set(KIN))
    rest = set(cells_of(folder, pair[0]).obs["common"])
    return [name for name in held if len(rest) > 2 and name in rest]


def rows_of(folder: Path, pair: tuple[str, str]) -> Iterator[tuple[str | None, Figures, Figures]]:
    """All types kept, then each left out: without alignment and with it."""
    for left in (None, *types(folder, pair)):
        yield left, *(figures(folder, pair, left, align=align) for align in (False, True))


def asks_distances(folder: Path, pair: tuple[str, str]) -> bool:
    """Whether the query has genes enough for distances; else novelty is doubt alone, unaligned."""
    annotator, _ = fitted(folder, pair[0], None)
    named = annotate.predict(asked(folder, pair), annotator, key="found", copy=True)
    return "alignment" in named.uns["biolm"]["found"]


def table(folder: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """A row a pair, its means over types, then a row a type."""
    print("| learned on | asked of | known cells rejected | AUROC | new cells rejected | known beside them |")
    print("| --- | --- | --- | --- | --- | --- |")
    every, single, distant = [], [], []
    for pair in pairs:
        (_, *whole), *lefts = rows_of(folder, pair)
        single += [(*pair, *row) for row in lefts]
        mean = np.array([[row[1 + k] for row in lefts] for k in (0, 1)]).mean(1)
        every.append(np.column_stack([[figure[2] for figure in whole], mean]))
        distant.append(asks_distances(folder, pair))
        few = "" if distant[-1] else " (few genes)"
        print(f"| {pair[0]} | {pair[1]}{few} | {_shown(every[-1])} |", flush=True)
    rest = np.array(every)[distant]
    print(f"| **mean of {len(every)} pairs** | | {_shown(np.mean(every, axis=0))} |")
    print(f"| **mean of the {len(rest)} with genes enough** | | {_shown(np.mean(rest, axis=0))} |\n")
    print("| learned on | asked of | left out | AUROC | its cells rejected | known cells rejected |")
    print("| --- | --- | --- | --- | --- | --- |")
    for first, second, left, *both in single:
        print(f"| {first} | {second} | {left} | {_shown(np.array(both))} |")
    print(flush=True)


def _shown(pairs: NDArray[np.float64]) -> str:
    return " | ".join(f"{before:.2f} → {after:.2f}" for before, after in pairs.T)


def tissues(folder: Path) -> None:
    """Sets without a type of the reference: all of their cells should be rejected."""
    print(
        "| learned on | asked of | rejected | agreement | shift removed |\n| --- | --- | --- | ---: | --- |"
    )
    for first, second in TISSUES:
        annotator, _ = fitted(folder, first, None)
        cells, found = cells_of(folder, second), []
        for align in (False, True):
            named = annotate.predict(cells, annotator, align=align, key="found", copy=True)
            found.append([(named.obs["found_novelty"].to_numpy() > 1).mean()])
        facts = named.uns["biolm"]["found"].get("alignment", {})
        said = f"{facts.get('agreement', np.nan):.2f} | {'yes' if facts.get('shift_removed') else 'no'}"
        print(f"| {first} | {second} | {_shown(np.array(found))} | {said} |", flush=True)
    print()


def check(folder: Path) -> None:
    """The first judged pair by ``biolm annotate fit`` and ``predict`` on files of these cells."""
    pair = ("pbmc3k", "CITE-seq")
    with tempfile.TemporaryDirectory() as place:
        cells_of(folder, pair[0]).write_h5ad(f"{place}/learn.h5ad")
        asked(folder, pair).write_h5ad(f"{place}/query.h5ad")
        fit = [
            "fit",
            f"{place}/learn.h5ad",
            "--label",
            "cell_type",
            "-m",
            "cellfactors",
            "-o",
            f"{place}/made",
        ]
        predict = ["predict", f"{place}/query.h5ad", "-a", f"{place}/made", "-o", f"{place}/named.h5ad"]
        for words in (fit, predict):
            command = [sys.executable, "-m", "biolm", "annotate", *words, "--quiet"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        said = anndata.read_h5ad(f"{place}/named.h5ad").obs["biolm_cell_type_novelty"].to_numpy()
    gap = float(np.abs(said - novelty(folder, pair, None, align=True)).max())
    print(f"{pair[0]} asked of {pair[1]}: {(said > 1).mean():.3f} rejected; largest difference {gap:.2g}")


if __name__ == "__main__":
    log.setLevel("ERROR")
    tables = {
        "choosing": lambda folder: table(folder, CHOOSING),
        "judging": lambda folder: table(folder, JUDGING),
        "tissues": tissues,
        "check": check,
    }
    chosen = sys.argv[2:] or ["choosing", "judging", "tissues"]
    if len(sys.argv) < 2 or not set(chosen) <= set(tables):
        sys.exit(__doc__)
    for one in chosen:
        tables[one](Path(sys.argv[1]))
