"""Cells of three kinds over genes that the default model has loadings for."""

from __future__ import annotations

from functools import cache

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from biolm.models.systems import cellfactors, genetext
from biolm.vocab.genes import gene_table

# The default model is read once: two dozen annotators would each read it again.
LOADED, TEXT = cache(cellfactors.load), cache(genetext.load)
KINDS = ("B", "NK", "T")
GENES = 120


def _genes():
    """Ensembl ids with their symbols, each symbol once."""
    symbols = gene_table().ensembl_to_symbol("human")
    pairs = {}
    model = LOADED()
    for gene in (model.vocabulary.genes[row] for row in model.rows[::3]):
        if symbols.get(gene):
            pairs.setdefault(symbols[gene], gene)
    return list(pairs.items())[:GENES]


def make_kinds(n=150, seed=0, kinds=KINDS):
    """``n`` cells; each kind has 12 genes of its own, and each donor a depth of its own."""
    draws = np.random.default_rng(seed)
    codes = np.arange(n) % len(kinds)
    rates = np.full((n, GENES), 0.4)
    for code in range(len(kinds)):
        rates[codes == code, 12 * code : 12 * (code + 1)] = 2.5
    donors = (np.arange(n) // len(kinds)) % 5
    rates *= 1 + 0.3 * donors[:, None]
    pairs = _genes()
    obs = pd.DataFrame(
        {
            "kind": np.array(kinds)[codes],
            "donor": [f"d{donor}" for donor in donors],
            "state": np.where(draws.random(n) < 0.5, "rest", "act"),
        },
        index=[f"c{number}" for number in range(n)],
    )
    var = pd.DataFrame({"ensembl_id": [gene for _, gene in pairs]}, index=[name for name, _ in pairs])
    return anndata.AnnData(csr_matrix(draws.poisson(rates).astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="session")
def kinds():
    return make_kinds()


@pytest.fixture(scope="session")
def cells_of():
    return make_kinds


@pytest.fixture(scope="session")
def query():
    return make_kinds(60, seed=9)


@pytest.fixture(scope="module", autouse=True)
def one_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cellfactors, "load", LOADED)
        patch.setattr(genetext, "load", TEXT)
        yield
