"""Hidden states and vectors of a core, whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from perturb import perturb

from biolm.batch import Batch, Tokens, pack
from biolm.core import CoreConfig, Transformer
from biolm.models.model import EmbedOptions
from biolm.models.running import pooled

SIZES = {"vocab_size": 60, "d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 128, "head": "none"}


def tokens_of(n: int) -> Tokens:
    draws = np.random.default_rng(0)
    offsets = np.concatenate([[0], draws.integers(4, 90, n).cumsum()])
    ids = draws.integers(0, 60, offsets[-1]).astype(np.int32)
    return Tokens(ids=ids, offsets=offsets, index=np.arange(n))


@pytest.mark.parametrize("how", ["cls", "last", "mean"])
@pytest.mark.parametrize("switches", [{"position": "rope"}, {"position": "learned", "block": "post"}])
def test_a_vector_is_the_same_bytes_in_any_batch(how: str, switches: dict[str, str]) -> None:
    torch.manual_seed(0)
    core = perturb(Transformer(CoreConfig(**SIZES | switches))).eval()
    tokens = tokens_of(24)
    found = {}
    for budget in (1, 200, 1 << 20):
        vectors = torch.empty(len(tokens), 64)
        for rows in pack(tokens, budget):
            with torch.inference_mode():
                vectors[rows] = pooled(core, Batch.from_tokens(tokens, rows), -1, EmbedOptions(), how)
        found[budget] = vectors
    assert torch.equal(found[1], found[1 << 20])
    assert torch.equal(found[200], found[1 << 20])
