"""A query of another laboratory: what its types share is taken off before novelty is scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import biolm
from biolm import annotate
from biolm.tasks.annotate.predict import predict_file
from biolm.tasks.annotate.settings import PredictSettings

CELLS = Path(__file__).resolve().parents[3] / "data/cells"


@pytest.fixture(scope="module")
def folder(kinds: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("annotators") / "kinds"
    annotate.fit(kinds, label="kind", output=made)
    return made


@pytest.fixture(scope="module")
def elsewhere(cells_of: Callable[..., anndata.AnnData]) -> anndata.AnnData:
    """Known kinds and a new one, in a laboratory that finds each gene with an ease of its own."""
    draws = np.random.default_rng(2)
    cells = cells_of(160, seed=9, kinds=("B", "NK", "T", "new"))
    ease = np.exp(draws.normal(0, 1.6, cells.n_vars))
    cells.X = draws.poisson(cells.X.toarray() * ease).astype(np.float32)
    return cells


def _named(cells: Any, annotator: Any, **options: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Novelty, and what was found of the query as a whole."""
    named = annotate.predict(cells, annotator, key="named", copy=True, **options)
    return named.obs["named_novelty"].to_numpy(), named.uns["biolm"]["named"].get("alignment", {})


def test_known_cells_of_another_laboratory_keep_their_names(
    elsewhere: anndata.AnnData, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="biolm"):
        alone, nothing = _named(elsewhere, folder, align=False)
        assert "taken off" not in caplog.text
        together, facts = _named(elsewhere, folder)
    assert "it is taken off before novelty is scored" in caplog.text
    assert nothing == {}
    assert facts["shift_removed"]
    assert (facts["cells"], facts["types"]) == (160, 3)
    assert facts["typical"] < 0.25 < 0.45 < facts["agreement"]
    new = (elsewhere.obs["kind"] == "new").to_numpy()
    assert (alone[~new] > 1).mean() > 0.7
    assert (together[~new] > 1).mean() < 0.2
    assert (together[new] > 1).mean() > 0.3
    assert roc_auc_score(new, together) > 0.8


def test_blood_of_another_laboratory_keeps_its_names() -> None:
    reference = anndata.read_h5ad(CELLS / "pbmc68k_reduced_counts_700.h5ad")
    reference = reference[(reference.obs["cell_type"] != "CD19+ B").to_numpy()].copy()
    query = anndata.read_h5ad(CELLS / "pbmc_cite_10k.h5ad")
    query = query[(query.obs["cell_type"] != "other").to_numpy()].copy()
    fitted = annotate.fit(reference, label="cell_type", leave_out=("CD34+", "Dendritic"))
    new = (query.obs["cell_type"] == "B").to_numpy()
    alone, together = (_named(query, fitted, align=align)[0] for align in (False, True))
    assert (alone[~new] > 1).mean() > 0.3
    assert (together[~new] > 1).mean() < 0.15
    assert (together[new] > 1).mean() > (together[~new] > 1).mean() + 0.2
    assert roc_auc_score(new, together) > roc_auc_score(new, alone)


def test_cells_of_a_laboratory_that_was_learned_are_judged_one_by_one(
    cells_of: Callable[..., anndata.AnnData], kinds: anndata.AnnData, folder: Path
) -> None:
    many = cells_of(400, seed=5, kinds=("new",))
    flooded = anndata.concat({"few": kinds, "many": many}, merge="same", index_unique="-")
    for cells in (kinds, flooded):
        alone, _ = _named(cells, folder, align=False)
        together, facts = _named(cells, folder)
        assert not facts["shift_removed"]
        assert facts["typical"] > 0.25
        np.testing.assert_array_equal(alone, together)


def test_cells_of_another_tissue_are_not_brought_near(elsewhere: anndata.AnnData, folder: Path) -> None:
    odd = elsewhere.copy()
    odd.X = odd.X[:, np.random.default_rng(0).permutation(odd.n_vars)]
    novelty, facts = _named(odd, folder)
    assert not facts["shift_removed"]
    assert (novelty > 1).mean() > 0.8


@pytest.mark.parametrize("count", [1, 29])
def test_few_cells_tell_no_shift(elsewhere: anndata.AnnData, folder: Path, count: int) -> None:
    few = elsewhere[:count].copy()
    novelty, facts = _named(few, folder)
    assert not facts["shift_removed"]
    np.testing.assert_array_equal(novelty, _named(few, folder, align=False)[0])


def test_cells_without_counts_do_not_matter(elsewhere: anndata.AnnData, folder: Path) -> None:
    counts = elsewhere.X.copy()
    padded = anndata.AnnData(np.vstack([counts, np.zeros_like(counts[:50])]), var=elsewhere.var)
    novelty, facts = _named(padded, folder)
    assert facts == _named(elsewhere, folder)[1]
    assert np.isnan(novelty[len(counts) :]).all()
    nothing = anndata.AnnData(np.zeros_like(counts), var=elsewhere.var)
    assert not _named(nothing, folder)[1]["shift_removed"]


def test_shards_take_off_the_same_shift(elsewhere: anndata.AnnData, folder: Path, tmp_path: Path) -> None:
    elsewhere.write_h5ad(tmp_path / "query.h5ad")

    def predicted(output: str, **options: Any) -> Path:
        chosen = PredictSettings(block_rows=8, key="named", **options)
        predict_file(tmp_path / "query.h5ad", tmp_path / output, folder, chosen)
        return tmp_path / output

    whole = predicted("whole.h5ad")
    parts = [predicted(f"part{n}", shard=f"{n}/3") for n in (1, 2, 3)]
    made = biolm.merge(parts, tmp_path / "made.h5ad")
    assert made.read_bytes() == whole.read_bytes()
    assert anndata.read_h5ad(made).uns["biolm"]["named"]["alignment"]["shift_removed"]
