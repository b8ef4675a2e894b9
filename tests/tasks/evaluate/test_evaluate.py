"""Evaluation from end to end on real cells, at chance on the negative control, and on bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

import biolm
from biolm.errors import BiolmError, OutputError
from biolm.scoring.baselines import fit_linear
from biolm.scoring.splits import holdout
from biolm.tasks.evaluate.files import as_json, score_text
from biolm.tasks.evaluate.probes import Method, label_curve
from biolm.tasks.evaluate.run import SHUFFLED, Evaluation

QUICK = {"integration": False, "curves": False, "maps": False}


def _blood(path: Path) -> anndata.AnnData:
    cells = anndata.read_h5ad(path / "pbmc_cite_10k.h5ad")
    # Fewer genes make every baseline quick.
    often = np.asarray((cells.X > 0).sum(0)).ravel().argsort()[-700:]
    cells = cells[:, np.sort(often)].copy()
    rng = np.random.default_rng(0)
    cells.obsm["X_noise"] = rng.normal(size=(cells.n_obs, 5))
    return cells


@pytest.fixture(scope="module")
def blood(shipped_cells: Path) -> anndata.AnnData:
    return _blood(shipped_cells)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate") / "out"


@pytest.fixture(scope="module")
def few(blood: anndata.AnnData) -> anndata.AnnData:
    """Enough cells to run through."""
    return blood[:150].copy()


@pytest.fixture(scope="module")
def found(blood: anndata.AnnData, folder: Path) -> Evaluation:
    path = folder.parent / "cells.h5ad"
    blood.write_h5ad(path)
    return biolm.evaluate(
        path,
        ["X_noise"],
        label="cell_type",
        leave_out=("other",),
        model="genetext",
        output=folder,
        folds=3,
        draws=2,
        shots=(1, 5, 500),
        shares=(0.2, 1.0),
        integration=False,
        maps=False,
    )


def test_noise_loses_to_every_real_baseline(found: Evaluation) -> None:
    for scores in (found.knn, found.linear):
        by_name = {score.name: score for score in scores}
        assert by_name["PCA-50"].low > by_name["X_noise"].high
        assert by_name["HVG-2000"].low > by_name["X_noise"].high
    assert "L1 logistic regression" in {score.name for score in found.linear}
    assert all("X_noise is worse than" in found.verdicts[probe][0] for probe in ("knn", "linear"))
    assert "X_noise is worse than" in score_text(found)


def test_shuffled_labels_and_noise_score_at_chance(found: Evaluation) -> None:
    types = found.provenance["types"]
    for score in (*found.knn, *found.linear):
        if score.name in (SHUFFLED, "X_noise"):
            assert score.macro_f1 < 1 / types + 0.1, score.name


def test_curves_rise_with_labels_and_fall_with_damage(found: Evaluation) -> None:
    assert found.few_shot.x == (1, 5)
    pca = found.few_shot.values["PCA-50"]
    assert pca.shape == (2, 2)
    assert pca[:, 1].mean() > pca[:, 0].mean()
    whole = found.label_share.values["L1 logistic regression"]
    assert whole.shape == (2, 2)
    assert whole[:, 1].mean() > whole[:, 0].mean()
    for curve in (found.reads, found.genes):
        assert set(curve.values) == {"X_genetext", "PCA-50", "L1 logistic regression"}
        for values in curve.values.values():
            assert values[:, -1].mean() > values[:, 0].mean() + 0.1


def test_a_model_alone_is_embedded_and_judged(found: Evaluation) -> None:
    assert found.embeddings == ("X_noise", "X_genetext")
    assert found.provenance["X_genetext"]["model"] == "genetext"
    by_name = {score.name: score for score in found.knn}
    assert by_name["X_genetext"].low > by_name["X_noise"].high


def test_files_hold_the_scores(found: Evaluation, folder: Path) -> None:
    assert json.loads((folder / "scores.json").read_text()) == json.loads(json.dumps(as_json(found)))
    lines = [line.split("\t") for line in (folder / "scores.tsv").read_text().splitlines()]
    assert lines[0] == ["question", "method", "metric", "value", "low", "high"]
    value = next(float(line[3]) for line in lines if line[:3] == ["linear", "PCA-50", "macro_f1"])
    assert value == pytest.approx(next(s.macro_f1 for s in found.linear if s.name == "PCA-50"), rel=1e-5)
    curves = [line.split("\t") for line in (folder / "curves.tsv").read_text().splitlines()]
    assert {line[0] for line in curves[1:]} == {"few_shot", "label_share", "reads", "genes"}
    page = (folder / "report.html").read_text()
    for text in ("Confusion of X_noise", "Calibration of X_noise", "Every type by X_noise", SHUFFLED):
        assert text in page
    assert {"few-shot.svg", "confusion-of-x-noise.svg"} <= {path.name for path in folder.iterdir()}
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_an_existing_report_is_kept(found: Evaluation, folder: Path, blood: anndata.AnnData) -> None:
    before = (folder / "report.html").read_bytes()
    with pytest.raises(OutputError, match="exists"):
        biolm.evaluate(blood, "X_noise", label="cell_type", output=folder, **QUICK)
    assert (folder / "report.html").read_bytes() == before


def test_a_recorded_embedding_is_made_again(few: anndata.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record names its maker; a model that is not on this machine is passed over."""
    from biolm.tasks.evaluate import robustness

    monkeypatch.setattr(robustness, "READS_KEPT", (1.0,))
    monkeypatch.setattr(robustness, "GENES_KEPT", (0.5,))
    cells = few.copy()
    biolm.embed(cells, model="genetext")
    cells.uns["biolm"]["X_noise"] = {"model": "nobody/no-such-model"}
    options = {"label": "cell_type", "rare": 5, "folds": 2, "draws": 1, **QUICK}
    result = biolm.evaluate(cells, ["X_genetext", "X_noise"], **options)
    assert set(result.genes.values) == {"X_genetext", "PCA-50", "L1 logistic regression"}
    del options["draws"]  # of curves, which there are none of
    assert biolm.evaluate(cells, "X_genetext", robustness=False, **options).genes is None


def test_curves_leave_out_what_takes_long() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["B", "NK"], 20)
    vectors = rng.normal(size=(40, 2)) + np.where(labels == "B", 9, -9)[:, None]
    methods = [Method("all", vectors, fit_linear), Method("few", vectors, fit_linear, most=10)]
    curve = label_curve(methods, labels, [holdout(labels, share=0.5)], points=(2, 10), shots=True)
    assert curve.values["all"].tolist() == [[1, 1]]
    assert curve.values["few"][0, 0] == 1
    assert np.isnan(curve.values["few"][0, 1])


def test_the_same_seed_gives_the_same_numbers(few: anndata.AnnData) -> None:
    first, second = (
        biolm.evaluate(few, "X_noise", label="cell_type", rare=5, cells=80, seed=4, folds=2, **QUICK)
        for _ in range(2)
    )
    assert as_json(first) == as_json(second)
    assert first.provenance["cells scored"] <= 85 < first.provenance["labelled cells"]


def test_copies_of_cells_do_not_leak(blood: anndata.AnnData) -> None:
    """Noise vectors of doubled cells would be found again by their nearest neighbour."""
    doubled = anndata.concat([blood, blood], index_unique="-")
    doubled.obsm["X_noise"] = np.tile(blood.obsm["X_noise"], (2, 1))
    result = biolm.evaluate(doubled, "X_noise", label="cell_type", folds=2, **QUICK)
    assert result.provenance["cells with the same counts as another"] == blood.n_obs
    floor = next(score.accuracy for score in result.knn if score.name == "majority class")
    assert next(score for score in result.knn if score.name == "X_noise").accuracy < floor + 0.08


@pytest.mark.slow
def test_negative_control_scores_at_chance_everywhere(shared: Path) -> None:
    control = anndata.read_h5ad(shared / "data" / "cells_resampled" / "cellxgene_220.h5ad")
    biolm.embed(control, model="genetext")
    result = biolm.evaluate(
        control,
        "X_genetext",
        label="shuffled_label",
        draws=2,
        shots=(1, 5),
        shares=(1.0,),
        robustness=False,
        maps=False,
    )
    # 220 cells at chance 1/22: ten right, give or take 3.1.
    for score in (*result.knn, *result.linear):
        assert score.accuracy * 220 <= 10 + 3 * 3.1, score.name
    for curve in (result.few_shot, result.label_share):
        assert all(values.mean() < 0.12 for values in curve.values.values())
    chance = result.integration[SHUFFLED]
    for values in result.integration.values():
        assert abs(values["ARI"]) < 0.03
        assert abs(values["NMI"] - chance["NMI"]) < 0.06
        assert abs(values["Silhouette label"] - chance["Silhouette label"]) < 0.06


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, {"label": "type"}, "no label column 'type'; obs holds: cell_type"),
        (lambda c: c.obs.assign(cell_type="B"), {}, "holds only 'B'"),
        (lambda c: c.obs.assign(cell_type=["B", *["NK"] * (c.n_obs - 1)]), {}, r"types of one cell \(B\)"),
        (None, {"batch": "lane"}, "no batch column 'lane'"),
        (lambda c: c.obs.assign(lane="1"), {"batch": "lane"}, "all labelled cells are of batch '1'"),
        (lambda c: c.obs.assign(lane=[None, *["a"] * (c.n_obs - 1)]), {"groups": "lane"}, "have no group"),
        (None, {"embeddings": "X_other"}, "no embedding 'X_other'; obsm holds protein, X_noise"),
        (None, {"embeddings": []}, "name an embedding of obsm"),
        (None, {"layer": "counts"}, "counts"),
        (None, {"folds": 1}, "`folds` must be at least 2"),
        (None, {"shares": (0.0,)}, "`shares` must be above 0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(blood: anndata.AnnData, change, options, message) -> None:
    cells = blood.copy()
    if change is not None:
        cells.obs = change(cells)
    arguments = {"embeddings": "X_noise", "label": "cell_type"} | QUICK | options
    with pytest.raises(BiolmError, match=message):
        biolm.evaluate(cells, **arguments)


def test_broken_vectors_and_normalised_counts_are_refused(blood: anndata.AnnData) -> None:
    cells = blood.copy()
    cells.obsm["X_noise"][7, 2] = np.nan
    with pytest.raises(BiolmError, match="not finite in 1 cells, first in row 7"):
        biolm.evaluate(cells, "X_noise", label="cell_type", **QUICK)
    cells = blood.copy()
    cells.X = cells.X.log1p()
    with pytest.raises(BiolmError, match="raw counts are wanted"):
        biolm.evaluate(cells, "X_noise", label="cell_type", **QUICK)


def test_scvi_stands_beside_where_it_is_installed(
    few: anndata.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in: scvi-tools itself is not installed here."""
    from biolm.tasks.evaluate import methods

    seen = {}

    class Model:
        def __init__(self, cells: anndata.AnnData) -> None:
            self.cells = cells

        @staticmethod
        def setup_anndata(cells: anndata.AnnData, batch_key: str | None) -> None:
            seen["batch"] = None if batch_key is None else cells.obs[batch_key].tolist()

        def train(self) -> None:
            seen["counts"] = self.cells.X.sum()

        def get_latent_representation(self) -> np.ndarray:
            return np.ones((self.cells.n_obs, 3))

    scvi = SimpleNamespace(settings=SimpleNamespace(seed=None), model=SimpleNamespace(SCVI=Model))
    monkeypatch.setattr(methods, "find_spec", lambda name: True)
    monkeypatch.setattr(methods, "import_module", lambda name: scvi)
    cells = few.copy()
    cells.obs["lane"] = np.resize(["1", "2"], cells.n_obs)
    result = biolm.evaluate(
        cells, "X_noise", label="cell_type", batch="lane", seed=3, rare=5, folds=2, **QUICK
    )
    assert "scVI" in {score.name for score in result.knn}
    assert scvi.settings.seed == 3
    kept = np.isin(cells.obs["cell_type"], np.unique(result.calls[0].truth))
    assert seen["batch"] == cells.obs["lane"][kept].tolist()
    assert seen["counts"] == cells.X[kept].sum()


def test_command_writes_the_report_and_prints_the_scores(few: anndata.AnnData, tmp_path: Path) -> None:
    from biolm.cli.main import app

    path = tmp_path / "cells.h5ad"
    few.write_h5ad(path)
    common = [
        "evaluate",
        str(path),
        "-e",
        "X_noise",
        "--label",
        "cell_type",
        "--rare",
        "5",
        "--folds",
        "2",
        "--no-curves",
    ]
    common += ["--no-integration", "--no-maps", "--quiet", "-o", str(tmp_path / "out")]
    run = CliRunner().invoke(app, [*common, "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["embeddings"] == ["X_noise"]
    assert "Linear probe" in (tmp_path / "out" / "report.html").read_text()
    again = CliRunner().invoke(app, common)
    assert again.exit_code == 1
