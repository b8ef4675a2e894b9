"""The small transformer that ships: loads by name, offline; its vectors of few genes still tell types."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest

import biolm
from biolm.models.systems import cell_mini, genetext
from biolm.models.token_model import TokenCellModel
from biolm.scoring.quality import knn_quality


@pytest.fixture(scope="module")
def model() -> TokenCellModel:
    loaded = biolm.load("biolm-cell-mini")
    assert isinstance(loaded, TokenCellModel)
    return loaded


@pytest.fixture(scope="module")
def cells(repository: Path) -> anndata.AnnData:
    return anndata.read_h5ad(repository / "data/cells/pbmc_cite_10k.h5ad")


def test_it_is_small_and_says_what_it_is(model: TokenCellModel, repository: Path) -> None:
    files = [path for path in (repository / "data/cell-mini").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20e6
    assert model.name == "biolm-cell-mini"
    assert model.vocabulary.species == ("human",)
    assert model.describe()["genes"] == len(cell_mini.load_tokenizer().vocabulary) > 15_000


def test_on_500_genes_it_is_better_than_gene_text(model: TokenCellModel, cells: anndata.AnnData) -> None:
    seen = np.flatnonzero(np.asarray((cells.X > 0).mean(0)).ravel() >= 0.02)
    text = genetext.load()
    scores: dict[str, list[float]] = {model.name: [], text.name: []}
    for seed in range(3):
        few = cells[:, np.random.default_rng(seed).choice(seen, 500, replace=False)].copy()
        for each in (model, text):
            vectors = biolm.embed(few, model=each).obsm[f"X_{each.name}"]
            centred = vectors - vectors.mean(0)
            score = knn_quality(centred, few.obs["cell_type"], leave_out=["other"], repeats=1)
            scores[each.name].append(score.macro_f1)
    assert np.mean(scores[model.name]) > np.mean(scores[text.name]) > 0.4


def test_a_vector_depends_on_its_cell_alone(model: TokenCellModel, cells: anndata.AnnData) -> None:
    # Few genes are enough: a short row and a long one still share a batch.
    some = cells[:6, ::8]
    together, alone = (biolm.embed(part.copy(), model=model) for part in (some, some[:3]))
    name = f"X_{model.name}"
    np.testing.assert_allclose(together.obsm[name][:3], alone.obsm[name], atol=1e-5)
