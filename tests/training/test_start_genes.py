from __future__ import annotations

import numpy as np
import pytest
import torch

from biolm.adapters.cells import RankTokenizer
from biolm.core import CoreConfig, Transformer
from biolm.errors import ConfigError, GeneMatchError
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.genetext import load
from biolm.training.data.vocabulary import Vocabulary
from biolm.training.run.initialise import initialise, start_genes
from biolm.vocab.genes import GeneVocabulary


def of_genes(genes):
    ids = np.arange(2, 2 + len(genes), dtype=np.int32)
    tokenizer = RankTokenizer(token_ids=ids, medians=np.ones(len(genes)), max_length=64)
    preprocessor = CellPreprocessor(name="x", vocabulary=GeneVocabulary.of(genes), tokenizer=tokenizer)
    tokens = {"<pad>": 0, "<mask>": 1} | {gene: int(token) for gene, token in zip(genes, ids, strict=True)}
    return Vocabulary.of_genes(preprocessor, tokens)


def core_of(size, width):
    torch.manual_seed(0)
    core = Transformer(CoreConfig(vocab_size=size, d_model=width, n_layers=1, n_heads=2, d_ff=8))
    initialise(core)
    return core


@pytest.mark.parametrize("width", [16, 48, 64])
def test_genes_keep_their_distances(width):
    table = load()
    genes = [*table.vocabulary.genes[100:160], "ENSG09999999999"]
    core = core_of(63, width)
    before = core.embeddings.token.weight.detach().clone()
    assert start_genes(core, of_genes(genes), "genetext") == 60
    after = core.embeddings.token.weight.detach()
    assert torch.equal(after[[0, 1, 62]], before[[0, 1, 62]])
    made = after[2:62].double()
    assert made.square().mean().sqrt().item() == pytest.approx(0.02, rel=1e-4)
    given = torch.from_numpy(table.vectors[100:160]).double()
    given -= given.mean(0)
    if width < 48:
        # What is left is the best that so few axes can hold (Eckart and Young).
        u, s, _ = torch.linalg.svd(given, full_matrices=False)
        given = u[:, :width] * s[:width]
    ratio = torch.cdist(made, made) / torch.cdist(given, given).clamp(min=1e-9)
    ratio = ratio[~torch.eye(60, dtype=bool)]
    assert ratio.std() / ratio.mean() < 1e-5


def test_what_has_no_vectors_is_refused():
    core = core_of(63, 16)
    genes = of_genes([f"NOGENE{number}" for number in range(61)])
    with pytest.raises(GeneMatchError):
        start_genes(core, genes, "genetext")
    with pytest.raises(ConfigError, match="gene tokens"):
        start_genes(core, Vocabulary.of_genes(None, {}), "genetext")
    with pytest.raises(ConfigError, match="no model or folder"):
        start_genes(core, genes, "genetex")
