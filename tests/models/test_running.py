"""Hidden states and vectors of a core, whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from perturb import perturb, relative

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


def vectors_of(core: Transformer, tokens: Tokens, how: str, budget: int) -> torch.Tensor:
    vectors = torch.empty(len(tokens), 64)
    for rows in pack(tokens, budget):
        with torch.inference_mode():
            vectors[rows] = pooled(core, Batch.from_tokens(tokens, rows), -1, EmbedOptions(), how)
    return vectors


@pytest.mark.parametrize("how", ["cls", "last", "mean"])
@pytest.mark.parametrize("switches", [{"position": "rope"}, {"position": "learned", "block": "post"}])
def test_a_vector_is_the_same_to_rounding_in_any_batch(how: str, switches: dict[str, str]) -> None:
    """Kernels of matrix products are chosen by the number of rows, so the last bits may differ."""
    torch.manual_seed(0)
    core = perturb(Transformer(CoreConfig(**SIZES | switches))).eval()
    tokens = tokens_of(24)
    whole = vectors_of(core, tokens, how, 1 << 20)
    for budget in (1, 200):
        assert relative(vectors_of(core, tokens, how, budget), whole) < 2e-5
    # The same batches give the same bytes, and a batch mate that reached another document would be seen.
    assert torch.equal(vectors_of(core, tokens, how, 200), vectors_of(core, tokens, how, 200))
    other = Tokens(ids=(tokens.ids + 1) % 60, offsets=tokens.offsets, index=tokens.index)
    assert relative(vectors_of(core, other, how, 200), whole) > 1e-2


def test_empty_documents_have_a_vector_of_zeros() -> None:
    core = Transformer(CoreConfig(**SIZES)).eval()
    tokens = Tokens(ids=np.array([3, 4, 5], np.int32), offsets=np.array([0, 0, 2, 2, 3]), index=np.arange(4))
    for how in ("cls", "last", "mean"):
        with torch.inference_mode():
            found = pooled(core, Batch.from_tokens(tokens), -1, EmbedOptions(), how)
        assert found.any(dim=1).tolist() == [False, True, False, True]
