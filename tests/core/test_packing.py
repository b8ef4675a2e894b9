"""However documents are packed, each gives what it gives alone; padding goes in and comes out unchanged."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from perturb import perturb

from biolm.batch import Batch, Tokens, pack
from biolm.core import CoreConfig, Transformer, pool

KINDS = {
    "rope": {"position": "rope"},
    "alibi": {"position": "alibi"},
    "window": {"position": "rope", "window": 2, "causal": True},
    "post": {"block": "post", "embed_norm": True},
}


def _model(kind: str) -> Transformer:
    torch.manual_seed(0)
    config = CoreConfig(vocab_size=20, d_model=16, n_layers=2, n_heads=2, d_ff=24, **KINDS[kind])  # type: ignore[arg-type]
    perturb(model := Transformer(config))
    return model.eval()


MODELS = {kind: _model(kind) for kind in KINDS}


def _tokens(lengths: list[int], seed: int) -> Tokens:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.random.default_rng(seed).integers(0, 20, offsets[-1]).astype(np.int32)
    return Tokens(ids=ids, offsets=offsets, index=np.arange(len(lengths)))


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=7),
    seed=st.integers(0, 2**16),
    budget=st.integers(1, 40),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_packed_is_one_by_one(lengths: list[int], seed: int, budget: int, kind: str) -> None:
    model, tokens = MODELS[kind], _tokens(lengths, seed)
    found = np.full((len(lengths), 16), np.nan, np.float32)
    seen = []
    with torch.inference_mode():
        for rows in pack(tokens, budget):
            batch = Batch.from_tokens(tokens, rows)
            assert len(batch) == 1 or len(batch.ids) <= budget
            found[rows] = pool(model(batch).last_hidden_state, batch.offsets, "mean").numpy()
            seen.extend(rows.tolist())
        assert sorted(seen) == list(range(len(lengths)))
        for row in range(len(lengths)):
            alone = Batch.from_tokens(tokens, [row])
            wanted = pool(model(alone).last_hidden_state, alone.offsets, "mean").numpy()
            np.testing.assert_allclose(found[row], wanted[0], atol=2e-5)
    assert np.isfinite(found).all()


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5), left=st.booleans())
def test_padding_goes_in_and_comes_out(lengths: list[int], left: bool) -> None:
    width = max(*lengths, 1)
    ids = torch.arange(len(lengths) * width).view(len(lengths), width) + 1
    places = torch.arange(width).flip(0) if left else torch.arange(width)
    mask = places < torch.tensor(lengths)[:, None]
    batch = Batch.from_padded(ids, mask)
    assert batch.lengths.tolist() == lengths
    assert torch.equal(batch.pad(batch.ids), ids * mask)
    for row, length in enumerate(lengths):
        start = int(batch.offsets[row])
        assert batch.positions[start : start + length].tolist() == list(range(length))
