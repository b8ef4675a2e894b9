"""Masked values, and values from the cell's vector: plain float64 loops, and what masking promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packs import SIZES, make_core, pack_of

from biolm.batch import Batch
from biolm.core import CoreConfig
from biolm.errors import ConfigError, InputError
from biolm.objectives.base import Facts
from biolm.objectives.registry import make

SWITCHES = {"value_encoder": "continuous", "head": "value", "token_norm": True, "position": "none"}
FACTS = Facts(core=CoreConfig(**(SIZES | SWITCHES)), special_ids=(0, 1), classes={"batch": 2})


def cells_of(lengths: list[int], zeros: float = 0.3) -> Batch:
    generator = torch.Generator().manual_seed(sum(lengths))
    total = sum(lengths)
    values = torch.randint(1, 20, (total,), generator=generator).float()
    values[torch.rand(total, generator=generator) < zeros] = 0
    return pack_of(lengths, values=values)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    rate=st.floats(0, 1),
    epoch=st.integers(0, 3),
)
def test_exact_counts_and_names_that_stay(lengths: list[int], rate: float, epoch: int) -> None:
    batch = cells_of(lengths)
    prepared = make("masked_values", FACTS, {"rates": [rate]}).prepare(batch, batch.index, epoch, 0)
    assert torch.equal(prepared.batch.ids, batch.ids)
    hidden = prepared.batch.values == -1
    assert torch.equal(hidden.nonzero().flatten(), prepared.rows)
    assert torch.equal(prepared.targets, batch.values[prepared.rows])
    assert torch.equal(prepared.batch.values[~hidden], batch.values[~hidden])
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        allowed = sum(int(token) not in FACTS.special_ids for token in batch.ids[start:end])
        wanted = max(int(np.floor(rate * allowed + 0.5)), 1) if rate > 0 else 0
        assert int(hidden[start:end].sum()) == min(wanted, allowed)


def test_zeros_have_a_rate_of_their_own_and_hidden_values_may_be_swapped() -> None:
    batch = cells_of([600] * 40, zeros=0.5)
    settings = {"rates": [0.3], "zero_rates": [0.03], "mask_share": 0.8, "random_share": 0.1}
    prepared = make("masked_values", FACTS, settings).prepare(batch, batch.index, 0, 0)
    usual = ~torch.isin(batch.ids, torch.tensor(FACTS.special_ids))
    zero = batch.values == 0
    chosen = torch.zeros_like(zero)
    chosen[prepared.rows] = True
    for group, rate in ((zero, 0.03), (~zero, 0.3)):
        share = chosen[group & usual].double().mean().item()
        assert share == pytest.approx(rate, abs=0.004)
    became = prepared.batch.values[prepared.rows]
    assert (became == -1).double().mean().item() == pytest.approx(0.8, abs=0.02)
    same = (became == prepared.targets) & (became != -1)
    assert same.double().mean().item() == pytest.approx(0.1 + 0.1 * 0.06, abs=0.015)


def test_each_cell_draws_one_of_the_rates() -> None:
    batch = cells_of([100] * 600)
    prepared = make("masked_values", FACTS, {"rates": [0.25, 0.5, 0.75]}).prepare(batch, batch.index, 0, 0)
    usual = (~torch.isin(batch.ids, torch.tensor(FACTS.special_ids))).view(600, 100).sum(1)
    shares = (prepared.batch.values == -1).view(600, 100).sum(1) / usual
    rates, counts = shares.mul(4).round().div(4).unique(return_counts=True)
    assert rates.tolist() == [0.25, 0.5, 0.75]
    assert counts.tolist() == pytest.approx([200, 200, 200], abs=45)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("nonzero_only", [False, True])
def test_loss_by_hand(loss: str, nonzero_only: bool) -> None:
    core, batch = make_core(**SWITCHES), cells_of([7, 15, 2])
    objective = make("masked_values", FACTS, {"loss": loss, "nonzero_only": nonzero_only, "rates": [0.6]})
    prepared = objective.prepare(batch, batch.index, 0, 2)
    found, metrics = objective.loss(core, prepared)
    predicted = core(prepared.batch).logits.detach().double().numpy()
    parts = []
    for row in prepared.rows.tolist():
        truth = float(batch.values[row])
        if nonzero_only and truth == 0:
            continue
        error = abs(predicted[row] - truth)
        parts.append(
            {"mse": error**2, "mae": error, "huber": error**2 / 2 if error < 1 else error - 0.5}[loss]
        )
    assert found.item() == pytest.approx(np.mean(parts), rel=1e-5)
    assert metrics["loss"].tolist() == pytest.approx([np.sum(parts), len(parts)], rel=1e-5)
    assert nonzero_only == (metrics["loss"][1].item() < len(prepared.rows))


def test_zero_probability_by_hand() -> None:
    core, batch = make_core(**SWITCHES), cells_of([7, 15, 2])
    settings = {"zero_probability": True, "zero_weight": 0.5, "condition": "batch"}
    objective = make("masked_values", FACTS, settings)
    prepared = objective.prepare(batch, batch.index, 0, 2, {"batch": torch.tensor([1, 0, -100])})
    loss, metrics = objective.loss(core, prepared)
    states = core(prepared.batch).last_hidden_state[prepared.rows]
    cell = torch.repeat_interleave(torch.arange(3), batch.lengths.long())[prepared.rows]
    known = objective.condition.norm(objective.condition.embedding(torch.tensor([1, 0])))
    condition = torch.cat((known, torch.zeros(1, 16)))[cell]
    value, logit = (part.detach().double().numpy() for part in objective.head(states, condition))
    truth = prepared.targets.double().numpy()
    mse = np.mean((value - truth) ** 2)
    expressed = 1 / (1 + np.exp(-logit))
    zero = -np.mean(np.where(truth > 0, np.log(expressed), np.log(1 - expressed)))
    assert loss.item() == pytest.approx(mse + 0.5 * zero, rel=1e-4)
    right = np.sum((logit > 0) == (truth > 0))
    assert metrics["zero_accuracy"].tolist() == [right, len(truth)]


def test_bins_as_classes() -> None:
    facts = dataclasses.replace(
        FACTS, core=CoreConfig(**SIZES, value_encoder="bins", n_values=22, position="none")
    )
    core, batch = make_core(value_encoder="bins", n_values=22, position="none"), cells_of([7, 15, 2])
    batch = dataclasses.replace(batch, values=batch.values.int())
    objective = make("masked_values", facts, {"loss": "cross_entropy", "bins": 20, "mask_value": 21})
    prepared = objective.prepare(batch, batch.index, 0, 0)
    assert prepared.batch.values.dtype == torch.int32
    loss, _ = objective.loss(core, prepared)
    logits = objective.head(core(prepared.batch).last_hidden_state[prepared.rows]).detach().double()
    rows = torch.arange(len(logits))
    wanted = (logits.logsumexp(1) - logits[rows, prepared.targets.long()]).mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    with pytest.raises(ConfigError, match=r"a bin in 0\.\.21"):
        make("masked_values", facts, {"loss": "cross_entropy", "bins": 20})


@pytest.mark.parametrize("every_token", [False, True])
def test_values_from_the_cell_vector_by_hand(every_token: bool) -> None:
    core, batch = make_core(**SWITCHES), cells_of([7, 15, 2])
    masked = make("masked_values", FACTS, {"rates": [0.5]})
    objective = make("gene_query", FACTS, {"every_token": every_token, "pool": "mean"})
    prepared = masked.prepare(batch, batch.index, 0, 0)
    loss, metrics = objective.loss(core, prepared)
    states = core(prepared.batch).last_hidden_state.detach().double()
    head = objective.head
    errors = []
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        usual = [row for row in range(start, end) if int(batch.ids[row]) not in FACTS.special_ids]
        cell = states[usual].mean(0)
        for row in usual:
            if not every_token and row not in prepared.rows.tolist():
                continue
            gene = core.embeddings.token_norm(core.embeddings.token(batch.ids[row]))
            query = torch.sigmoid(head.query(gene)).double()
            found = (head.map.weight.double() @ query) @ cell
            errors.append((found.item() - float(batch.values[row])) ** 2)
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-4)
    assert metrics["loss"][1].item() == len(errors)


@pytest.mark.parametrize("every_token", [False, True])
@pytest.mark.parametrize("ride", [False, True])
def test_the_mean_of_each_gene_is_of_the_tokens_that_are_asked_for(every_token: bool, ride: bool) -> None:
    batch = cells_of([20, 15])
    parts = {"masked_values": {"rates": [0.4]}} if ride else {}
    parts["gene_query"] = {"every_token": every_token, "nonzero_only": True}
    objective = make("weighted", FACTS, {"parts": parts})
    prepared = objective.prepare(batch, batch.index, 0, 0)
    baseline = objective.baseline()
    baseline.update(prepared)
    count = baseline.report(prepared)["gene_query/gene_mean"][1].item()
    assert count == objective.counts(prepared)["gene_query/loss"] > 0


def test_settings_from_yaml_are_read_by_their_types() -> None:
    assert make("masked_values", FACTS, {"rates": ["1e-1"], "mask_value": 2}).settings.rates == (0.1,)
    assert make("masked_values", FACTS, {"rates": 0.3}).settings.rates == (0.3,)
    for settings, message in (
        ({"rates": ["some"]}, "rates must be a number"),
        ({"rates": {"a": 1}}, "rates must be a number"),
        ({"exact": 1}, "exact must be true or false"),
        ({"zero_weight": -1.0}, "zero_weight must be at least 0"),
        ({"loss": 3}, "loss must be text"),
    ):
        with pytest.raises(ConfigError, match=message):
            make("masked_values", FACTS, settings)


def test_what_cannot_be() -> None:
    plain = Facts(core=CoreConfig(**SIZES))
    with pytest.raises(ConfigError, match="reads values"):
        make("masked_values", plain)
    with pytest.raises(InputError, match="tokens with values"):
        make("masked_values", FACTS).prepare(pack_of([3]), torch.tensor([0]), 0, 0)
    with pytest.raises(ConfigError, match="at least one share"):
        make("masked_values", FACTS, {"rates": []})
    with pytest.raises(ConfigError, match="bins of at least 2"):
        make("masked_values", FACTS, {"loss": "cross_entropy"})
    with pytest.raises(ConfigError, match="loss must be one of"):
        make("masked_values", FACTS, {"loss": "mean"})
    with pytest.raises(ConfigError, match="no classes for the label column 'donor'"):
        make("masked_values", FACTS, {"condition": "donor"})
