"""Sums of objectives: shared passes, weights, views on views; baselines; registry; counts over batches."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from packs import METADATA, make_core, pack_of
from torch import multiprocessing

from biolm.errors import ConfigError
from biolm.objectives import registry
from biolm.objectives.base import Score, Sum
from biolm.objectives.gather import counts_of_ranks
from biolm.objectives.registry import make

LABELLED = dataclasses.replace(METADATA, classes={"cell_type": 3})
PARTS = {
    "masked_tokens": {"rate": 0.3},
    "same": {"objective": "masked_tokens", "rate": 0.3, "label_smoothing": 0.1, "weight": 0.5},
    "other": {"objective": "masked_tokens", "rate": 0.6, "weight": 2},
    "classify": {"weight": 0.25},
}


def test_equal_inputs_share_a_pass_and_weights_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    core, batch = make_core(head="mlm"), pack_of([5, 9, 12])
    labels = {"cell_type": torch.tensor([0, 2, 1])}
    objective = make("weighted", LABELLED, {"parts": PARTS})
    assert objective.columns == ("cell_type",)
    assert [names for _, names in objective.groups()] == [["masked_tokens", "same", "classify"], ["other"]]
    prepared = objective.prepare(batch, batch.index, 0, 0, labels)
    passes = []
    forward = core.forward
    monkeypatch.setattr(core, "forward", lambda *a, **k: passes.append(1) or forward(*a, **k))
    loss, metrics = objective.loss(core, prepared)
    assert len(passes) == 2
    wanted = 0.0
    for name, settings in PARTS.items():
        own = {key: value for key, value in settings.items() if key not in ("objective", "weight")}
        alone = make(settings.get("objective", name), LABELLED, own)
        alone.load_state_dict(objective.part(name).state_dict())
        view = objective.part("masked_tokens") if name == "classify" else alone
        single, report = alone.loss(core, view.prepare(batch, batch.index, 0, 0, labels))
        wanted += settings.get("weight", 1) * single.item()
        assert torch.allclose(report["loss"], metrics[f"{name}/loss"])
    assert loss.item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    "names", [("masked_tokens",), ("masked_tokens", "same"), ("masked_tokens", "classify")]
)
def test_the_last_layer_is_run_for_what_is_asked_alone(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    core, batch = make_core(head="mlm"), pack_of([5, 9, 12])
    objective = make("weighted", LABELLED, {"parts": {name: PARTS[name] for name in names}})
    prepared = objective.prepare(batch, batch.index, 0, 0, {"cell_type": torch.tensor([0, 2, 1])})
    given, forward = [], core.forward
    monkeypatch.setattr(core, "forward", lambda *a, **k: given.append(k.get("only")) or forward(*a, **k))
    loss, _ = objective.loss(core, prepared)
    loss.backward()
    gradient = core.layers[1].attention.key.weight.grad.clone()
    # A part that pools over all tokens needs all of them.
    assert (given[0] is None) == ("classify" in names)
    for part in objective.parts:
        part.reads_rows = False
    core.zero_grad()
    whole, _ = objective.loss(core, prepared)
    whole.backward()
    assert given[1] is None
    assert torch.allclose(loss, whole)
    assert torch.allclose(core.layers[1].attention.key.weight.grad, gradient, atol=1e-5)


def test_without_a_token_to_find_weights_still_get_gradients() -> None:
    core, batch = make_core(head="mlm"), pack_of([3], torch.tensor([0, 1, 2]))
    objective = make("masked_tokens", METADATA)
    loss, metrics = objective.loss(core, objective.prepare(batch, batch.index, 0, 0))
    loss.backward()
    assert metrics["loss"].tolist() == [0, 0]
    assert all(weight.grad is not None for weight in core.layers.parameters())


def test_one_view_on_another() -> None:
    core, batch = make_core(head="mlm"), pack_of([40, 30, 35])
    parts = {
        "panel_contrast": {"smallest": 0.4},
        "masked_tokens": {"input_of": "panel_contrast", "rate": 0.2},
    }
    objective = make("weighted", METADATA, {"parts": parts})
    prepared = objective.prepare(batch, batch.index, 0, 0, number=3)
    assert not prepared.others
    panels = make("panel_contrast", METADATA, parts["panel_contrast"]).prepare(
        batch, batch.index, 0, 0, number=3
    )
    assert torch.equal(prepared.original.ids, panels.batch.ids)
    assert torch.equal(prepared.extra["usable"], panels.extra["usable"])
    assert torch.equal(prepared.targets, panels.batch.ids[prepared.rows])
    cut = int(panels.batch.offsets[3])
    assert (prepared.rows < cut).any()
    assert (prepared.rows >= cut).any()
    _, metrics = objective.loss(core, prepared)
    assert set(metrics) >= {"panel_contrast/loss", "masked_tokens/loss", "masked_tokens/accuracy"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"masked_tokens": {"input_of": "nothing"}}, "must be a part that makes its own input"),
        ({"classify": {}, "masked_tokens": {"input_of": "classify"}}, "must be a part that makes its own"),
        (
            {
                "panel_contrast": {},
                "masked_tokens": {"input_of": "panel_contrast"},
                "more": {"objective": "masked_tokens", "input_of": "masked_tokens"},
            },
            "must be a part that makes its own input",
        ),
        (
            {"a": {"objective": "masked_tokens"}, "b": {"objective": "masked_tokens", "input_of": "a"}},
            "which asks for tokens itself",
        ),
        (
            {"panel_contrast": {}, "two_views": {"keep": [0.5, 1], "input_of": "panel_contrast"}},
            "makes other examples",
        ),
    ],
)
def test_inputs_that_cannot_stand_on_each_other(parts: dict[str, dict], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make("weighted", LABELLED, {"parts": parts})


def test_a_whole_cell_is_decoded_from_each_panel() -> None:
    batch = dataclasses.replace(pack_of([40, 30]), values=torch.rand(70) + 1)
    core = make_core(value_encoder="continuous", position="none")
    facts = dataclasses.replace(METADATA, core=core.config)
    parts = {
        "panel_contrast": {"smallest": 0.4},
        "whole_cell": {"input_of": "panel_contrast", "zeros_share": 0.5},
    }
    objective = make("weighted", facts, {"parts": parts})
    prepared = objective.prepare(batch, batch.index, 0, 0, number=1)
    loss, metrics = objective.loss(core, prepared)
    assert loss.isfinite()
    assert metrics["whole_cell/loss"][1] == objective.counts(prepared)["whole_cell/loss"] > 4 * 10


def test_views_on_copies_draw_independently() -> None:
    batch = pack_of([200, 150], torch.full((350,), 9))
    parts = {"two_views": {}, "masked_tokens": {"input_of": "two_views", "rate": 0.3}}
    facts = dataclasses.replace(METADATA, core=dataclasses.replace(METADATA.core, dropout_residual=0.1))
    prepared = make("weighted", facts, {"parts": parts}).prepare(batch, batch.index, 0, 0)
    hidden = torch.zeros(700, dtype=torch.bool)
    hidden[prepared.rows] = True
    assert hidden[:350].sum() == hidden[350:].sum()
    both = (hidden[:350] & hidden[350:]).double().mean().item()
    assert both == pytest.approx(0.09, abs=0.05)


def test_totals_and_counts_over_batches_equal_one_batch() -> None:
    core = make_core(head="mlm")
    whole = pack_of([5, 9, 12, 3])
    objective = make("masked_tokens", METADATA, {"rate": 0.4})
    loss, metrics = objective.loss(core, objective.prepare(whole, torch.arange(4), 0, 0))
    loss.backward()
    wanted = core.embeddings.token.weight.grad.clone()
    core.zero_grad()
    ids = whole.ids.split([14, 15])
    scores = [
        objective.run(core, objective.prepare(pack_of(lengths, part), keys, 0, 0))
        for lengths, part, keys in (([5, 9], ids[0], torch.arange(2)), ([12, 3], ids[1], torch.arange(2, 4)))
    ]
    assert torch.allclose(sum(score.report()["loss"] for score in scores), metrics["loss"])
    count = sum(score.terms["loss"].count for score in scores)
    for score in scores:
        score.loss({"loss": count}).backward()
    assert torch.allclose(core.embeddings.token.weight.grad, wanted, atol=1e-6)


DOCUMENTS = ((0, 1), (1, 4))  # of each rank: very uneven on purpose


def _gradient(rows: tuple[int, int]) -> torch.Tensor:
    """Gradient of the masked loss on some documents, each rank's part of the mean over all."""
    core, whole = make_core(head="mlm"), pack_of([5, 29, 12, 3])
    start, end = rows
    part = whole.ids[whole.offsets[start] : whole.offsets[end]]
    batch = pack_of(whole.lengths[start:end].tolist(), part)
    objective = make("masked_tokens", METADATA, {"rate": 0.4})
    score = objective.run(core, objective.prepare(batch, torch.arange(start, end), 0, 0))
    score.loss(counts_of_ranks(score)).backward()
    gradient = core.embeddings.token.weight.grad
    assert gradient is not None
    return gradient


def _rank(rank: int, file: str, folder: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.save(_gradient(DOCUMENTS[rank]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_with_different_counts_average_to_one_process(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, (str(tmp_path / "meet"), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.allclose((first + second) / 2, _gradient((0, 4)), rtol=1e-4, atol=1e-6)


def test_a_sum_of_nothing_is_zero() -> None:
    nothing = Sum.of(torch.zeros(0))
    assert nothing.mean.item() == 0
    assert Score({"loss": nothing}).loss().item() == 0
    assert Score({"loss": nothing}).loss({"loss": torch.tensor(0.0)}).item() == 0


def test_a_mean_may_be_over_less_than_one_item() -> None:
    # Counts are weights: those of frequent classes are small.
    little = Sum.of(torch.tensor([3.0, 5.0]), torch.tensor([0.02, 0.02]))
    assert little.mean.item() == pytest.approx(4)
    assert Score({"loss": little}).loss({"loss": torch.tensor(0.02)}).item() == pytest.approx(8)


def test_baselines_by_hand() -> None:
    batch = pack_of([30, 20])
    objective = make("masked_tokens", METADATA, {"rate": 0.5})
    baseline = objective.baseline()
    counts = np.ones(32)
    for epoch in range(3):
        prepared = objective.prepare(batch, batch.index, epoch, 0)
        baseline.update(prepared)
        counts += np.bincount(prepared.targets.numpy(), minlength=32)
    held = objective.prepare(batch, batch.index, 7, 0)
    report = baseline.report(held)
    share = counts / counts.sum()
    assert report["unigram"].tolist() == pytest.approx(
        [-np.log(share[held.targets.numpy()]).sum(), len(held.targets)], rel=1e-5
    )


def test_place_baseline_knows_the_usual_rank() -> None:
    # Gene 4 + r always has rank r: nothing is left to guess.
    batch = pack_of([20] * 200, torch.arange(4, 24).repeat(200))
    objective = make("masked_tokens", METADATA, {"rate": 0.5})
    baseline = objective.baseline()
    for epoch in range(5):
        baseline.update(objective.prepare(batch, batch.index, epoch, 0))
    report = baseline.report(objective.prepare(batch, batch.index, 9, 0))
    means = {name: (value[0] / value[1]).item() for name, value in report.items()}
    assert means["unigram"] == pytest.approx(np.log(20), abs=0.02)
    assert means["place"] < 0.75 * means["unigram"]


def test_weighted_baselines_are_named_by_part() -> None:
    batch = pack_of([30, 20])
    labels = {"cell_type": torch.tensor([1, 1])}
    objective = make("weighted", LABELLED, {"parts": PARTS})
    baseline = objective.baseline()
    prepared = objective.prepare(batch, batch.index, 0, 0, labels)
    baseline.update(prepared)
    report = baseline.report(prepared)
    assert report["classify/majority"].tolist() == [2, 2]
    assert report["classify/frequencies"][0].item() == pytest.approx(-2 * np.log(3 / 5), rel=1e-5)
    assert report["other/unigram"][1] > report["same/unigram"][1] > 0


def test_prepared_moves_whole() -> None:
    batch = pack_of([5, 9])
    objective = make("weighted", LABELLED, {"parts": PARTS})
    prepared = objective.prepare(batch, batch.index, 0, 0, {"cell_type": torch.tensor([0, 1])}).to("meta")
    for part in (prepared, *prepared.others):
        tensors = [part.batch.ids, part.original.ids, part.keys, part.rows, part.targets, part.seeds]
        tensors += [*part.labels.values(), *part.extra.values()]
        assert all(tensor.device.type == "meta" for tensor in tensors)


@pytest.mark.parametrize("name", sorted(registry.available()))
def test_every_name_can_be_found(name: str) -> None:
    kind = registry.find(name)
    assert kind.Settings.__doc__
    assert "Parameters" in kind.Settings.__doc__


def test_documentation_lists_every_objective_and_its_examples_work(repository: Path) -> None:
    text = (repository / "docs" / "reference" / "objectives.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed | {"weighted"} == set(registry.BUILT_IN)
    core = dataclasses.replace(METADATA.core, value_encoder="continuous", head="value")
    facts = dataclasses.replace(METADATA, core=core, classes={"batch": 2})
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        make("weighted", facts, {"parts": yaml.safe_load(example)["objectives"]})


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="did you mean 'masked_tokens'"):
        make("masked_token", METADATA)
    with pytest.raises(ConfigError, match="did you mean 'rate'"):
        make("masked_tokens", METADATA, {"rat": 0.1})
    with pytest.raises(ConfigError, match="at least one objective"):
        make("weighted", METADATA)
