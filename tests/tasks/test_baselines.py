"""Baselines: one face for all, right on real cells, at chance where labels mean nothing."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest

from biolm.errors import InputError
from biolm.scoring.baselines import BASELINES, fit_knn, fit_linear, predictions
from biolm.scoring.splits import holdout


@pytest.fixture(scope="module")
def blood(shipped_cells: Path) -> anndata.AnnData:
    return _commonest(anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad"), 1000)


def _commonest(cells: anndata.AnnData, count: int) -> anndata.AnnData:
    """The genes found in most cells: fewer make every baseline quick."""
    often = np.asarray((cells.X > 0).sum(0)).ravel().argsort()[-count:]
    return cells[:, np.sort(often)].copy()


@pytest.mark.parametrize("name", list(BASELINES))
def test_every_baseline_calls_unseen_cells(name: str, blood: anndata.AnnData) -> None:
    labels = np.asarray(blood.obs["cell_type"]).astype(str)
    split = holdout(labels, share=0.4, seed=0)
    first, second = (BASELINES[name](blood.X[split.train], labels[split.train], 3) for _ in range(2))
    chances = first.predict_proba(blood.X[split.test])
    assert first.classes.tolist() == sorted(set(labels))
    assert chances.shape == (len(split.test), len(first.classes))
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(chances, second.predict_proba(blood.X[split.test]))
    right = (predictions(first, blood.X[split.test]) == labels[split.test]).mean()
    floor = np.unique(labels[split.test], return_counts=True)[1].max() / len(split.test)
    assert right == pytest.approx(floor, abs=0.02) if name == "majority class" else right > floor + 0.25


@pytest.mark.parametrize("name", list(BASELINES))
def test_one_class_and_few_cells_need_no_special_care(name: str, blood: anndata.AnnData) -> None:
    alone = BASELINES[name](blood.X[:4], ["B"] * 4, 0)
    assert alone.predict_proba(blood.X[:2]).tolist() == [[1.0], [1.0]]
    few = BASELINES[name](blood.X[:2], ["B", "NK"], 0)
    assert few.predict_proba(blood.X[:3]).shape == (3, 2)


def test_labels_unrelated_to_counts_score_at_chance(shared: Path) -> None:
    control = anndata.read_h5ad(shared / "data" / "cells_resampled" / "cellxgene_220.h5ad")
    labels = np.asarray(control.obs["shuffled_label"]).astype(str)
    split = holdout(labels, share=0.5, seed=0)
    for name in ("PCA-50 + kNN", "PCA-50 + logistic regression", "SGD logistic regression"):
        fitted = BASELINES[name](control.X[split.train], labels[split.train], 0)
        right = predictions(fitted, control.X[split.test]) == labels[split.test]
        # 110 cells at chance 1/22: five right, give or take 2.2.
        assert right.sum() <= 13, name


def test_vectors_have_the_same_face() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["B", "NK"], 20)
    vectors = rng.normal(size=(40, 3)) + np.where(labels == "B", 4, -4)[:, None]
    for fitted in (fit_linear(vectors, labels), fit_knn(vectors, labels, neighbours=3)):
        assert (predictions(fitted, vectors) == labels).all()
    with pytest.raises(InputError, match="40 cells came with 39 labels"):
        fit_linear(vectors, labels[:39])


def test_the_linear_probe_is_fitted_to_the_end_and_reads_sparse_tables_alike() -> None:
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(3)
    types = np.resize(["B", "NK", "T"], 150)
    table = rng.poisson(0.3, (150, 400)) + 3.0 * (rng.random((150, 400)) < 0.02)
    table[:, :3] += types[:, None] == np.unique(types)
    sparse, dense = (fit_linear(each, types) for each in (csr_matrix(table), table))
    more = rng.poisson(0.4, (300, 400)).astype(float)
    np.testing.assert_allclose(sparse.predict_proba(csr_matrix(more)), dense.predict_proba(more), atol=1e-3)
    scaler = StandardScaler().fit(table)
    ended = LogisticRegression(max_iter=20_000, tol=1e-9).fit(scaler.transform(table), types)
    called = dense.predict_proba(more).argmax(1)
    assert (called == ended.predict_proba(scaler.transform(more)).argmax(1)).mean() > 0.98
