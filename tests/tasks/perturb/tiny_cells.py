"""Cells with planted counts and tiny token models of every kind, for tests of perturbation."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from biolm.adapters.cells import BinTokenizer, ContinuousTokenizer, RankTokenizer
from biolm.core import CoreConfig, Transformer
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.token_model import TokenCellModel
from biolm.vocab.genes import GeneVocabulary

GENES = tuple(f"gene{number}" for number in range(40))
CLS, EOS, FIRST = 1, 2, 3


def make_cells(cells: int = 30, seed: int = 0) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(np.linspace(3, 0.2, len(GENES)), (cells, len(GENES))).astype(np.float32)
    counts[:, 0] += 1
    obs = pd.DataFrame({"state": ["ill"] * (cells // 2) + ["well"] * (cells - cells // 2)})
    obs.index = [f"c{i}" for i in range(cells)]
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(GENES)))


def make_model(kind: str = "rank", *, max_length: int = 64, seed: int = 0) -> TokenCellModel:
    ids = np.arange(FIRST, FIRST + len(GENES), dtype=np.int32)
    if kind == "rank":
        tokenizer = RankTokenizer(
            token_ids=ids, medians=np.ones(len(GENES)), max_length=max_length, cls_id=CLS, eos_id=EOS
        )
        special, value = (1, 1), "none"
    elif kind == "bins":
        tokenizer = BinTokenizer(token_ids=ids, n_bins=9, max_length=max_length, cls_id=CLS)
        special, value = (1, 0), "continuous"
    else:
        tokenizer = ContinuousTokenizer(token_ids=ids, max_length=max_length, cls_id=CLS)
        special, value = (1, 0), "continuous"
    vocabulary = GeneVocabulary.of(GENES, kind="symbol", species=())
    preprocessor = CellPreprocessor(name="tiny", vocabulary=vocabulary, tokenizer=tokenizer, special=special)
    torch.manual_seed(seed)
    position = "learned" if kind == "rank" else "none"
    core = Transformer(
        CoreConfig(
            vocab_size=FIRST + len(GENES),
            d_model=16,
            n_layers=2,
            n_heads=2,
            d_ff=32,
            max_length=max_length,
            position=position,
            value_encoder=value,
        )
    )
    with torch.no_grad():
        for weight in core.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return TokenCellModel(preprocessor, core, pool="mean", hidden_state=-1, files=[])
