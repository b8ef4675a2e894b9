"""Stretching learned positions past the trained length."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from perturb import perturb

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer, extend_positions
from biolm.errors import ConfigError

CONFIG = CoreConfig(
    vocab_size=20, d_model=16, n_layers=2, n_heads=2, d_ff=24, max_length=9, position_offset=2, head="mlm"
)


@pytest.fixture
def model() -> Transformer:
    made = perturb(Transformer(CONFIG)).eval()
    assert isinstance(made, Transformer)
    return made


def _batch(length: int) -> Batch:
    return Batch.from_padded(torch.arange(length)[None] % 20)


def test_same_length_changes_nothing(model: Transformer) -> None:
    same = extend_positions(model, 9)
    assert torch.equal(same(_batch(9)).logits, model(_batch(9)).logits)
    assert all(torch.equal(*pair) for pair in zip(same.parameters(), model.parameters(), strict=True))
    # It is a copy: training it leaves the model alone.
    same.embeddings.position.weight.data += 1
    assert not torch.equal(same(_batch(9)).logits, model(_batch(9)).logits)


def test_positions_spread_evenly_between_the_ends(model: Transformer) -> None:
    old = model.embeddings.position.weight
    new = extend_positions(model, 17).embeddings.position.weight
    assert len(new) == 2 + 17
    assert torch.equal(new[:2], old[:2])  # rows before position 0
    assert torch.allclose(new[2::2], old[2:])  # 17 places over 9: every second is an old one
    assert torch.allclose(new[3::2], (old[2:-1] + old[3:]) / 2)


def test_kept_positions_stay(model: Transformer) -> None:
    longer = extend_positions(model, 23, keep=5)
    old, new = model.embeddings.position.weight, longer.embeddings.position.weight
    assert torch.equal(new[:7], old[:7])
    assert torch.allclose(new[7], old[7])
    assert torch.allclose(new[-1], old[-1])
    assert torch.equal(longer(_batch(5)).logits, model(_batch(5)).logits)


def test_longer_documents_are_read(model: Transformer) -> None:
    longer = extend_positions(model, 30)
    assert longer(_batch(30)).logits.isfinite().all()
    assert not longer.training
    assert longer.config == replace(CONFIG, max_length=30)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"max_length": 8}, "at least the trained 9"),
        ({}, {"max_length": 20, "keep": 8}, "keep must lie in 0..7"),
        ({"position": "rope"}, {"max_length": 20}, "rope_scaling"),
        ({"value_encoder": "patches", "n_values": 3}, {"max_length": 20}, "image patches"),
    ],
)
def test_impossible_wishes_are_named(change: dict, arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        extend_positions(Transformer(replace(CONFIG, **change)), **arguments)
