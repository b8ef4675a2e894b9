"""A tiny rank model of forty genes, and cells of them."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from biolm.adapters.cells import RankTokenizer
from biolm.core import CoreConfig, Transformer
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.token_model import TokenCellModel
from biolm.vocab.genes import GeneVocabulary

GENES = tuple(f"gene{number}" for number in range(40))


def make_model() -> TokenCellModel:
    tokenizer = RankTokenizer(
        token_ids=np.arange(2, 42, dtype=np.int32), medians=np.ones(40), max_length=64, cls_id=1
    )
    vocabulary = GeneVocabulary.of(GENES, kind="symbol", species=())
    preprocessor = CellPreprocessor(name="tiny", vocabulary=vocabulary, tokenizer=tokenizer, special=(1, 0))
    torch.manual_seed(0)
    config = CoreConfig(
        vocab_size=42, d_model=16, n_layers=2, n_heads=2, d_ff=32, max_length=64, position="learned"
    )
    core = Transformer(config)
    with torch.no_grad():
        for weight in core.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return TokenCellModel(preprocessor, core, pool="mean", hidden_state=-1, files=[])


def make_cells(cells: int = 30) -> anndata.AnnData:
    counts = np.random.default_rng(2).poisson(0.7, (cells, 40)).astype(np.float32)
    counts[:, 0] += 1
    counts[:, 39] = 0
    obs = pd.DataFrame({"type": ["a", "b", ""] * (cells // 3)}, index=[f"c{i}" for i in range(cells)])
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(GENES)))
