"""Guessing without a model, in the very terms of the loss that it stands beside."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from packs import METADATA, make_core, pack_of
from torch import Tensor

from biolm.batch import Batch
from biolm.objectives.base import Metadata, Prepared
from biolm.objectives.registry import make

LABELS = torch.tensor([0, 0, 0, 1, 2, 0, -100, 0, 1, 0])


def means(report: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(pair[0] / pair[1]) for name, pair in report.items()}


def best_constant(objective, core, prepared: Prepared) -> float:
    """Lowest loss of logits that are the same for all, found by descent."""
    logits = objective.head.out.bias
    for weight in objective.parameters():
        weight.data.zero_()
        weight.requires_grad_(weight is logits)
    descent = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-12)

    def closure() -> Tensor:
        descent.zero_grad()
        loss = objective.run(core, prepared).loss()
        loss.backward()
        return loss

    descent.step(closure)
    return objective.run(core, prepared).loss().item()


@pytest.mark.parametrize(
    "settings",
    [{}, {"class_weights": "balanced"}, {"class_weights": [1.0, 5.0, 0.2], "label_smoothing": 0.3}],
    ids=["plain", "balanced", "weighted and smoothed"],
)
def test_frequencies_are_the_best_constant_guess_of_the_loss(settings: dict[str, object]) -> None:
    facts = replace(METADATA, classes={"cell_type": 3}, counts={"cell_type": (6, 2, 1)})
    objective, core = make("classify", facts, settings), make_core()
    prepared = objective.prepare(pack_of([3] * 10), torch.arange(10), 0, 0, {"cell_type": LABELS})
    baseline = objective.baseline()
    for _ in range(1000):  # so that the one count that each class begins with weighs nothing
        baseline.update(prepared)
    found = means(baseline.report(prepared))
    assert found["frequencies"] == pytest.approx(best_constant(objective, core, prepared), abs=2e-3)
    assert found["majority"] == pytest.approx(6 / 9)


def values_of_cells() -> Batch:
    ids = torch.tensor([4, 5, 6, 4, 6, 5])
    return pack_of([3, 2, 1], ids, torch.tensor([1.0, 2.0, 3.0, 5.0, 1.0, 4.0]))


@pytest.mark.parametrize(("settings", "wanted"), [({}, None), ({"nonzero_only": True}, [3.0, 3.0, 2.0])])
def test_whole_cells_stand_beside_the_mean_of_each_gene(settings, wanted) -> None:
    facts = Metadata(core=replace(METADATA.core, value_encoder="continuous"), special_ids=(0, 1, 2, 3))
    objective = make("whole_cell", facts, settings)
    prepared = objective.prepare(values_of_cells(), torch.arange(3), 0, 0)
    dense = torch.zeros(3, 32, dtype=torch.float64)
    dense[[0, 0, 0, 1, 1, 2], [4, 5, 6, 4, 6, 5]] = values_of_cells().values.double()
    usual, scored = dense[:, 4:], torch.ones(3, 28, dtype=torch.bool)
    guess = usual.mean(0)
    if wanted is not None:
        scored, guess = usual != 0, torch.zeros(28, dtype=torch.float64)
        guess[:3] = torch.tensor(wanted)
    baseline = objective.baseline()
    baseline.update(prepared)
    error = ((usual - guess) ** 2)[scored].mean()
    assert means(baseline.report(prepared))["gene_mean"] == pytest.approx(float(error))
    assert float(baseline.report(prepared)["gene_mean"][1]) == objective.counts(prepared)["loss"]


def pairs(lengths: list[tuple[int, int]]) -> Batch:
    """A first token, a text and its end, another text and its end."""
    ids, segments = [], []
    for first, second in lengths:
        ids += [0, *[9] * first, 1, *[11] * second, 1]
        segments += [0] * (first + 2) + [1] * (second + 1)
    batch = pack_of([first + second + 3 for first, second in lengths], torch.tensor(ids))
    return replace(batch, segments=torch.tensor(segments))


@pytest.mark.parametrize("negatives", ["order", "next"])
def test_pairs_without_a_text_are_left_out(negatives: str) -> None:
    objective = make("pair_order", METADATA, {"negatives": negatives, "share": 1.0})
    whole = pairs([(2, 3), (4, 0), (1, 1), (0, 2), (3, 1)])
    prepared = objective.prepare(whole, torch.arange(5), 0, 0)
    assert prepared.extra["negative"].tolist() == [1, -100, 1, -100, 1]
    assert objective.counts(prepared) == {"loss": 3.0}
    start, end = prepared.batch.offsets[1:3].tolist()
    assert torch.equal(prepared.batch.ids[start:end], whole.ids[whole.offsets[1] : whole.offsets[2]])
    baseline = objective.baseline()
    baseline.update(prepared)
    assert means(baseline.report(prepared))["majority"] == 1.0
