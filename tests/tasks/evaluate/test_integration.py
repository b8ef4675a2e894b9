"""Integration metrics on real cells against scikit-learn and scib-metrics themselves."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import numpy as np
import pytest

from biolm.errors import ConfigError
from biolm.scoring.quality import fit_pca
from biolm.tasks.evaluate import integration
from biolm.tasks.evaluate.integration import integration_metrics, silhouette_batch

Cells = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def chemistries(data_cells: Path) -> Cells:
    """Vectors, types and chemistries of 300 blood cells of four types."""
    pytest.importorskip("scib_metrics", reason="needs scib-metrics")
    cells = anndata.read_h5ad(data_cells / "pbmc_3chemistries_1500.h5ad")
    types = np.asarray(cells.obs["cell_type"]).astype(str)
    rows = np.concatenate([np.flatnonzero(types == name)[:75] for name in ("B", "T_CD4", "NK", "Mono_CD14")])
    cells = cells[rows]
    batch = np.asarray(cells.obs["batch"]).astype(str)
    return fit_pca(cells.X, components=10)(cells.X), types[rows], batch


@pytest.fixture(scope="module")
def found(chemistries: Cells) -> dict[str, float | None]:
    vectors, types, batch = chemistries
    return integration_metrics(vectors, types, batch, before=vectors)


@pytest.mark.slow
def test_values_agree_with_scib_metrics(chemistries: Cells, found: dict[str, float | None]) -> None:
    vectors, types, batch = chemistries
    moved = vectors + np.where(batch == batch[0], 3, 0)[:, None].astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scib_metrics

        silhouette = scib_metrics.silhouette_label(vectors, types)
        clusters = scib_metrics.nmi_ari_cluster_labels_kmeans(vectors, types)
        removed = scib_metrics.pcr_comparison(moved, vectors, batch, categorical=True)
    assert found["Silhouette label"] == pytest.approx(silhouette, abs=1e-4)
    # Two k-means of different libraries: the same clusters but for cells on the border.
    assert found["NMI"] == pytest.approx(clusters["nmi"], abs=0.08)
    assert found["ARI"] == pytest.approx(clusters["ari"], abs=0.12)
    assert integration_metrics(vectors, types, batch, before=moved)["PCR"] == pytest.approx(removed, abs=1e-4)
    # Against itself nothing was removed.
    assert found["PCR"] == pytest.approx(0, abs=1e-4)
    others = ("Silhouette batch", "iLISI", "Graph connectivity")
    assert found["Batch"] == pytest.approx(np.mean([found[name] for name in others]))
    assert found["Total"] == pytest.approx(0.6 * found["Bio"] + 0.4 * found["Batch"])
    assert all(0 <= value <= 1 for value in found.values())


@pytest.mark.slow
def test_silhouette_of_batches_is_that_of_scib_metrics(
    chemistries: Cells, found: dict[str, float | None]
) -> None:
    vectors, types, batch = chemistries
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scib_metrics

        some = np.isin(types, ["B", "NK"])
        expected = scib_metrics.silhouette_batch(vectors[some], types[some], batch[some])
    assert silhouette_batch(vectors[some], types[some], batch[some]) == pytest.approx(expected, abs=1e-4)
    assert found["Silhouette batch"] is not None


def test_lisi_by_hand() -> None:
    """Two types far apart, two batches in perfect mixture: purity 1, mixing near 1."""
    pytest.importorskip("scib_metrics", reason="needs scib-metrics")
    rng = np.random.default_rng(0)
    types = np.repeat(["B", "NK"], 150)
    batch = np.tile(["1", "2"], 150)
    vectors = (rng.normal(size=(300, 4)) + np.where(types == "B", 50, -50)[:, None]).astype(np.float32)
    mixed = integration_metrics(vectors, types, batch)
    assert mixed["NMI"] == mixed["ARI"] == pytest.approx(1)
    assert mixed["cLISI"] == pytest.approx(1)
    assert mixed["Graph connectivity"] > 0.98
    assert mixed["iLISI"] > 0.9
    assert mixed["PCR"] is None
    apart = vectors + np.where(batch == "1", 500, 0)[:, None].astype(np.float32)
    torn = integration_metrics(apart, types, batch)
    assert torn["iLISI"] < 0.05
    assert torn["Silhouette batch"] < 0.1 < mixed["Silhouette batch"]
    assert torn["Batch"] < mixed["Batch"]
    alone = integration_metrics(vectors, types)
    assert alone["iLISI"] is alone["Batch"] is alone["Total"] is None
    assert alone["Bio"] == pytest.approx(mixed["Bio"])


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integration, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'scib-metrics"):
        integration.need_library()


def test_types_of_one_batch_say_nothing() -> None:
    vectors = np.eye(6, dtype=np.float32)
    types = np.repeat(["B", "NK"], 3)
    assert silhouette_batch(vectors, types, np.repeat(["1", "2"], 3)) is None
    assert silhouette_batch(vectors, types, np.array(["1", "1", "2", "3", "3", "3"])) is not None
