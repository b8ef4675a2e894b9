"""Triplets: SCimilarity's recorded choice and losses, plain loops, and two ranks against one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from packs import FACTS, make_core, pack_of
from safetensors.torch import load_file
from torch import Tensor, multiprocessing

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


def test_loss_by_hand() -> None:
    core, batch = make_core(), pack_of([5, 8, 3, 9, 6, 4, 7])
    labels = {
        "cell_type": torch.tensor([0, 0, 1, 1, -100, 0, 2]),
        "study": torch.tensor([0, 1, 0, 1, 0, 1, 0]),
    }
    objective = make("triplet", FACTS, {"negatives": "hardest", "margin": 0.5, "related": [[1, 2]]})
    prepared = objective.prepare(batch, batch.index, 0, 0, labels)
    loss, metrics = objective.loss(core, prepared)
    states = core(batch).last_hidden_state.detach().double().numpy()
    vectors = states[batch.offsets[:-1].numpy()]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kind, study = labels["cell_type"].numpy(), labels["study"].numpy()
    losses = []
    for i in range(7):
        for j in range(i + 1, 7):
            if kind[i] != kind[j] or kind[i] == -100 or study[i] == study[j]:
                continue
            rivals = [k for k in range(7) if kind[k] not in (kind[i], -100) and {kind[k], kind[i]} != {1, 2}]
            distance = [np.sum((vectors[i] - vectors[k]) ** 2) for k in rivals]
            near = np.linalg.norm(vectors[i] - vectors[j])
            if near**2 - min(distance) + 0.5 > 0:
                losses.append(max(near - np.sqrt(min(distance)) + 0.5, 0))
    assert metrics["loss"][1].item() == len(losses) == 3
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_without_a_pair_the_loss_is_zero_and_has_a_gradient() -> None:
    core, batch = make_core(), pack_of([5, 8])
    objective = make("triplet", FACTS, {"study": None})
    prepared = objective.prepare(batch, batch.index, 0, 0, {"cell_type": torch.tensor([0, 1])})
    loss, metrics = objective.loss(core, prepared)
    loss.backward()
    assert metrics["loss"].tolist() == [0, 0]
    with pytest.raises(ConfigError, match="semihard or hardest"):
        make("triplet", FACTS, {"negatives": "all"})


SIZES = (4, 3)


def _run(rank: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Total, count and gradient of one rank's cells, or of all."""
    core = make_core()
    lengths = [5, 8, 3, 9, 6, 4, 7]
    start, end = (0, 7) if rank is None else (sum(SIZES[:rank]), sum(SIZES[: rank + 1]))
    whole = pack_of(lengths)
    batch = pack_of(lengths[start:end], whole.ids[whole.offsets[start] : whole.offsets[end]])
    labels = {
        "cell_type": torch.tensor([0, 1, 0, 1, 0, 0, 1])[start:end],
        "study": torch.arange(7)[start:end],
    }
    objective = make("triplet", FACTS, {"margin": 1.0})
    prepared = objective.prepare(batch, torch.arange(start, end), 0, 0, labels)
    total, count = objective.train().run(core, prepared).terms["loss"]
    total.backward()
    gradient = core.embeddings.token.weight.grad
    assert gradient is not None
    return total.detach(), count, gradient


def _rank(rank: int, file: str, folder: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.save(_run(rank), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, (str(tmp_path / "meet"), str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for first, second, one in zip(*ranks, _run(None), strict=True):
        assert torch.allclose(first + second, one, rtol=1e-4, atol=1e-5)
