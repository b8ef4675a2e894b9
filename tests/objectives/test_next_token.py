"""Next token: a float64 re-derivation document by document, both directions, and what is refused."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packs import METADATA, SIZES, make_core, pack_of

from biolm.core import CoreConfig
from biolm.errors import ConfigError
from biolm.objectives.base import Metadata
from biolm.objectives.next_token import NextToken, NextTokenSettings
from biolm.objectives.registry import make

CAUSAL = Metadata(core=CoreConfig(**SIZES, head="linear", causal=True), special_ids=(0, 1, 2, 3))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_document_by_document(smoothing: float) -> None:
    core = make_core(head="linear", causal=True)
    batch = pack_of([1, 6, 13, 2])
    objective = NextToken(CAUSAL, NextTokenSettings(label_smoothing=smoothing))
    loss, metrics = objective.loss(core, objective.prepare(batch, batch.index, 0, 0))
    total, count = 0.0, 0
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        ids = batch.ids[start:end]
        # Alone, one token at a time: nothing of the other documents nor of the future can leak.
        for place in range(1, len(ids)):
            logits = core(pack_of([place], ids[:place])).logits[-1].detach().double().numpy()
            high = logits.max()
            log = logits - high - np.log(np.exp(logits - high).sum())
            total -= (1 - smoothing) * log[int(ids[place])] + smoothing * log.mean()
            count += 1
    assert metrics["loss"][1].item() == count == 5 + 12 + 1
    assert loss.item() == pytest.approx(total / count, rel=1e-5)


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_targets_follow_their_token(lengths: list[int], share: float) -> None:
    batch = pack_of(lengths)
    batch = dataclasses.replace(batch, values=batch.ids * 10.0, segments=batch.ids % 2)
    prepared = make("next_token", CAUSAL, {"reverse_share": share}).prepare(batch, batch.index, 0, 0)
    pairs = []
    for i, (start, end) in enumerate(zip(batch.offsets[:-1], batch.offsets[1:], strict=True)):
        ids = batch.ids[start:end].tolist()
        read = prepared.batch.ids[start:end].tolist()
        assert read == ids or (share > 0 and read == ids[::-1]), i
        assert read == ids[::-1] or share < 1
        pairs += list(pairwise(read))
    asked = prepared.batch.ids[prepared.rows].tolist()
    assert list(zip(asked, prepared.targets.tolist(), strict=True)) == pairs
    # Values and segments go with their tokens.
    assert torch.equal(prepared.batch.values, prepared.batch.ids * 10.0)
    assert torch.equal(prepared.batch.segments, prepared.batch.ids % 2)


def test_half_of_many_examples_are_reversed_and_it_depends_on_the_key_alone() -> None:
    batch = pack_of([3] * 1000, torch.tensor([4, 5, 6]).repeat(1000))
    objective = make("next_token", CAUSAL, {"reverse_share": 0.5})
    first = objective.prepare(batch, batch.index, 0, 0).batch.ids[::3]
    assert (first == 6).double().mean().item() == pytest.approx(0.5, abs=0.05)
    again = objective.prepare(batch, batch.index.flip(0), 0, 0).batch.ids[::3]
    assert torch.equal(again.flip(0), first)


def test_special_tokens_are_skipped_when_asked() -> None:
    batch = pack_of([4, 3], torch.tensor([4, 0, 5, 1, 6, 7, 2]))
    objective = make("next_token", CAUSAL, {"skip_special": True})
    assert objective.prepare(batch, batch.index, 0, 0).targets.tolist() == [5, 7]


def test_a_core_that_sees_the_future_is_refused() -> None:
    with pytest.raises(ConfigError, match="causal=true"):
        make("next_token", METADATA)
