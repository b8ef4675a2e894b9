"""Masked tokens: a float64 re-derivation, recorded losses and gradients, and what masking promises."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packs import METADATA, make_core, pack_of
from perturb import relative
from safetensors.torch import load_file

from biolm.batch import Batch
from biolm.core import CoreConfig
from biolm.errors import ConfigError
from biolm.objectives.base import Metadata, Plain, Prepared
from biolm.objectives.draws import Draw
from biolm.objectives.masked_tokens import MaskedTokens, MaskedTokensSettings
from biolm.objectives.masking import lowest, span_priority
from biolm.objectives.registry import make

SPECIAL = METADATA.special_ids


def prepare(
    batch: Batch, epoch: int = 0, seed: int = 0, keys: torch.Tensor | None = None, **settings: object
):
    objective = make("masked_tokens", METADATA, settings)
    return objective.prepare(batch, batch.index if keys is None else keys, epoch, seed)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_mean_cross_entropy_of_hidden_tokens(smoothing: float) -> None:
    core = make_core(head="mlm")
    batch = pack_of([5, 9, 1, 14])
    objective = MaskedTokens(METADATA, MaskedTokensSettings(rate=0.4, label_smoothing=smoothing))
    prepared = objective.prepare(batch, batch.index, 3, 1)
    loss, metrics = objective.loss(core, prepared)
    logits = core(prepared.batch).logits.detach().double().numpy()
    hidden = [row for row in range(len(batch.ids)) if row in prepared.rows.tolist()]
    total, right = 0.0, 0
    for row in hidden:
        truth = int(batch.ids[row])
        high = logits[row].max()
        log = logits[row] - high - np.log(np.exp(logits[row] - high).sum())
        # The truth keeps its part of the mass that is spread over all tokens.
        total -= (1 - smoothing) * log[truth] + smoothing * log.mean()
        right += int(logits[row].argmax()) == truth
    assert loss.item() == pytest.approx(total / len(hidden), rel=1e-5)
    assert metrics["loss"].tolist() == pytest.approx([total, len(hidden)], rel=1e-5)
    assert metrics["accuracy"].tolist() == [right, len(hidden)]


@pytest.mark.parametrize("version", ["geneformer_v1", "geneformer_v2"])
def test_recorded_loss_and_gradients(goldens: Path, version: str) -> None:
    from biolm.models.families.hf import from_hf

    core = from_hf(goldens / version).eval()
    wanted = load_file(goldens / version / "io.safetensors")
    keep = wanted["attention_mask"].bool()
    read = Batch.from_padded(wanted["mlm_input_ids"], keep)
    labels = wanted["mlm_labels"][keep]
    rows = (labels != -100).nonzero().flatten()
    objective = MaskedTokens(Metadata(core=core.config, mask_id=1), MaskedTokensSettings())
    prepared = Prepared(batch=read, original=read, keys=read.index, rows=rows, targets=labels[rows])
    loss, _ = objective.loss(core, prepared)
    assert relative(loss.detach(), wanted["mlm_loss"]) < 2e-5
    loss.backward()
    norms = json.loads((goldens / version / "mlm_grad_norms.json").read_text())
    found = sorted(p.grad.norm().item() for p in core.parameters())
    # Names differ, and query, key and value are separate in both: the sorted norms must pair up.
    assert found == pytest.approx(sorted(norms.values()), rel=1e-4, abs=1e-5)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    rate=st.floats(0, 1, exclude_min=True),
    span=st.sampled_from([1.0, 3.0]),
    epoch=st.integers(0, 3),
)
def test_exact_counts_and_no_special_token(lengths: list[int], rate: float, span: float, epoch: int) -> None:
    batch = pack_of(lengths)
    prepared = prepare(batch, epoch, rate=rate, span=span)
    rows = prepared.rows.tolist()
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        allowed = [row for row in range(start, end) if int(batch.ids[row]) not in SPECIAL]
        inside = [row for row in rows if start <= row < end]
        wanted = max(int(np.floor(rate * len(allowed) + 0.5)), 1)
        assert len(inside) == min(wanted, len(allowed))
        assert set(inside) <= set(allowed)
    untouched = torch.ones(len(batch.ids), dtype=torch.bool)
    untouched[prepared.rows] = False
    assert torch.equal(prepared.batch.ids[untouched], batch.ids[untouched])
    assert torch.equal(prepared.targets, batch.ids[prepared.rows])


@given(order=st.permutations(range(6)), epoch=st.integers(0, 5), seed=st.integers(0, 2**40))
def test_masks_do_not_depend_on_batch_mates(order: list[int], epoch: int, seed: int) -> None:
    lengths = [3, 17, 8, 30, 1, 12]
    whole = pack_of(lengths)
    keys = torch.arange(6) * 1_000_003
    together = prepare(whole, epoch, seed, keys)
    shuffled = whole_in(order, whole)
    again = prepare(shuffled, epoch, seed, keys[order])
    for place, old in enumerate(order):
        span = slice(int(whole.offsets[old]), int(whole.offsets[old + 1]))
        new = slice(int(shuffled.offsets[place]), int(shuffled.offsets[place + 1]))
        assert torch.equal(again.batch.ids[new], together.batch.ids[span])


def whole_in(order: list[int], batch: Batch) -> Batch:
    parts = [batch.ids[int(batch.offsets[i]) : int(batch.offsets[i + 1])] for i in order]
    return pack_of([len(part) for part in parts], torch.cat(parts))


def test_epochs_seeds_and_keys_change_the_mask() -> None:
    batch = pack_of([50] * 4, torch.full((200,), 7))
    base = prepare(batch)
    assert not torch.equal(base.rows, prepare(batch, epoch=1).rows)
    assert not torch.equal(base.rows, prepare(batch, seed=1).rows)
    first = base.rows[base.rows < 50]
    second = base.rows[(base.rows >= 50) & (base.rows < 100)] - 50
    assert not torch.equal(first, second)


@pytest.mark.parametrize("exact", [True, False])
def test_shares_of_mask_random_and_kept(exact: bool) -> None:
    batch = pack_of([400] * 100)
    prepared = prepare(batch, rate=0.15, exact=exact)
    usual = sum(int(token) not in SPECIAL for token in batch.ids)
    chosen = len(prepared.rows)
    assert chosen / usual == pytest.approx(0.15, abs=0.006)
    became = prepared.batch.ids[prepared.rows]
    assert (became == METADATA.mask_id).double().mean().item() == pytest.approx(0.8, abs=0.02)
    changed = (became != METADATA.mask_id) & (became != prepared.targets)
    # One in 28 random tokens is the old one.
    assert changed.double().mean().item() == pytest.approx(0.1 * 27 / 28, abs=0.012)
    random = became[changed].unique().tolist()
    assert set(random) == set(range(METADATA.core.vocab_size)) - set(SPECIAL)


def test_spans_are_longer() -> None:
    batch = pack_of([200] * 50, torch.full((10_000,), 9))
    runs = {}
    for span in (1.0, 4.0):
        hidden = torch.zeros(len(batch.ids), dtype=torch.int8)
        hidden[prepare(batch, rate=0.15, span=span).rows] = 1
        starts = int((hidden.diff(prepend=torch.zeros(1, dtype=torch.int8)) == 1).sum())
        runs[span] = hidden.sum().item() / starts
    assert runs[1.0] < 1.3
    assert 2.5 < runs[4.0] < 5.5


def priority_of(batch: Batch, span: float) -> torch.Tensor:
    allowed = ~torch.isin(batch.ids, torch.tensor(SPECIAL))
    return span_priority(batch, Draw(batch.index, 0, 0), allowed, span)


def test_spans_end_at_special_tokens_and_documents() -> None:
    usual = torch.full((40, 21), 9)
    usual[:, 10] = SPECIAL[0]
    found = priority_of(pack_of([21] * 40, usual.flatten()), 6.0).view(40, 21)
    # Spans that begin before a border would lower numbers behind it: without them nothing changes there.
    none = usual.clone()
    none[:, :10] = SPECIAL[0]
    without = priority_of(pack_of([21] * 40, none.flatten()), 6.0).view(40, 21)
    assert torch.equal(found[:, 11:], without[:, 11:])
    for row in range(40):
        alone = dataclasses.replace(pack_of([21], usual[row]), index=torch.tensor([row]))
        assert torch.equal(priority_of(alone, 6.0), found[row])


def test_spans_are_cut_at_ten_tokens() -> None:
    # Tokens of one span have its number, in order of their places by their last digits.
    priority = priority_of(pack_of([300] * 5, torch.full((1500,), 9)), 1000.0)
    _, sizes = (priority * 2**40).round().unique(return_counts=True)
    assert sizes.max().item() == 10


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="rate must lie between 0 and 1"):
        MaskedTokensSettings(rate=1.5)
    with pytest.raises(ConfigError, match="together must be at most 1"):
        MaskedTokensSettings(mask_share=0.9, random_share=0.2)
    with pytest.raises(ConfigError, match="needs exact"):
        MaskedTokensSettings(span=3, exact=False)
    with pytest.raises(ConfigError, match="needs a mask token"):
        make("masked_tokens", Metadata(core=METADATA.core))
    valued = CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8)
    with pytest.raises(ConfigError, match="needs a core with head"):
        make("masked_tokens", Metadata(core=valued, mask_id=1))


def test_label_smoothing_reports_the_plain_cross_entropy() -> None:
    core, batch = make_core(head="mlm"), pack_of([6, 8])
    smooth, plain = (make("masked_tokens", METADATA, {"label_smoothing": s}) for s in (0.1, 0.0))
    prepared = plain.prepare(batch, batch.index, 0, 0)
    loss, metrics = smooth.loss(core, prepared)
    wanted, _ = plain.loss(core, prepared)
    assert torch.allclose(metrics["cross_entropy"][0] / metrics["cross_entropy"][1], wanted)
    assert loss.item() != pytest.approx(wanted.item(), rel=1e-3)
    assert smooth.view == plain.view != Plain()


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    levels=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_lowest_in_plain_python(lengths: list[int], levels: int, seed: int) -> None:
    batch = pack_of(lengths)
    generator = torch.Generator().manual_seed(seed)
    # Few levels make many ties, which both ways of choosing must settle alike.
    priority = torch.randint(0, levels, (len(batch.ids),), generator=generator).double()
    wanted = torch.stack([torch.randint(0, n + 1, (), generator=generator) for n in lengths])
    found = lowest(batch, priority, wanted)
    for i, (start, end) in enumerate(pairwise(batch.offsets.tolist())):
        order = sorted(range(start, end), key=lambda row: (priority[row].item(), row))
        assert set(found[start:end].nonzero().flatten().tolist()) == {
            row - start for row in order[: wanted[i]]
        }
