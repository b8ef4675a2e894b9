"""Objectives that compare cells of all ranks: two ranks equal one process with the cells of both."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from packs import METADATA, make_core, pack_of
from torch import Tensor, multiprocessing

from biolm.objectives.registry import make

LENGTHS = [5, 8, 3, 9, 6, 4, 7]
SIZES = (4, 3)  # ranks hold different numbers of cells
OBJECTIVES = {
    "two_views": {"keep": [0.5, 0.8], "projection": 4, "learned": True},
    "panel_contrast": {"smallest": 0.4},
    "image_contrast": {"features": 5, "width": 3},
    "cell_similarity": {"threshold": 0.6},
    "triplet": {"margin": 1.0},
}


def _labels() -> dict[str, Tensor]:
    images = torch.randn(7, 5, generator=torch.Generator().manual_seed(3))
    images[1, 2] = math.nan
    return {"image": images, "cell_type": torch.tensor([0, 1, 0, 1, 0, 0, 1]), "study": torch.arange(7)}


def _run(name: str, rank: int | None, *, training: bool = True, real: bool = True) -> list[Tensor]:
    """Total and count of one rank's cells, or of all, and the gradients of core and heads."""
    core, whole = make_core(), pack_of(LENGTHS)
    start, end = (0, 7) if rank is None else (sum(SIZES[:rank]), sum(SIZES[: rank + 1]))
    batch = pack_of(LENGTHS[start:end], whole.ids[whole.offsets[start] : whole.offsets[end]])
    torch.manual_seed(1)
    objective = make(name, METADATA, OBJECTIVES[name]).train(training)
    labels = {column: label[start:end] for column, label in _labels().items()}
    prepared = objective.prepare(batch, torch.arange(start, end), 0, 0, labels, number=3)
    total, count = objective.run(core, replace(prepared, real=real)).terms["loss"]
    (total * real).backward()
    weights = [core.embeddings.token.weight, *objective.parameters()]
    return [total.detach(), count, *(weight.grad for weight in weights)]


def _rank(rank: int, file: str, folder: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    found = {
        training: {name: _run(name, rank, training=training) for name in OBJECTIVES}
        for training in (True, False)
    }
    found["one real"] = {name: _run(name, rank, real=rank == 0) for name in OBJECTIVES}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one_in_training_and_do_not_ask_each_other_in_validation(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, (str(tmp_path / "meet"), str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name in OBJECTIVES:
        for first, second, one in zip(*(rank[True][name] for rank in ranks), _run(name, None), strict=True):
            assert torch.allclose(first + second, one, rtol=1e-4, atol=1e-5), name
        # A batch that only keeps the second rank in step is nobody's negative.
        for found, wanted in zip(ranks[0]["one real"][name], _run(name, 0), strict=True):
            assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5), name
        # Ranks may have different numbers of validation batches, so each must do without the other.
        for number, rank in enumerate(ranks):
            alone = _run(name, number, training=False)
            for found, wanted in zip(rank[False][name], alone, strict=True):
                assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5), name
