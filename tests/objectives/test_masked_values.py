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
from biolm.objectives.base import Metadata
from biolm.objectives.registry import make

SWITCHES = {"value_encoder": "continuous", "head": "value", "embedder": "normed_values", "position": "none"}
METADATA = Metadata(core=CoreConfig(**(SIZES | SWITCHES)), special_ids=(0, 1), classes={"batch": 2})


def cells_of(lengths: list[int], zeros: float = 0.3) -> Batch:
    generator = torch.Generator().manual_seed(sum(lengths))
    total = sum(lengths)
    values = torch.randint(1, 20, (total,), generator=generator).float()
    values[torch.rand(total, generator=generator) < zeros] = 0
    return pack_of(lengths, values=values)


def loss_of(error: float, kind: str) -> float:
    """Loss of one value."""
    error = abs(error)
    return {"mse": error**2, "mae": error, "huber": error**2 / 2 if error < 1 else error - 0.5}[kind]


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    rate=st.floats(0, 1),
    epoch=st.integers(0, 3),
)
def test_exact_counts_and_names_that_stay(lengths: list[int], rate: float, epoch: int) -> None:
    batch = cells_of(lengths)
    prepared = make("masked_values", METADATA, {"rates": [rate]}).prepare(batch, batch.index, epoch, 0)
    assert torch.equal(prepared.batch.ids, batch.ids)
    hidden = prepared.batch.values == -1
    assert torch.equal(hidden.nonzero().flatten(), prepared.rows)
    assert torch.equal(prepared.targets, batch.values[prepared.rows])
    assert torch.equal(prepared.batch.values[~hidden], batch.values[~hidden])
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        allowed = sum(int(token) not in METADATA.special_ids for token in batch.ids[start:end])
        wanted = max(int(np.floor(rate * allowed + 0.5)), 1) if rate > 0 else 0
        assert int(hidden[start:end].sum()) == min(wanted, allowed)


def test_zeros_have_a_rate_of_their_own_and_hidden_values_may_be_swapped() -> None:
    batch = cells_of([600] * 40, zeros=0.5)
    settings = {"rates": [0.3], "zero_rates": [0.03], "mask_share": 0.8, "random_share": 0.1}
    prepared = make("masked_values", METADATA, settings).prepare(batch, batch.index, 0, 0)
    usual = ~torch.isin(batch.ids, torch.tensor(METADATA.special_ids))
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


def test_swapped_values_are_those_of_all_genes_of_the_cell() -> None:
    lengths = [1, 300, 20, 400]
    batch = pack_of(lengths)
    cell = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
    special = torch.isin(batch.ids, torch.tensor(METADATA.special_ids))
    # Each value tells the cell and the place it is from.
    batch = dataclasses.replace(batch, values=(1000 * cell + batch.positions).float())
    settings = {"rates": [1.0], "mask_share": 0.0, "random_share": 1.0}
    prepared = make("masked_values", METADATA, settings).prepare(batch, batch.index, 0, 0)
    became = prepared.batch.values[prepared.rows].long()
    source = torch.tensor([0, 1, 301, 321])[became // 1000] + became % 1000
    assert torch.equal(cell[source], cell[prepared.rows])
    assert not special[source].any()
    # Drawn one by one, 1 - 1/e of a cell's values are drawn at least once.
    assert len(source.unique()) / len(source) == pytest.approx(0.632, abs=0.06)
    assert (source != prepared.rows).double().mean() > 0.9


def test_each_cell_draws_one_of_the_rates() -> None:
    batch = cells_of([100] * 600)
    prepared = make("masked_values", METADATA, {"rates": [0.25, 0.5, 0.75]}).prepare(batch, batch.index, 0, 0)
    usual = (~torch.isin(batch.ids, torch.tensor(METADATA.special_ids))).view(600, 100).sum(1)
    shares = (prepared.batch.values == -1).view(600, 100).sum(1) / usual
    rates, counts = shares.mul(4).round().div(4).unique(return_counts=True)
    assert rates.tolist() == [0.25, 0.5, 0.75]
    assert counts.tolist() == pytest.approx([200, 200, 200], abs=45)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("nonzero_only", [False, True])
def test_loss_by_hand(loss: str, nonzero_only: bool) -> None:
    core, batch = make_core(**SWITCHES), cells_of([7, 15, 2])
    objective = make("masked_values", METADATA, {"loss": loss, "nonzero_only": nonzero_only, "rates": [0.6]})
    prepared = objective.prepare(batch, batch.index, 0, 2)
    found, metrics = objective.loss(core, prepared)
    predicted = core(prepared.batch).logits.detach().double().numpy()
    parts = []
    for row in prepared.rows.tolist():
        truth = float(batch.values[row])
        if nonzero_only and truth == 0:
            continue
        parts.append(loss_of(predicted[row] - truth, loss))
    assert found.item() == pytest.approx(np.mean(parts), rel=1e-5)
    assert metrics["loss"].tolist() == pytest.approx([np.sum(parts), len(parts)], rel=1e-5)
    assert nonzero_only == (metrics["loss"][1].item() < len(prepared.rows))


def test_zero_probability_by_hand() -> None:
    core, batch = make_core(**SWITCHES), cells_of([7, 15, 2])
    settings = {"zero_probability": True, "zero_weight": 0.5, "condition": "batch"}
    objective = make("masked_values", METADATA, settings)
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


@pytest.mark.parametrize("condition", [None, "batch"])
def test_bins_as_classes(condition: str | None) -> None:
    facts = dataclasses.replace(
        METADATA, core=CoreConfig(**SIZES, value_encoder="bins", n_values=22, position="none")
    )
    core, batch = make_core(value_encoder="bins", n_values=22, position="none"), cells_of([7, 15, 2])
    batch = dataclasses.replace(batch, values=batch.values.int())
    settings = {"loss": "cross_entropy", "bins": 20, "mask_value": 21, "condition": condition}
    objective = make("masked_values", facts, settings)
    prepared = objective.prepare(batch, batch.index, 0, 0, {"batch": torch.tensor([1, 0, 1])})
    assert prepared.batch.values.dtype == torch.int32
    loss, _ = objective.loss(core, prepared)
    states = core(prepared.batch).last_hidden_state[prepared.rows]
    if condition is not None:
        cells = objective.condition.norm(objective.condition.embedding(torch.tensor([1, 0, 1])))
        states = torch.cat((states, torch.repeat_interleave(cells, batch.lengths, 0)[prepared.rows]), 1)
    logits = objective.head(states).detach().double()
    rows = torch.arange(len(logits))
    wanted = (logits.logsumexp(1) - logits[rows, prepared.targets.long()]).mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    with pytest.raises(ConfigError, match=r"a bin in 0\.\.21"):
        make("masked_values", facts, {"loss": "cross_entropy", "bins": 20})


# Settings that every loss of values has, of masked values, gene queries and whole cells.
WAYS = [
    {"loss": "mae", "nonzero_only": True},
    {"loss": "huber", "zero_probability": True, "zero_weight": 0.3},
    {"zero_probability": True, "nonzero_only": True},
]


@pytest.mark.parametrize("settings", [{}, {"every_token": True}, *WAYS])
def test_values_from_the_cell_vector_by_hand(settings: dict[str, object]) -> None:
    core, batch = make_core(**SWITCHES), cells_of([7, 15, 2])
    masked = make("masked_values", METADATA, {"rates": [0.5]})
    objective = make("gene_query", METADATA, settings | {"pool": "mean"})
    s = objective.settings
    prepared = masked.prepare(batch, batch.index, 0, 0)
    loss, metrics = objective.loss(core, prepared)
    states = core(prepared.batch).last_hidden_state.detach().double()
    head = objective.head
    losses, zeros = [], []
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        usual = [row for row in range(start, end) if int(batch.ids[row]) not in METADATA.special_ids]
        cell = states[usual].mean(0)
        for row in usual:
            if not s.every_token and row not in prepared.rows.tolist():
                continue
            gene = core.embeddings.token_norm(core.embeddings.token(batch.ids[row]))
            query = torch.sigmoid(head.query(gene)).double()
            found, truth = ((head.map.weight.double() @ query) @ cell).item(), float(batch.values[row])
            if truth or not s.nonzero_only:
                losses.append(loss_of(found - truth, s.loss))
            if s.zero_probability:
                logit = (head.nonzero(query.float()).double() @ cell).item()
                zeros.append(np.logaddexp(0, -logit if truth > 0 else logit))
    wanted = np.mean(losses) + (s.zero_weight * np.mean(zeros) if zeros else 0)
    assert loss.item() == pytest.approx(wanted, rel=1e-4)
    assert metrics["loss"][1].item() == len(losses)


@pytest.mark.parametrize("every_token", [False, True])
@pytest.mark.parametrize("ride", [False, True])
def test_the_mean_of_each_gene_is_of_the_tokens_that_are_asked_for(every_token: bool, ride: bool) -> None:
    batch = cells_of([20, 15])
    parts = {"masked_values": {"rates": [0.4]}} if ride else {}
    parts["gene_query"] = {"every_token": every_token, "nonzero_only": True}
    objective = make("weighted", METADATA, {"parts": parts})
    prepared = objective.prepare(batch, batch.index, 0, 0)
    baseline = objective.baseline()
    baseline.update(prepared)
    count = baseline.report(prepared)["gene_query/gene_mean"][1].item()
    assert count == objective.counts(prepared)["gene_query/loss"] > 0


@pytest.mark.parametrize("nonzero_only", [False, True])
@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_gene_means_by_hand(loss: str, nonzero_only: bool) -> None:
    seen, held = cells_of([40, 25]), cells_of([30, 15])
    # Genes from 20 on are met in the held-out cells alone.
    seen = dataclasses.replace(seen, ids=2 + seen.ids % 18)
    objective = make("masked_values", METADATA, {"loss": loss, "nonzero_only": nonzero_only, "rates": [0.6]})
    baseline = objective.baseline()
    values: dict[int, list[float]] = {}
    for epoch in range(2):
        prepared = objective.prepare(seen, seen.index, epoch, 0)
        baseline.update(prepared)
        for gene, value in zip(seen.ids[prepared.rows].tolist(), prepared.targets.tolist(), strict=True):
            if value or not nonzero_only:
                values.setdefault(gene, []).append(value)
    overall = np.mean([value for gene in values.values() for value in gene])
    prepared = objective.prepare(held, held.index, 0, 0)
    asked = zip(held.ids[prepared.rows].tolist(), prepared.targets.tolist(), strict=True)
    wanted = [
        loss_of(np.mean(values.get(gene, overall)) - value, loss)
        for gene, value in asked
        if value or not nonzero_only
    ]
    assert baseline.report(prepared)["gene_mean"].tolist() == pytest.approx([sum(wanted), len(wanted)])


def test_settings_from_yaml_are_read_by_their_types() -> None:
    assert make("masked_values", METADATA, {"rates": ["1e-1"], "mask_value": 2}).settings.rates == (0.1,)
    assert make("masked_values", METADATA, {"rates": 0.3}).settings.rates == (0.3,)
    for settings, message in (
        ({"rates": ["some"]}, "rates must be a number"),
        ({"rates": {"a": 1}}, "rates must be a number"),
        ({"exact": 1}, "exact must be true or false"),
        ({"zero_weight": -1.0}, "zero_weight must be at least 0"),
        ({"loss": 3}, "loss must be text"),
    ):
        with pytest.raises(ConfigError, match=message):
            make("masked_values", METADATA, settings)


def test_what_cannot_be() -> None:
    plain = Metadata(core=CoreConfig(**SIZES))
    with pytest.raises(ConfigError, match="reads values"):
        make("masked_values", plain)
    with pytest.raises(InputError, match="tokens with values"):
        make("masked_values", METADATA).prepare(pack_of([3]), torch.tensor([0]), 0, 0)
    with pytest.raises(ConfigError, match="at least one share"):
        make("masked_values", METADATA, {"rates": []})
    with pytest.raises(ConfigError, match="bins of at least 2"):
        make("masked_values", METADATA, {"loss": "cross_entropy"})
    with pytest.raises(ConfigError, match="loss must be one of"):
        make("masked_values", METADATA, {"loss": "mean"})
    with pytest.raises(ConfigError, match="no classes for the label column 'donor'"):
        make("masked_values", METADATA, {"condition": "donor"})
