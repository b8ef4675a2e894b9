"""Attention profiles against a float64 re-derivation, uniform and one-hot attention, skipped tokens."""

from __future__ import annotations

import numpy as np
import torch
from perturb import perturb

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.analysis import attention_profile

CORE = CoreConfig(vocab_size=20, d_model=16, n_layers=3, n_heads=4, d_ff=24)
IDS = torch.randint(0, 20, (4, 9), generator=torch.Generator().manual_seed(0))
NAMES = ("entropy", "entropy_share", "mean_rank", "rank_share")
MASK = torch.arange(9) < torch.tensor([9, 2, 5, 1])[:, None]


def _model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(CORE)
    perturb(model)
    return model.eval()


def _by_hand(weights: np.ndarray) -> list[np.ndarray]:
    weights = weights / weights.sum(-1, keepdims=True)
    length = weights.shape[-1]
    entropy = -(weights * np.log(np.clip(weights, 1e-300, None))).sum(-1).mean(-1)
    rank = (weights * np.arange(length)).sum(-1).mean(-1)
    return [entropy, entropy / np.log(length), rank, rank / (length - 1)]


def test_equals_a_plain_computation_from_the_maps() -> None:
    model = _model()
    batch = Batch.from_padded(IDS, MASK)
    for skip in ((0, 0), (1, 1)):
        profile = attention_profile(model, batch, skip=skip)
        maps = model(batch, attentions=True).attentions
        for layer, documents in enumerate(maps):
            found = []
            for weights in documents:
                end = weights.shape[-1] - skip[1]
                inner = weights.detach().double().numpy()[:, skip[0] : end, skip[0] : end]
                if inner.shape[-1] > 1:
                    found.append(_by_hand(inner))
            wanted = np.mean(found, axis=0)
            for name, row in zip(
                ("entropy", "entropy_share", "mean_rank", "rank_share"), wanted, strict=True
            ):
                np.testing.assert_allclose(getattr(profile, name)[layer].numpy(), row, rtol=1e-4, atol=1e-6)
        assert profile.documents == (3 if skip == (0, 0) else 2)


def test_attention_to_all_alike_is_the_upper_end() -> None:
    model = _model()
    with torch.no_grad():
        for block in model.layers:
            block.attention.query.weight.zero_()
            block.attention.query.bias.zero_()
    profile = attention_profile(model, Batch.from_padded(IDS, MASK))
    assert torch.allclose(profile.entropy_share, torch.ones(3, 4), atol=1e-5)
    assert torch.allclose(profile.rank_share, torch.full((3, 4), 0.5), atol=1e-5)


def test_no_document_with_two_tokens() -> None:
    profile = attention_profile(_model(), Batch.from_padded(IDS[:1, :1]))
    assert profile.documents == 0
    assert not profile.entropy.any()
