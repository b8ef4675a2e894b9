"""Permutation language modelling: orders, what is asked, leaks, gradients; and lower-case weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.two_stream import Streams, two_stream_logits
from biolm.errors import ConfigError
from biolm.objectives.base import Metadata
from biolm.objectives.next_token import NextToken, NextTokenSettings
from biolm.objectives.permuted_tokens import PermutedTokens, PermutedTokensSettings
from biolm.objectives.registry import make_all

SIZES: dict[str, Any] = {
    "vocab_size": 30, "d_model": 8, "n_layers": 2, "n_heads": 2, "d_ff": 8, "position": "none",
    "head": "linear",
}  # fmt: skip
LENGTHS = (13, 1, 7, 2, 25)


def _objective(one_in: float = 6.0) -> tuple[Transformer, PermutedTokens]:
    torch.manual_seed(0)
    core = Transformer(CoreConfig(**SIZES, mixer="two_stream")).eval()
    settings = PermutedTokensSettings(one_in=one_in)
    return core, PermutedTokens(Metadata(core=core.config, special_ids=(0, 1)), settings)


def _batch() -> Batch:
    ids = torch.randint(2, 30, (5, 25), generator=torch.Generator().manual_seed(3))
    ids[:, 0] = 0
    return Batch.from_padded(ids, torch.arange(25) < torch.tensor(LENGTHS)[:, None])


@pytest.mark.parametrize("one_in", [1.0, 2.0, 6.0])
def test_the_end_of_the_order_is_asked(one_in: float) -> None:
    _, objective = _objective(one_in)
    batch = _batch()
    prepared = objective.prepare(batch, torch.arange(5), epoch=0, seed=0)
    orders = prepared.extra["order"].split(LENGTHS)
    rows = prepared.rows
    assert rows is not None
    starts = batch.offsets[:-1].tolist()
    for start, length, order in zip(starts, LENGTHS, orders, strict=True):
        assert sorted(order.tolist()) == list(range(length))
        assert int(order[0]) == 0  # the special token comes first
        asked = [row - start for row in rows.tolist() if start <= row < start + length]
        wanted = min(-(-(length - 1) // 1) if one_in == 1 else int(-(-(length - 1) // one_in)), length - 1)
        assert len(asked) == wanted
        assert sorted(int(order[place]) for place in asked) == list(range(length - wanted, length))
    assert torch.equal(prepared.targets, batch.ids[rows])
    again = objective.prepare(batch, torch.arange(5), epoch=0, seed=0)
    other = objective.prepare(batch, torch.arange(5), epoch=1, seed=0)
    assert torch.equal(again.extra["order"], prepared.extra["order"])
    assert not torch.equal(other.extra["order"], prepared.extra["order"])


def test_an_order_belongs_to_its_example() -> None:
    _, objective = _objective()
    batch = _batch()
    whole = objective.prepare(batch, torch.arange(5), epoch=0, seed=0).extra["order"].split(LENGTHS)
    alone = Batch.from_padded(batch.ids[-25:][None])
    found = objective.prepare(alone, torch.tensor([4]), epoch=0, seed=0).extra["order"]
    assert torch.equal(found, whole[4])


def test_the_loss_is_that_of_the_streams() -> None:
    core, objective = _objective()
    batch = _batch()
    prepared = objective.prepare(batch, torch.arange(5), epoch=0, seed=0)
    loss, report = objective.loss(core, prepared)
    rows = prepared.rows
    assert rows is not None
    starts = batch.offsets[:-1].tolist()
    targets = [
        torch.tensor([r - start for r in rows.tolist() if start <= r < start + length], dtype=torch.long)
        for start, length in zip(starts, LENGTHS, strict=True)
    ]
    streams = Streams.by_order(prepared.extra["order"].split(LENGTHS), targets)
    wanted = F.cross_entropy(two_stream_logits(core, batch, streams), prepared.targets)
    assert torch.allclose(loss, wanted)
    assert int(report["loss"][1]) == len(rows) == int(objective.counts(prepared)["loss"])
    objective.loss(core.train(), prepared)[0].backward()
    assert all(parameter.grad is not None for parameter in core.parameters())


def test_in_a_sum_with_others() -> None:
    core, _ = _objective()
    facts = Metadata(core=core.config, special_ids=(0, 1), mask_id=1)
    both = make_all({"permuted_tokens": {"weight": 1}, "masked_tokens": {"weight": 0.5}}, facts)
    prepared = both.prepare(_batch(), torch.arange(5), epoch=0, seed=0)
    loss, report = both.loss(core, prepared)
    assert torch.isfinite(loss)
    assert len(report) >= 2


def test_cores_without_two_streams_are_refused() -> None:
    core = CoreConfig(**SIZES)
    with pytest.raises(ConfigError, match="mixer 'two_stream'"):
        PermutedTokens(Metadata(core=core), PermutedTokensSettings())
    with pytest.raises(ConfigError, match="one_in must be at least 1"):
        PermutedTokensSettings(one_in=0.5)


def test_lower_case_targets_weigh_less_and_all_are_read_in_upper_case() -> None:
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": 512}
    core = Transformer(CoreConfig(**sizes, causal=True, mixer="hyena_short")).eval()
    text = torch.tensor([list(b"ACGtgcaTTN"), list(b"aacgTACGTn")])
    batch = Batch.from_padded(text)
    objective = NextToken(Metadata(core=core.config), NextTokenSettings(lowercase_weight=0.1))
    prepared = objective.prepare(batch, torch.arange(2), epoch=0, seed=0)
    upper = Batch.from_padded(torch.tensor([list(b"ACGTGCATTN"), list(b"AACGTACGTN")]))
    assert torch.equal(prepared.batch.ids, upper.ids)
    assert torch.equal(prepared.original.ids, batch.ids)
    logits = core(upper).logits.view(2, 10, -1)[:, :-1].flatten(0, 1)
    targets = upper.ids.view(2, 10)[:, 1:].flatten()
    weights = torch.where(text[:, 1:].flatten() >= 97, 0.1, 1.0)
    losses = F.cross_entropy(logits, targets, reduction="none")
    loss, report = objective.loss(core, prepared)
    assert torch.allclose(loss, (losses * weights).sum() / weights.sum(), atol=1e-6)
    assert float(report["loss"][1]) == pytest.approx(float(weights.sum()))
    assert objective.counts(prepared)["loss"] == pytest.approx(float(weights.sum()))
    plain = NextToken(Metadata(core=core.config), NextTokenSettings())
    kept = plain.prepare(batch, torch.arange(2), epoch=0, seed=0)
    assert torch.equal(kept.batch.ids, batch.ids)
