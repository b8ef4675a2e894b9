"""The demo: embed the shipped cells, score the vectors, draw them, write one page about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import biolm
from biolm.errors import OutputError
from biolm.io.atomic import replacing_folder, tidy
from biolm.models.systems.genetext import centre
from biolm.report.picture import draw_maps, umap_layout
from biolm.report.report import CellMap, ScoreRow, ScoreTable, View, write_report
from biolm.resources import shipped
from biolm.scoring.quality import fit_pca
from biolm.tasks.demo.scores import (
    ALIKE,
    CONTROL,
    MODEL,
    SETS,
    TEXT,
    Baselines,
    Question,
    gene_half,
    measure,
    open_set,
)
from biolm.tasks.embed import embed

__all__ = ["DemoResult", "run_demo", "score_text"]

# One colour a kind of cell in every picture, whatever a set calls it.
COLOURS = {name: slot for slot, name in enumerate(("B", "CD14 mono", "CD4 T", "CD8 T", "NK", "other"))}
COLOURS |= {
    "CD19+ B": 0,
    "CD14+ Monocyte": 1,
    "CD4+/CD25 T Reg": 2,
    "CD8+ Cytotoxic T": 3,
    "CD56+ NK": 4,
}
PICTURE, PAGE, SCORES = "umap.png", "index.html", "scores.json"
TITLE = "biolm demo: human blood cells by the default model"
SUMMARY = (
    "Two labelled sets of human blood cells, embedded by the default model cellfactors: 64 factors of a "
    "linear model that was fitted to 12,501 unlabelled cells, beside gene text (genetext: the weighted mean "
    "of vectors made from what is written about a cell's genes). No cell of the two sets was fitted on, but "
    "other blood was, some of it from the donor of the second set. Labels are used for scores alone, and "
    "every score stands beside its controls. Maps are by UMAP.",
    "Within one set principal components, or the counts of variable genes, do as well or better and need no "
    "model: use them. The strength of the model is one space for sets of different gene panels, where "
    "components cannot be computed and random gene vectors fail. The intervals hold the choice of cells, not "
    "other donors, laboratories or tissues: on mouse progenitors components and gene text are both better.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo found and wrote.

    Parameters
    ----------
    questions
        The scored questions.
    files
        What lies in the folder now.
    """

    questions: tuple[Question, ...]
    files: tuple[Path, ...]

    @property
    def text(self) -> str:
        """The scores as the demo prints them."""
        return score_text(self.questions)


def run_demo(folder: str | Path, *, seed: int = 0, overwrite: bool = False) -> DemoResult:
    """Embed the two shipped sets of cells and say what the vectors are worth.

    Writes a copy of each set with ``obsm["X_cellfactors"]``, a picture, a page and the scores.

    Parameters
    ----------
    folder
        Made where it does not exist.
    seed
        Seeds folds, controls, gene splits and pictures.
    overwrite
        Whether the files of an earlier demo may be replaced.

    Raises
    ------
    OutputError
        If a file exists and ``overwrite`` is not set, or cannot be written.
    """
    folder = Path(folder)
    tidy(folder)
    names = (*(f"{name}.h5ad" for name in SETS), PICTURE, PAGE, SCORES)
    files = tuple(folder / name for name in names)
    # The folder may hold files of others; only those of the demo are in question.
    existing = [path for path in files if path.exists()]
    if existing and not overwrite:
        raise OutputError(
            f"{existing[0]} exists already; choose another folder or allow it to be overwritten"
        )
    with replacing_folder(folder, PAGE, overwrite=overwrite) as temporary:
        questions = _write(temporary, seed)
    return DemoResult(questions=questions, files=files)


def _write(folder: Path, seed: int) -> tuple[Question, ...]:
    """All files of the demo, into a folder that holds none of them."""
    embedded = {name: folder / f"{name}.h5ad" for name in SETS}
    for name, path in embedded.items():
        embed(shipped(f"cells/{name}.h5ad"), model=MODEL, output=path, seed=seed)
    baselines = Baselines.load(seed)
    maps, provenance = _maps(embedded, baselines, seed)
    maps.append(_joint_map(baselines, seed))
    draw_maps(folder / PICTURE, maps, colour_by="cell_type")
    questions = tuple(measure(baselines, seed=seed))
    write_report(
        folder / PAGE,
        title=TITLE,
        summary=SUMMARY,
        maps=maps,
        parts=[_table(question) for question in questions],
        provenance={"biolm": biolm.__version__, "seed": seed, **provenance},
        picture=folder / PICTURE,
    )
    text = json.dumps(_plain(questions, seed), indent=1)
    (folder / SCORES).write_text(text + "\n", encoding="utf-8")
    return questions


def score_text(questions: Sequence[Question]) -> str:
    """The scores of every question as a plain table.

    Returns
    -------
    Lines of at most 100 characters: method, macro-F1 with its 95 % interval, accuracy.
    """
    lines: list[str] = []
    for question in questions:
        lines += [question.title, f"  {'':<40}macro-F1   95 % interval   accuracy"]
        for score in question.scores:
            interval = f"{score.low:.3f}-{score.high:.3f}"
            lines.append(f"  {score.name:<40}{score.macro_f1:8.3f}{interval:>16}{score.accuracy:11.3f}")
        lines += [f"  {name:<40}cannot be computed" for name in question.impossible]
        lines += [f"  -> {sentence}" for sentence in question.verdict]
        lines.append("")
    return "\n".join(lines)


def _maps(embedded: dict[str, Path], baselines: Baselines, seed: int) -> tuple[list[CellMap], dict[str, Any]]:
    """Each set by the model and by its baselines, and where the vectors came from."""
    import anndata

    maps, provenance = [], {}
    for name, path in embedded.items():
        cells = anndata.read_h5ad(path)
        vectors = {
            MODEL: centre(cells.obsm[f"X_{MODEL}"]),
            TEXT: open_set(name, baselines.model).vectors(baselines.text),
            CONTROL: open_set(name, baselines.model).vectors(baselines.random[0]),
            # The baseline that a reader would draw without any model.
            "PCA-20": fit_pca(cells.X, seed=seed)(cells.X),
        }
        columns = {column: np.asarray(cells.obs[column]) for column in cells.obs}
        maps.append(_map(SETS[name], cells.obs_names, vectors, columns, seed))
        provenance[path.name] = cells.uns["biolm"][f"X_{MODEL}"]
    return maps, provenance


def _joint_map(baselines: Baselines, seed: int) -> CellMap:
    """Both sets in one space although no gene is measured in both."""
    sets = [open_set(name, baselines.model) for name in SETS]
    half = gene_half(baselines.model, seed)
    vectors = {
        name: np.concatenate(
            [
                cells.vectors(model, genes)[cells.common]
                for cells, genes in zip(sets, (half, ~half), strict=True)
            ]
        )
        for name, model in (
            (MODEL, baselines.model),
            (TEXT, baselines.text),
            (ALIKE, baselines.alike),
            (CONTROL, baselines.random[0]),
        )
    }
    columns = {
        "cell_type": np.concatenate([cells.common_labels[cells.common] for cells in sets]),
        "set": np.concatenate([np.repeat(cells.title, cells.common.sum()) for cells in sets]),
    }
    names = [name for cells in sets for name in cells.table.obs_names[cells.common]]
    return _map("Both sets, no gene shared", names, vectors, columns, seed)


def _map(
    title: str, names: Sequence[str], vectors: dict[str, Any], columns: dict[str, Any], seed: int
) -> CellMap:
    views = [View(name=name, coordinates=umap_layout(points, seed=seed)) for name, points in vectors.items()]
    return CellMap(name=title, cells=list(names), views=views, columns=columns, colours=COLOURS)


def _table(question: Question) -> ScoreTable:
    rows = [ScoreRow.of(score, is_model=score.name == MODEL) for score in question.scores]
    rows += [ScoreRow(name=name, value=None) for name in question.impossible]
    return ScoreTable(title=question.title, rows=rows, note=question.note, verdict=question.verdict)


def _plain(questions: Sequence[Question], seed: int) -> dict[str, Any]:
    return {
        "biolm": biolm.__version__,
        "model": MODEL,
        "seed": seed,
        "questions": [
            {
                "title": question.title,
                "note": question.note,
                "scores": [score.as_dict() for score in question.scores],
                "impossible": list(question.impossible),
                "verdict": list(question.verdict),
            }
            for question in questions
        ],
    }
