"""Views and contrasts of one example: panels are disjoint and shared, views keep what they should."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packs import METADATA, make_core, pack_of
from test_pairs import by_hand

from biolm.batch import Batch
from biolm.core import pool
from biolm.errors import ConfigError, InputError
from biolm.objectives.base import Metadata
from biolm.objectives.registry import make, make_all

SPECIAL = set(METADATA.special_ids)
WIDE = Metadata(core=dataclasses.replace(METADATA.core, vocab_size=1000), special_ids=(0, 1, 2, 3), mask_id=3)


def cells_of(lengths: list[int], seed: int = 0) -> Batch:
    """Cells: a cls token, then different genes in random order."""
    rng = np.random.default_rng(seed)
    ids = [torch.tensor([0, *rng.permutation(np.arange(4, 1000))[: n - 1]]) for n in lengths]
    return pack_of(lengths, torch.cat(ids))


def documents_of(batch: Batch) -> list[list[int]]:
    cuts = batch.offsets.tolist()
    return [batch.ids[a:b].tolist() for a, b in pairwise(cuts)]


@given(
    number=st.integers(0, 10_000),
    epoch=st.integers(0, 3),
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5),
)
def test_panels_are_disjoint_and_shared_by_the_batch(number: int, epoch: int, lengths: list[int]) -> None:
    batch = cells_of(lengths)
    objective = make("panel_contrast", WIDE, {"smallest": 0.1})
    prepared = objective.prepare(batch, batch.index, epoch, 0, number=number)
    views = documents_of(prepared.batch)
    n = len(lengths)
    assert len(views) == 2 * n
    first, second = (set().union(*map(set, half)) - SPECIAL for half in (views[:n], views[n:]))
    assert not first & second
    for view, cell in zip(views, documents_of(batch) * 2, strict=True):
        assert view[0] == 0
        assert view == [token for token in cell if token in view]
    # A gene of a panel is kept in every cell that has it.
    for view, cell in zip(views[:n], documents_of(batch), strict=True):
        assert set(view) - SPECIAL == set(cell) & first
    usable = prepared.extra["usable"].tolist()
    assert usable == [len(views[i]) > 1 and len(views[i + n]) > 1 for i in range(n)]


def test_panels_follow_the_batch_number_not_its_cells() -> None:
    objective = make("panel_contrast", WIDE, {"smallest": 0.3})
    batch, other = cells_of([500] * 3), cells_of([700] * 3, seed=5)
    keys = torch.arange(3)
    kept = []
    # Where an epoch ends between the batches of two ranks, both still draw alike.
    for cells, number, key, epoch in ((batch, 1, keys, 0), (other, 1, keys + 9, 1), (batch, 2, keys, 0)):
        prepared = objective.prepare(cells, key, epoch, 0, number=number)
        kept.append(set(prepared.batch.ids[: prepared.batch.offsets[3]].tolist()))
    shared = set(batch.ids.tolist()) & set(other.ids.tolist())
    assert kept[0] & shared == kept[1] & shared
    assert kept[0] != kept[2]
    # Without a number the keys decide, in whatever order.
    there = objective.prepare(batch, keys, 0, 0).batch.ids.unique()
    back = objective.prepare(batch, keys.flip(0), 0, 0).batch.ids.unique()
    assert torch.equal(there, back)
    assert not torch.equal(there, objective.prepare(batch, keys + 1, 0, 0).batch.ids.unique())


def test_panel_sizes_are_log_uniform() -> None:
    ids = torch.arange(4, 1000)
    batch = pack_of([len(ids)], ids)
    objective = make("panel_contrast", WIDE, {"smallest": 0.01, "largest": 0.5})
    sizes = []
    for number in range(300):
        prepared = objective.prepare(batch, torch.tensor([0]), 0, 0, number=number)
        sizes += (prepared.batch.lengths.double() / len(ids)).tolist()
    logs = (np.log(np.maximum(sizes, 1e-3)) - math.log(0.01)) / math.log(50)
    assert np.mean(logs) == pytest.approx(0.5, abs=0.04)
    assert np.quantile(logs, [0.25, 0.75]) == pytest.approx([0.25, 0.75], abs=0.07)


def test_designed_panels_and_cuts() -> None:
    batch = cells_of([400] * 4)
    panel = tuple(range(100, 300))
    objective = make("panel_contrast", WIDE, {"panels": [panel], "panel_share": 1.0, "max_tokens": 9})
    prepared = objective.prepare(batch, batch.index, 0, 0, number=0)
    views = documents_of(prepared.batch)
    for view, cell in zip(views[:4], documents_of(batch), strict=True):
        assert view == [0, *[token for token in cell if token in panel][:8]]
    assert not set(prepared.batch.ids[prepared.batch.offsets[4] :].tolist()) & set(panel)
    some = make("panel_contrast", WIDE, {"panels": [panel], "panel_share": 0.3})
    designed = 0
    for number in range(200):
        ids = some.prepare(batch, batch.index, 0, 0, number=number).batch
        designed += set(ids.ids[: ids.offsets[4]].tolist()) - {0} <= set(panel)
    assert designed / 200 == pytest.approx(0.3, abs=0.1)


def test_random_cut_keeps_specials_and_exactly_as_many() -> None:
    batch = cells_of([900, 5, 600])
    settings = {"smallest": 0.4, "largest": 0.4, "max_tokens": 50, "random_cut": True}
    prepared = make("panel_contrast", WIDE, settings).prepare(batch, batch.index, 0, 0, number=0)
    first = make("panel_contrast", WIDE, settings | {"random_cut": False}).prepare(
        batch, batch.index, 0, 0, number=0
    )
    assert prepared.batch.lengths.tolist() == first.batch.lengths.tolist()
    assert prepared.batch.max_length == 50
    assert all(view[0] == 0 for view in documents_of(prepared.batch))
    assert not torch.equal(prepared.batch.ids, first.batch.ids)


def test_random_cut_keeps_other_places_of_each_panel() -> None:
    batch = cells_of([900] * 4)
    settings = {"smallest": 0.5, "largest": 0.5, "random_cut": True}
    whole, cut = (
        documents_of(objective.prepare(batch, batch.index, 0, 0, number=0).batch)
        for objective in (make("panel_contrast", WIDE, settings | {"max_tokens": n}) for n in (1000, 200))
    )
    places = [{view.index(token) for token in kept} for view, kept in zip(whole, cut, strict=True)]
    # Of two independent draws each finds a place of the other's as often as any place.
    for first, second, view in zip(places[:4], places[4:], whole[:4], strict=True):
        assert len(first & second) / 200 == pytest.approx(200 / len(view), abs=0.12)


@pytest.mark.parametrize("settings", [{"pool": "cls"}, {"pool": "mean", "projection": 4, "hidden": 1}])
def test_panel_loss_by_hand(settings: dict[str, object]) -> None:
    core = make_core(vocab_size=1000)
    batch = cells_of([40, 25, 1, 33])
    objective = make("panel_contrast", WIDE, settings | {"smallest": 0.4, "within_from": 10})
    prepared = objective.prepare(batch, batch.index, 0, 3, number=2)
    usable = prepared.extra["usable"].numpy()
    assert usable.tolist() == [True, True, False, True]
    views = []
    for view in documents_of(prepared.batch):
        states = core(pack_of([len(view)], torch.tensor(view))).last_hidden_state
        vector = states[0] if settings["pool"] == "cls" else states[1:].sum(0) / max(len(view) - 1, 1)
        views.append(objective.projection(vector).detach().numpy())
    first, second = np.array(views[:4]), np.array(views[4:])
    for step in (0, 10):
        objective.step = step
        loss, metrics = objective.loss(core, prepared)
        assert loss.item() == pytest.approx(by_hand(first, second, math.exp(3), usable, step >= 10), rel=1e-4)
        assert metrics["loss"][1].item() == 3
    loss.backward()
    assert objective.temperature.log_scale.grad.abs() > 0


def test_dropout_alone_tells_views_apart() -> None:
    core = make_core(dropout_residual=0.3)
    batch = pack_of([6, 9, 4])
    objective = make("two_views", dataclasses.replace(METADATA, core=core.config))
    prepared = objective.prepare(batch, batch.index, 0, 0)
    assert documents_of(prepared.batch) == documents_of(batch) * 2
    states = core(prepared.batch).last_hidden_state
    first, second = pool(states, prepared.batch.offsets, "cls").chunk(2)
    assert torch.allclose(first, second, atol=1e-5)
    torch.manual_seed(0)
    states = core.train()(prepared.batch).last_hidden_state
    first, second = pool(states, prepared.batch.offsets, "cls").detach().chunk(2)
    assert not torch.allclose(first, second, atol=1e-2)
    torch.manual_seed(0)
    loss, _ = objective.loss(core, prepared)
    wanted = by_hand(first.numpy(), second.numpy(), 10.0, np.ones(3, bool), True)
    assert loss.item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "in a sum"])
def test_views_that_dropout_tells_apart_are_validated_with_it(beside: bool) -> None:
    core = make_core(dropout_residual=0.5, head="mlm")
    facts = dataclasses.replace(METADATA, core=core.config)
    parts = {"masked_tokens": {"input_of": "two_views"}, "two_views": {}}
    objective = (make_all(parts, facts) if beside else make("two_views", facts)).eval()
    batch = pack_of([6, 9, 4, 7, 5, 8])
    prepared = objective.prepare(batch, batch.index, 0, 0)
    name = "two_views/loss" if beside else "loss"
    state = torch.get_rng_state()
    with torch.no_grad():
        found = [objective.run(core, prepared).report()[name] for _ in range(2)]
        same = dataclasses.replace(objective.run(core, prepared), metrics={})
    assert torch.equal(*found)
    if beside:
        # What rides on these views is validated as ever.
        part = "masked_tokens/loss"
        objective.part("two_views").keeps_dropout = False
        assert objective.run(core, prepared).report()[part].equal(same.report()[part])
    assert torch.equal(state, torch.get_rng_state())
    assert not core.training
    assert same.terms[name].count == 6
    # The core's own dropout: views that were the same would be found at once.
    identical = by_hand(*[np.eye(6, 16)] * 2, 10.0, np.ones(6, bool), True)
    assert found[0][0] / found[0][1] > identical + 0.2


def test_views_keep_their_share() -> None:
    batch = pack_of([2000] * 3)
    prepared = make("two_views", METADATA, {"keep": [0.85, 1]}).prepare(batch, batch.index, 0, 0)
    for view, cell in zip(documents_of(prepared.batch), documents_of(batch) * 2, strict=True):
        special = sum(token in SPECIAL for token in cell)
        assert sum(token in SPECIAL for token in view) == special
    lengths = prepared.batch.lengths.double()
    usual = sum(token not in SPECIAL for token in batch.ids.tolist())
    assert (lengths[:3].sum() - (6000 - usual)) / usual == pytest.approx(0.85, abs=0.02)
    assert lengths[3:].tolist() == [2000] * 3


def test_the_two_views_drop_other_tokens() -> None:
    batch = cells_of([900] * 4)
    prepared = make("two_views", WIDE, {"keep": [0.5, 0.7]}).prepare(batch, batch.index, 0, 0)
    views = [set(view) - SPECIAL for view in documents_of(prepared.batch)]
    for first, second in zip(views[:4], views[4:], strict=True):
        assert len(first & second) / 899 == pytest.approx(0.5 * 0.7, abs=0.07)


def test_segments_are_the_two_views() -> None:
    # Token 0 begins and token 1 ends a text, as in BERT; the third pair has no text in its second half.
    ids = torch.tensor([0, 5, 1, 7, 1, 8, 9, 10, 0, 4, 1, 1])
    segments = torch.tensor([0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 1])
    batch = dataclasses.replace(pack_of([5, 3, 4], ids), segments=segments)
    objective = make("two_views", METADATA, {"segments": True})
    assert objective.reads_pairs
    prepared = objective.prepare(batch, batch.index, 0, 0)
    assert documents_of(prepared.batch) == [[0, 5, 1], [8], [0, 4, 1], [0, 7, 1], [9, 10], [0, 1]]
    assert prepared.batch.segments.sum() == 0
    assert prepared.extra["usable"].tolist() == [True, True, False]
    with pytest.raises(InputError, match="segments 0 and 1"):
        objective.prepare(pack_of([3]), torch.tensor([0]), 0, 0)


def test_images_and_cells_by_hand() -> None:
    core, batch = make_core(), pack_of([6, 9, 4])
    objective = make("image_contrast", METADATA, {"features": 5, "width": 3})
    features = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    features[1, 2] = math.nan
    prepared = objective.prepare(batch, batch.index, 0, 0, {"image": features})
    loss, metrics = objective.loss(core, prepared)
    cells = objective.genes(pool(core(batch).last_hidden_state, batch.offsets, "cls")).detach().numpy()
    images = objective.images(features.nan_to_num()).detach().numpy()
    usable = np.array([True, False, True])
    assert loss.item() == pytest.approx(by_hand(cells, images, 1 / 0.07, usable, False), rel=1e-4)
    assert metrics["loss"][1].item() == 2
    with pytest.raises(InputError, match="give 5 features"):
        objective.loss(core, dataclasses.replace(prepared, labels={"image": features[:, :2]}))


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"at most at 0\.5"):
        make("panel_contrast", METADATA, {"largest": 0.6})
    with pytest.raises(ConfigError, match="keep must be a list of 2"):
        make("two_views", METADATA, {"keep": [1.0]})
    with pytest.raises(ConfigError, match="both views of two_views would be the same"):
        make("two_views", METADATA)
    with pytest.raises(ConfigError, match="panels name the gene 'CD4'"):
        make("panel_contrast", METADATA, {"panels": [["CD4"]]})
    with pytest.raises(ConfigError, match="hidden must be at least 0"):
        make("panel_contrast", METADATA, {"hidden": -1})
    with pytest.raises(ConfigError, match="pool must be one of mean"):
        make("panel_contrast", METADATA, {"pool": "middle"})
    with pytest.raises(ConfigError, match="features and width"):
        make("image_contrast", METADATA)
