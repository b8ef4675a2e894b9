"""A small table of cells with everything that files of cells hold, and how tests read one back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.io.cells import CellSource

CELLS, GENES = 97, 53


@pytest.fixture
def adata() -> AnnData:
    """``(97, 53)`` counts in X; raw with more genes; layers in every storage; columns in every encoding."""
    pytest.importorskip("anndata")
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csc_matrix, csr_matrix

    rng = np.random.default_rng(7)
    counts = rng.poisson(rng.lognormal(-1, 1.2, GENES), (CELLS, GENES)).astype(np.float32)
    counts[[3, 96]] = 0  # cells without counts, one of them the last
    counts[:, [0, 52]] = 0  # genes without counts
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(rng.choice(["T", "B cell", "NK"], CELLS)),
            "gated": pd.Categorical.from_codes(rng.integers(-1, 2, CELLS), categories=["yes", "ñé"]),
            "lane": pd.Categorical(rng.integers(1, 4, CELLS)),
            "donor": [f"donor {number % 5}" for number in range(CELLS)],
            "n_counts": counts.sum(1),
            "age": rng.integers(20, 90, CELLS),
            "doublet": rng.random(CELLS) < 0.1,
            "visits": pd.array(
                [None if number % 7 == 0 else number for number in range(CELLS)], dtype="Int32"
            ),
            "smoker": pd.array(
                [None if number % 5 == 0 else number % 2 == 0 for number in range(CELLS)], "boolean"
            ),
        },
        index=[f"cell-{number}" for number in range(CELLS)],
    )
    var = pd.DataFrame(
        {
            "gene_symbol": [f"SYM{number}" for number in range(2 * GENES)],
            "biotype": pd.Categorical(["protein_coding", "lncRNA"] * GENES),
            "length": np.arange(2 * GENES),
        },
        index=[f"ENSG{number:011d}.{number % 3}" for number in range(2 * GENES)],
    )
    adata = AnnData(csr_matrix(np.hstack([counts, counts + 1])), obs=obs, var=var)
    adata.raw = adata
    adata = adata[:, :GENES].copy()
    adata.layers["csc"] = csc_matrix(counts * 2)
    adata.layers["dense"] = counts * 3
    adata.layers["integer"] = csr_matrix(counts.astype(np.int64))
    adata.layers["double"] = csr_matrix(counts.astype(np.float64) / 3)
    return adata


@pytest.fixture(scope="session")
def whole() -> Callable[..., Any]:
    """Function that joins the blocks of a source to one CSR matrix and checks each block on the way."""

    def join(source: CellSource, rows: int = 20, start: int = 0, stop: int | None = None) -> Any:
        from scipy.sparse import csr_matrix, vstack

        place, parts = start, []
        for block in source.blocks(rows, start, stop):
            assert block.start == place
            assert 0 < len(block) <= rows
            assert block.indices.dtype == np.int32
            assert block.indptr.dtype == np.int64
            assert block.indptr[0] == 0
            assert block.indptr[-1] == len(block.data) == len(block.indices)
            parts.append(csr_matrix((block.data, block.indices, block.indptr), (len(block), block.n_genes)))
            place += len(block)
        return vstack(parts).tocsr() if parts else csr_matrix((0, source.n_genes))

    return join
