"""Systems of cells as fine-tuned annotators: saved as trained, or refused with what to use instead."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from small_systems import FOLDERS, WITHOUT_GOLDENS, address, geneformer

import biolm
from biolm.errors import ConfigError
from biolm.io.cells import open_cells
from biolm.tasks.annotate import tune
from biolm.tasks.annotate.settings import FitSettings
from biolm.tasks.annotate.steps import Choice
from biolm.tasks.annotate.token_runs import check_trainable
from biolm.training.fine_tune import fine_tune

SHIPPED = Path(__file__).resolve().parents[2] / "data" / "cells" / "pbmc68k_reduced_counts_700.h5ad"


@pytest.fixture
def cells() -> anndata.AnnData:
    """Cells of two kinds."""
    found = anndata.read_h5ad(SHIPPED)
    label = found.obs["cell_type"].astype(str)
    common = label.value_counts().index[:2]
    return found[label.isin(common).to_numpy()][:90].copy()


def _force_steps(monkeypatch, steps):
    """Fine-tuning takes some steps whatever held-out rows say; gives the weights that it starts from."""
    starts = []

    def forced(make, solutions, folds, rates, epochs):
        (solution,) = solutions
        said = solution.whole.logits(solution.points.vectors, solution.points.table)
        start = {solution.column.name: solution.target(solution.whole, solution.offsets(solution.whole))}
        own = make(start, solution.rows, rates[0]).logits(solution.rows)[solution.column.name]
        np.testing.assert_allclose(own, said[solution.rows], atol=1e-3)
        starts.append(solution.whole.vectors)
        kept = {solution.column.name: said[np.concatenate([fold.test for fold in folds])]}
        return Choice(rate=rates[0], looks=1, facts={"folds": 3}, logits=kept, folds=folds, targets=start)

    monkeypatch.setattr(tune, "choose", forced)
    monkeypatch.setattr(tune, "look_steps", lambda _: steps)
    return starts


@pytest.mark.parametrize(("version", "method"), [("v1", "lora"), ("v2", "full")])
def test_a_published_system_is_trained_and_saved(cells, tmp_path, monkeypatch, version, method):
    """Geneformer pools a hidden state that is not the last: training and the saved folder must do so too."""
    starts = _force_steps(monkeypatch, 3)
    model = geneformer(tmp_path / "geneformer", version=version)
    options = {"model": model, "method": method, "device": "cpu", "features": "joint"}
    fitted = biolm.annotate.fit(cells, label="cell_type", output=tmp_path / "made", **options)
    assert fitted.heads[0].report["fine_tuning"]["steps"] == 3
    assert not np.array_equal(fitted.heads[0].frozen.scorer.vectors, starts[0])
    saved = biolm.load(tmp_path / "made" / "model")
    before = biolm.load(model)
    assert (saved.hidden_state, saved.pools[0]) == (before.hidden_state, before.pools[0])
    changed = [
        name for name, weight in saved.core.state_dict().items()
        if not np.array_equal(weight, before.core.state_dict()[name])
    ]  # fmt: skip
    assert changed
    if method == "lora":
        assert all(".attention." in name for name in changed)
    found = [
        biolm.annotate.predict(cells, each, copy=True, device="cpu").obsm["biolm_cell_type_probabilities"]
        for each in (fitted, tmp_path / "made")
    ]
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize(
    ("system", "method"),
    [("tahoe", "lora"), ("tgpt", "full"), ("scbert", "lora"), ("scconcept", "full")],
)
def test_systems_are_saved_with_their_tokenisers(request, tmp_path, monkeypatch, system, method):
    """The folder of a trained Tahoe-x1, tGPT, scBERT or scConcept reads cells as the system does."""
    _force_steps(monkeypatch, 2)
    folder = tmp_path / "published"
    folder.mkdir()
    goldens = None if system in WITHOUT_GOLDENS else request.getfixturevalue("goldens")
    where = address(system, folder, goldens)
    before = biolm.load(where)
    rng = np.random.default_rng(0)
    kinds = np.array(["a", "b"] * 15)
    counts = rng.poisson(0.4, (30, len(before.vocabulary))).astype(np.float32)
    counts[kinds == "b", :40] += rng.poisson(2, (15, 40))
    cells = anndata.AnnData(sp.csr_matrix(counts))
    cells.var_names = before.vocabulary.genes
    cells.obs["kind"] = kinds
    options = {"model": where, "method": method, "device": "cpu"}
    fitted = biolm.annotate.fit(cells, label="kind", output=tmp_path / "made", **options)
    assert fitted.heads[0].report["fine_tuning"]["steps"] == 2
    saved = biolm.load(tmp_path / "made" / "model")
    assert (saved.hidden_state, saved.pools[0]) == (before.hidden_state, before.pools[0])
    with open_cells(cells) as source:
        block, columns = next(source.blocks()), source.gene_columns()
    first, second = (model.tokenize(block, model.vocabulary.match(columns)) for model in (before, saved))
    assert np.array_equal(first.ids, second.ids)
    assert (first.values is None) == (second.values is None)
    assert first.values is None or np.array_equal(first.values, second.values)
    weights, learned = before.core.state_dict(), saved.core.state_dict()
    assert any(not np.array_equal(weights[name], learned[name]) for name in weights)
    found = [
        biolm.annotate.predict(cells, each, copy=True, device="cpu").obsm["biolm_kind_probabilities"]
        for each in (fitted, tmp_path / "made")
    ]
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize("system", ["scfoundation", "celllm", "nicheformer", "scprint"])
def test_a_system_that_cannot_be_trained_says_what_to_use_instead(goldens, tmp_path, system):
    folder = tmp_path / system
    folder.mkdir()
    model = biolm.load(address(system, folder, goldens))
    with pytest.raises(ConfigError, match="method linear, knn or head"):
        check_trainable(model, FitSettings(method="full"))
    check_trainable(model, FitSettings(method="head"))


def test_fine_tune_says_so_too(goldens, tmp_path):
    folder = tmp_path / "celllm"
    folder.mkdir()
    model = biolm.load(FOLDERS["celllm"](folder, goldens))
    with pytest.raises(ConfigError, match="cannot be trained further: its genes and tokens are in no file"):
        fine_tune(model, None, {"x": ["a", "b"]})
