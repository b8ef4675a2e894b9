"""Zero-truncated Poisson of masked counts; whole-cell decoding."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from packs import make_core, pack_of
from perturb import relative
from safetensors.torch import load_file
from test_masked_values import METADATA, SWITCHES, WAYS, cells_of, loss_of

from biolm.errors import InputError
from biolm.objectives.masked_counts import log_expected_counts
from biolm.objectives.registry import make
from biolm.objectives.value_losses import zero_truncated_poisson


def test_recorded_likelihoods(goldens: Path) -> None:
    wanted = load_file(goldens / "transcriptformer" / "io.safetensors")
    found = zero_truncated_poisson(wanted["loss/mu"].log(), wanted["loss/counts"], rectified=True).mean()
    assert relative(found[None], wanted["loss/nll_softplus_True"]) < 2e-5
    for name in ("train", "embed"):
        mu, counts = wanted[f"{name}/mu"], wanted[f"{name}/input_counts"]
        real = ~wanted[f"{name}/mask"]
        losses = zero_truncated_poisson(mu[real].log(), counts[real], rectified=True)
        assert relative(losses.mean()[None], wanted[f"{name}/ztp_nll"]) < 2e-5
        cells = losses.split(real.sum(1).tolist())
        assert (
            relative(torch.stack([cell.mean() for cell in cells]), wanted[f"{name}/ztp_nll_per_cell"]) < 2e-5
        )


@pytest.mark.parametrize("rate", [1e-5, 0.01, 0.7, 5.0, 60.0])
def test_exact_likelihood_sums_to_one(rate: float) -> None:
    counts = torch.arange(1, 200).double()
    losses = zero_truncated_poisson(torch.full_like(counts, math.log(rate)), counts)
    assert torch.exp(-losses.double()).sum().item() == pytest.approx(1, abs=1e-4)
    wanted = -math.log(rate) + math.log(math.expm1(rate))
    assert losses[0].item() == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("gap", [3.0, 30.0, 90.0, 300.0])
def test_gradients_stay_right_where_a_share_rounds_to_zero(gap: float) -> None:
    logits = torch.tensor([gap, 0.0, -1.0], requires_grad=True)
    counts, document = torch.tensor([30.0, 30.0, 2.0]), torch.zeros(3, dtype=torch.long)
    zero_truncated_poisson(log_expected_counts(logits, counts, document, 1), counts).sum().backward()
    exact = torch.tensor([gap, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    log_rates = exact.log_softmax(0) + math.log(62.0)
    # log(e^mu - 1) of a tiny mu is its logarithm.
    normaliser = torch.where(
        log_rates < -12, log_rates, torch.log(torch.expm1(log_rates.exp().clamp(max=700)))
    )
    (normaliser - counts * log_rates).sum().backward()
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=1e-4, atol=1e-4)


def test_values_that_are_no_counts_are_refused() -> None:
    objective = make("weighted", METADATA, {"parts": {"masked_counts": {}}})
    batch = cells_of([7, 15])
    objective.prepare(batch, batch.index, 0, 0)
    with pytest.raises(InputError, match="no whole numbers"):
        objective.prepare(dataclasses.replace(batch, values=batch.values.log1p()), batch.index, 0, 0)


@pytest.mark.parametrize("own_head", [False, True])
@pytest.mark.parametrize("rectified", [False, True])
def test_masked_counts_by_hand(own_head: bool, rectified: bool) -> None:
    switches = SWITCHES | ({"head": "none"} if own_head else {})
    core, batch = make_core(**switches), cells_of([7, 15, 2, 9])
    facts = dataclasses.replace(METADATA, core=core.config)
    objective = make("masked_counts", facts, {"rates": [0.5], "clip": 12.0, "rectified": rectified})
    prepared = objective.prepare(batch, batch.index, 0, 1)
    loss, metrics = objective.loss(core, prepared)
    output = core(prepared.batch)
    scores = objective.head(output.last_hidden_state, None)[0] if own_head else output.logits
    scores = scores.detach().double().numpy()

    def normaliser(mu: float) -> float:
        return max(mu - np.log1p(np.exp(-mu)), 0) if rectified else np.log(np.expm1(mu))

    losses, equal = [], []
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        rows = [row for row in prepared.rows.tolist() if start <= row < end and batch.values[row] > 0]
        counts = np.minimum(batch.values[rows].double().numpy(), 12.0)
        share = np.exp(scores[rows]) / np.exp(scores[rows]).sum()
        for rates, into in ((share * counts.sum(), losses), (np.full(len(rows), counts.mean()), equal)):
            into += [
                -k * np.log(mu) + normaliser(mu) + math.lgamma(k + 1)
                for mu, k in zip(rates + (1e-6 if rectified else 0), counts, strict=True)
            ]
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert metrics["equal_shares"].tolist() == pytest.approx([np.sum(equal), len(equal)], rel=1e-4)


@pytest.mark.parametrize("settings", [{}, {"read_share": 0.5}, {"max_tokens": 6}, *WAYS])
def test_whole_cells_by_hand(settings: dict[str, object]) -> None:
    core = make_core(**SWITCHES)
    ids = torch.cat(
        [
            torch.tensor([0, *np.random.default_rng(i).permutation(np.arange(2, 32))[:n]])
            for i, n in enumerate((9, 14, 4))
        ]
    )
    batch = dataclasses.replace(cells_of([10, 15, 5]), ids=ids)
    objective = make("whole_cell", METADATA, settings)
    prepared = objective.prepare(batch, batch.index, 0, 0)
    kept = [9, 14, 4]
    if "read_share" in settings:
        kept = [5, 7, 2]
    if "max_tokens" in settings:
        kept = [5, 5, 4]
    assert prepared.batch.lengths.tolist() == [k + 1 for k in kept]
    starts = prepared.batch.offsets[:-1].long()
    assert (prepared.batch.ids[starts] == 0).all()
    loss, metrics = objective.loss(core, prepared)
    cells = core(prepared.batch).last_hidden_state[starts]
    found = objective.decoder(cells).detach().double().numpy()
    wanted = np.zeros((3, 32))
    for i, (start, end) in enumerate(
        zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True)
    ):
        for row in range(start, end):
            wanted[i, int(ids[row])] = float(batch.values[row])
    s, pairs = objective.settings, list(zip(found[:, 2:].ravel(), wanted[:, 2:].ravel(), strict=True))
    losses = [loss_of(value - truth, s.loss) for value, truth in pairs if truth or not s.nonzero_only]
    total = np.mean(losses)
    if s.zero_probability:
        share = 1 / (1 + np.exp(-objective.zeros(cells).detach().double().numpy()[:, 2:]))
        total -= s.zero_weight * np.mean(np.where(wanted[:, 2:] > 0, np.log(share), np.log(1 - share)))
    assert loss.item() == pytest.approx(total, rel=1e-4)
    assert metrics["loss"][1].item() == len(losses)


@pytest.mark.parametrize(
    "settings", [{"read_share": 0.5}, {"max_tokens": 11}, {"read_share": 0.8, "max_tokens": 11}]
)
def test_every_gene_is_read_as_often_wherever_it_stands(settings: dict[str, float]) -> None:
    ids = torch.tensor([0, *range(2, 22)]).repeat(500)
    batch = pack_of([21] * 500, ids, torch.ones(len(ids)))
    read = make("whole_cell", METADATA, settings).prepare(batch, batch.index, 0, 0).batch
    counts = read.ids.bincount(minlength=22)
    assert counts[0].item() == 500
    assert counts[2:].sum().item() == 500 * 10
    assert counts[2:].tolist() == pytest.approx([250] * 20, abs=50)


def test_some_zeros_of_whole_cells() -> None:
    core, batch = make_core(**SWITCHES), cells_of([20] * 200, zeros=0.0)
    counts = {}
    for share in (0.0, 0.3, 1.0):
        objective = make("whole_cell", METADATA, {"zeros_share": share})
        prepared = objective.prepare(batch, batch.index, 0, 0)
        counts[share] = objective.loss(core, prepared)[1]["loss"][1].item()
    # Ids repeat within these cells, so genes with a token are fewer than tokens.
    cells = torch.repeat_interleave(torch.arange(200), 20)
    genes = len({(c, g) for c, g in zip(cells.tolist(), batch.ids.tolist(), strict=True) if g not in (0, 1)})
    assert counts[0.0] == genes
    assert counts[1.0] == 200 * 30
    assert counts[0.3] == pytest.approx(genes + 0.3 * (6000 - genes), rel=0.05)
    with pytest.raises(InputError, match="tokens with values"):
        objective.prepare(dataclasses.replace(batch, values=None), batch.index, 0, 0)
