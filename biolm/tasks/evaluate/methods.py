"""What stands beside every embedding: principal components, variable genes, scVI; classifiers of counts.

Dimensions: ``n`` cells · ``g`` genes · ``d`` width of a vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.progress import log
from biolm.scoring.baselines import BASELINES, COMPONENTS, VARIABLE_GENES, fit_knn, fit_linear
from biolm.scoring.quality import fit_pca, log_normalised, variable_columns
from biolm.tasks.evaluate.data import EvaluationData
from biolm.tasks.evaluate.probes import Method

__all__ = ["HVG", "L1", "L1_CELLS", "PCA", "SCVI", "baseline_vectors", "knn_methods", "linear_methods"]

PCA, HVG, SCVI = f"PCA-{COMPONENTS}", f"HVG-{VARIABLE_GENES}", "scVI"
L1 = "L1 logistic regression"
# L1 takes seconds for two thousand cells, and curves fit it dozens of times.
L1_CELLS = 2000


def baseline_vectors(data: EvaluationData, seed: int) -> dict[str, NDArray[np.float32]]:
    """Vectors ``(n, d)`` of every baseline, made without labels from the counts of the scored cells.

    Parameters
    ----------
    data
        The scored cells.
    seed
        Of principal components and random vectors.
    """
    table = log_normalised(data.counts)
    genes = variable_columns(table, VARIABLE_GENES)
    vectors = {
        PCA: fit_pca(data.counts, components=COMPONENTS, seed=seed)(data.counts),
        HVG: table[:, genes].toarray().astype(np.float32),
    }
    if find_spec("scvi") is None:
        log.info("scVI is left out: scvi-tools is not installed")
    else:
        vectors[SCVI] = _scvi(data, genes, seed)
    return vectors


def knn_methods(vectors: Mapping[str, Any]) -> list[Method]:
    """Nearest neighbours on every table of vectors."""
    return [Method(name, table, fit_knn) for name, table in vectors.items()]


def linear_methods(data: EvaluationData, vectors: Mapping[str, Any]) -> list[Method]:
    """The linear probe on every table of vectors, and L1 logistic regression on all genes.

    Parameters
    ----------
    data
        The scored cells.
    vectors
        ``(n, d)`` by embedding.
    """
    probes = [Method(name, table, fit_linear) for name, table in vectors.items()]
    return [*probes, Method(L1, data.counts, BASELINES[L1], most=L1_CELLS)]


def _scvi(data: EvaluationData, genes: Any, seed: int) -> NDArray[np.float32]:
    """Latent variables of scVI with its own settings, on the variable genes, told the batch if given."""
    scvi = import_module("scvi")

    log.info("training scVI")
    scvi.settings.seed = seed
    # A copy: setting scVI up writes into the table, which is the user's.
    cells = data.table[:, genes].copy()
    batch = None
    if data.batch is not None:
        cells.obs["biolm_batch"], batch = data.batch, "biolm_batch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scvi.model.SCVI.setup_anndata(cells, batch_key=batch)
        model = scvi.model.SCVI(cells)
        model.train()
        return np.asarray(model.get_latent_representation(), dtype=np.float32)
