"""Triplets: SCimilarity's recorded choice and losses, and plain loops."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from packs import METADATA, make_core, pack_of
from safetensors.torch import load_file
from torch import Tensor

from biolm.errors import ConfigError
from biolm.objectives.registry import make
from biolm.objectives.triplet import Cells, TripletSettings, choose_triplets

RELATED = ((0, 4),)


@pytest.fixture(scope="module")
def recorded(goldens: Path) -> dict[str, Tensor]:
    return load_file(goldens / "scimilarity" / "io.safetensors")


def cells_as(recorded: dict[str, Tensor]) -> Cells:
    labels = recorded["labels"]
    return Cells(recorded["embedding"], labels, recorded["studies"], torch.arange(len(labels)))


def test_recorded_hardest_triplets(recorded: dict[str, Tensor]) -> None:
    settings = TripletSettings(negatives="hardest", related=RELATED)
    found = choose_triplets(cells_as(recorded), settings)
    wanted = [recorded[f"hardest/{name}"].tolist() for name in ("anchor", "positive", "negative")]
    assert sorted(zip(*[place.tolist() for place in found], strict=True)) == sorted(zip(*wanted, strict=True))


def test_recorded_losses(recorded: dict[str, Tensor]) -> None:
    vectors = recorded["embedding"]
    for kind in ("hardest", "semihard"):
        anchor, positive, negative = (
            vectors[recorded[f"{kind}/{n}"]] for n in ("anchor", "positive", "negative")
        )
        found = torch.nn.functional.triplet_margin_loss(
            anchor, positive, negative, margin=0.05, reduction="none"
        )
        assert torch.allclose(found, recorded[f"{kind}/triplet_losses"], atol=2e-6)


def test_semihard_pairs_are_the_recorded_ones_and_negatives_are_legal(recorded: dict[str, Tensor]) -> None:
    settings = TripletSettings(related=RELATED)
    anchor, positive, negative = choose_triplets(cells_as(recorded), settings)
    pairs = set(
        zip(recorded["semihard/anchor"].tolist(), recorded["semihard/positive"].tolist(), strict=True)
    )
    # The reference draws the negative at random, so only which pairs have one is fixed.
    assert set(zip(anchor.tolist(), positive.tolist(), strict=True)) == pairs
    vectors = recorded["embedding"].double().numpy()
    for a, p, n in zip(anchor.tolist(), positive.tolist(), negative.tolist(), strict=True):
        near, far = ((vectors[a] - vectors[other]) ** 2 for other in (p, n))
        assert 0 < near.sum() - far.sum() + 0.05 < 0.05
        labels = {int(recorded["labels"][a]), int(recorded["labels"][n])}
        assert len(labels) == 2
        assert labels != {0, 4}
    again = choose_triplets(cells_as(recorded), settings)[2]
    assert torch.equal(again, negative)
    cells = cells_as(recorded)
    other = Cells(cells.vectors, cells.labels, cells.studies, cells.seeds + 1000)
    assert not torch.equal(choose_triplets(other, settings)[2], negative)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_loss_by_hand(dtype: torch.dtype) -> None:
    core, batch = make_core(), pack_of([5, 8, 3, 9, 6, 4, 7])
    labels = {
        "cell_type": torch.tensor([0, 0, 1, 1, -100, 0, 2]),
        "study": torch.tensor([0, 1, 0, 1, 0, 1, 0]),
    }
    objective = make("triplet", METADATA, {"negatives": "hardest", "margin": 0.5, "related": [[1, 2]]})
    prepared = objective.prepare(batch, batch.index, 0, 0, labels)
    # Half precision may round the states of the core, but nothing after them.
    output = core(batch)
    output = dataclasses.replace(output, last_hidden_state=output.last_hidden_state.to(dtype))
    score = objective.score(core, output, prepared)
    states = output.last_hidden_state.detach().double().numpy()
    vectors = states[batch.offsets[:-1].numpy()]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kind, study = labels["cell_type"].numpy(), labels["study"].numpy()
    losses = []
    for i in range(7):
        for j in range(i + 1, 7):
            if kind[i] != kind[j] or kind[i] == -100 or study[i] == study[j]:
                continue
            negatives = [
                k for k in range(7) if kind[k] not in (kind[i], -100) and {kind[k], kind[i]} != {1, 2}
            ]
            distance = [np.sum((vectors[i] - vectors[k]) ** 2) for k in negatives]
            near = np.linalg.norm(vectors[i] - vectors[j])
            if near**2 - min(distance) + 0.5 > 0:
                losses.append(max(near - np.sqrt(min(distance)) + 0.5, 0))
    assert score.terms["loss"].count.item() == len(losses) == 3
    assert score.loss().item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_unknown_study_is_not_another_one() -> None:
    core, batch = make_core(), pack_of([5, 8, 3, 4])
    objective = make("triplet", METADATA, {"negatives": "hardest", "margin": 9.0})
    kinds = torch.tensor([0, 0, 0, 1])
    for studies, pairs in (([-100, 0, 0, 0], 0), ([-100, 0, 1, 0], 1), ([-100, -100, 1, 0], 0)):
        labels = {"cell_type": kinds, "study": torch.tensor(studies)}
        prepared = objective.prepare(batch, batch.index, 0, 0, labels)
        assert objective.run(core, prepared).terms["loss"].count.item() == pairs


def test_without_a_pair_the_loss_is_zero_and_has_a_gradient() -> None:
    core, batch = make_core(), pack_of([5, 8])
    objective = make("triplet", METADATA, {"study": None})
    prepared = objective.prepare(batch, batch.index, 0, 0, {"cell_type": torch.tensor([0, 1])})
    loss, metrics = objective.loss(core, prepared)
    loss.backward()
    assert metrics["loss"].tolist() == [0, 0]
    with pytest.raises(ConfigError, match="semihard or hardest"):
        make("triplet", METADATA, {"negatives": "all"})
