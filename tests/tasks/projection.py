"""A small model of cells for tests of the tasks: a fixed random projection of the counts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.io.cells import CellBlock
from biolm.models.model import CellModel, EmbedOptions
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

GENES = tuple(f"gene{number}" for number in range(40))


def make_cells(cells: int = 100, genes: int = 40, seed: int = 0) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    counts = sp.csr_matrix(rng.poisson(0.6, (cells, genes)).astype(np.float32))
    obs = pd.DataFrame(
        {"label": pd.Categorical(rng.choice(["a", "b"], cells))}, index=[f"c{i}" for i in range(cells)]
    )
    adata = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"gene{g}" for g in range(genes)]))
    adata.obsm["X_pca"] = rng.standard_normal((cells, 3)).astype(np.float32)
    adata.uns["title"] = "cells"
    return adata


@dataclass(eq=False)
class Projection(CellModel):
    """``vector = counts @ weights``; ``delay`` seconds a block make it slow, ``broken`` cells give NaN."""

    delay: float = 0.0
    broken: int = -1
    name: str = "projection"
    wants_counts: bool = True
    width: int = 6
    pools: tuple[str, ...] = ("sum", "half")
    block_rows: int = 16

    def __post_init__(self) -> None:
        self.vocabulary = GeneVocabulary.of(GENES, kind="symbol")
        self.weights = np.random.default_rng(5).standard_normal((len(GENES), self.width)).astype(np.float32)

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        time.sleep(self.delay)
        out = np.zeros((len(block), self.width), np.float32)
        for row in range(len(block)):
            span = slice(block.indptr[row], block.indptr[row + 1])
            target = match.target[block.indices[span]]
            values = block.data[span][target >= 0].astype(np.float32)
            # An added constant shows that cells without counts are set to zero by the task.
            out[row] = values @ self.weights[target[target >= 0]] + 1
            if block.start + row == self.broken:
                out[row] = np.nan
        return out / 2 if options.pool == "half" else out

    def describe(self) -> dict[str, Any]:
        return {"kind": "projection", "checkpoint_sha256": "0" * 64, "width": self.width}

    def tokenize(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        known = match.target[block.indices] >= 0
        offsets = np.concatenate([[0], np.cumsum(known)])[block.indptr]
        return Tokens(
            ids=match.target[block.indices[known]],
            offsets=offsets,
            index=np.arange(block.start, block.start + len(block)),
        )
