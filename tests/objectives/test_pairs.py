"""Losses of pairs: recorded ones, a float64 re-derivation, and two ranks against one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from perturb import relative
from safetensors.torch import load_file
from torch import Tensor, multiprocessing

from biolm.errors import ConfigError
from biolm.objectives.gather import gather_rows
from biolm.objectives.pairs import Temperature, score_pairs
from biolm.objectives.similarity import elastic_similarity


def by_hand(first: NDArray, second: NDArray, scale: float, usable: NDArray, within: bool) -> float:
    """Each vector against each other one, in plain loops."""
    both = np.concatenate([first[usable], second[usable]]).astype(np.float64)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    n = len(both) // 2
    total = 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        negatives = range(2 * n) if within else (range(n, 2 * n) if i < n else range(n))
        scores = [scale * both[i] @ both[j] for j in negatives if j != i]
        total += np.log(np.sum(np.exp(scores))) - scale * both[i] @ both[partner]
    return total / (2 * n)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("left_out", [(), (1, 4)])
def test_by_hand(within: bool, left_out: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 7, 5)).astype(np.float32)
    usable = np.ones(7, bool)
    usable[list(left_out)] = False
    score = score_pairs(
        torch.tensor(first),
        torch.tensor(second),
        torch.tensor(4.0),
        usable=torch.tensor(usable),
        within=within,
    )
    assert score.loss().item() == pytest.approx(by_hand(first, second, 4.0, usable, within), rel=1e-5)
    assert score.terms["loss"].count.item() == usable.sum()
    negatives = usable.sum() * (2 if within else 1) - within
    assert score.metrics["chance"].mean.item() == pytest.approx(np.log(negatives), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_near_vectors_are_told_apart_in_mixed_precision(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1, 64, generator=generator)
    first = common + 0.02 * torch.randn(200, 64, generator=generator)
    second = first + 1e-4 * torch.randn(200, 64, generator=generator)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        score = score_pairs(first, second, torch.tensor(50.0))
        similarity = elastic_similarity(first, 0.3)
    wanted = by_hand(first.numpy(), second.numpy(), 50.0, np.ones(200, bool), False)
    assert score.loss().item() == pytest.approx(wanted, rel=1e-4)
    assert score.metrics["recall"].mean.item() > 0.99
    unit = first.double() / first.double().norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).clamp(min=0).fill_diagonal_(0)
    assert torch.allclose(similarity.double(), (1 - (cosine - 0.3) ** 2).mean(1), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("within", [False, True])
def test_vectors_in_half_precision_are_compared_in_single(dtype: torch.dtype, within: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(1, 64, generator=generator) + 0.3 * torch.randn(50, 64, generator=generator)
    second = first + 0.1 * torch.randn(50, 64, generator=generator)
    first, second = first.to(dtype), second.to(dtype)
    score = score_pairs(first, second, torch.tensor(50.0), within=within)
    exact = first.double(), second.double()
    wanted = by_hand(*(side.numpy() for side in exact), 50.0, np.ones(50, bool), within)
    assert score.loss().item() == pytest.approx(wanted, rel=1e-5)
    unit = exact[0] / exact[0].norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).clamp(min=0).fill_diagonal_(0)
    similarity = elastic_similarity(first, 0.3)
    assert torch.allclose(similarity.double(), (1 - (cosine - 0.3) ** 2).mean(1), rtol=0, atol=1e-6)


def test_recorded_ntxent(goldens: Path) -> None:
    wanted = np.load(goldens / "concerto" / "ntxent.npz")
    first, second = (torch.tensor(wanted[name]) for name in ("z1", "z2"))
    for temperature in (0.1, 0.5):
        scale = Temperature(temperature, learned=False)()
        loss = score_pairs(first, second, scale, within=True).loss()
        # The reference adds both directions, we take their mean.
        assert 2 * loss.item() == pytest.approx(float(wanted[f"simclr_loss_t{temperature}"]), rel=2e-5)


def test_recorded_ntxent_of_sctrans(goldens: Path) -> None:
    wanted = load_file(goldens / "sctrans" / "io.safetensors")
    for temperature, vectors, name in (
        (0.1, "projection", "ntxent_t01"),
        (0.5, "encoding", "ntxent_t05_on_encodings"),
    ):
        first, second = wanted[vectors][:, 0], wanted[f"{vectors}_masked"][:, 0]
        # scTrans divides the cosines by the square root of their width too.
        scale = Temperature(temperature * math.sqrt(first.shape[1]), learned=False)()
        loss = score_pairs(first, second, scale, within=True).loss()
        assert relative(loss[None], wanted[name]) < 2e-5


def test_recorded_panels(goldens: Path) -> None:
    wanted = load_file(goldens / "scconcept" / "io.safetensors")
    weights = torch.load(goldens / "scconcept" / "model.ckpt", weights_only=True)["state_dict"]
    scale = weights["logit_scale"].exp()
    given = wanted["given/a"], wanted["given/b"]
    usable = wanted["given/items_mask"]
    found = {
        "given/clip_loss": score_pairs(*given, scale),
        "given/clip_loss_masked": score_pairs(*given, scale, usable=usable, hidden=0.0),
        "given/2n_way_loss": score_pairs(*given, scale, within=True, hidden=0.0),
    }
    step = wanted["step/cell_embs_1"], wanted["step/cell_embs_2"]
    found["step/loss_n_way"] = score_pairs(*step, scale)
    found["step/loss_2n_way"] = score_pairs(*step, scale, within=True, hidden=0.0)
    for name, score in found.items():
        assert relative(score.loss()[None], wanted[name]) < 2e-5, name
    recall = found["step/loss_n_way"].metrics["recall"].mean
    assert relative(recall[None], wanted["step/n_way/recall@1"]) < 2e-5
    # What the reference does with hidden pairs is not what a mask should do.
    assert (
        relative(score_pairs(*given, scale, usable=usable).loss()[None], wanted["given/clip_loss_masked"])
        > 1e-3
    )


def test_temperature_is_bounded_and_positive() -> None:
    assert Temperature(0.5, learned=False)().item() == pytest.approx(2)
    for wrong in (0, 1e-9, math.inf, math.nan):
        with pytest.raises(ConfigError, match=r"at least 0\.01"):
            Temperature(wrong, learned=True)


def test_temperature_finds_back_from_its_bound() -> None:
    for start, uphill, moves in (
        (6.0, False, True),
        (6.0, True, False),
        (1.0, False, True),
        (1.0, True, True),
    ):
        temperature = Temperature(0.5, learned=True)
        with torch.no_grad():
            temperature.log_scale.fill_(start)
        scale = temperature()
        assert scale.item() == pytest.approx(min(math.exp(start), 100))
        (-scale if uphill else scale).backward()
        assert bool(temperature.log_scale.grad) == moves


def test_one_process_gathers_its_own_rows() -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(gather_rows(rows).rows, rows)
    assert gather_rows(rows).start == 0


SIZES = (5, 3)  # ranks hold different numbers of pairs


def _vectors() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, sum(SIZES), 6, generator=generator)
    usable = torch.ones(sum(SIZES), dtype=torch.bool)
    usable[2] = False
    return inputs[0], inputs[1], usable


def _weights() -> tuple[Tensor, Tensor]:
    matrix = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    return matrix, torch.tensor(1.3, requires_grad=True)


def _rank(rank: int, file: str, folder: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    start = sum(SIZES[:rank])
    mine = slice(start, start + SIZES[rank])
    first, second, usable = (part[mine] for part in _vectors())
    out = {}
    for within in (False, True):
        matrix, scale = _weights()
        score = score_pairs(first @ matrix, second @ matrix, scale, usable=usable, within=within)
        total, count = score.terms["loss"]
        total.backward()
        out[within] = (total.detach(), count, matrix.grad, scale.grad, score.metrics["recall"].total)
    out["elastic"] = _elastic(first)
    torch.save(out, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _elastic(rows: Tensor) -> tuple[Tensor, Tensor]:
    matrix, _ = _weights()
    total = elastic_similarity(rows @ matrix, 0.3, everywhere=True).sum()
    total.backward()
    assert matrix.grad is not None
    return total.detach(), matrix.grad


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, (str(tmp_path / "meet"), str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    first, second, usable = _vectors()
    for within in (False, True):
        matrix, scale = _weights()
        score = score_pairs(first @ matrix, second @ matrix, scale, usable=usable, within=within)
        score.terms["loss"].total.backward()
        summed = [a + b for a, b in zip(ranks[0][within], ranks[1][within], strict=True)]
        wanted = [*score.terms["loss"], matrix.grad, scale.grad, score.metrics["recall"].total]
        for found, one in zip(summed, wanted, strict=True):
            assert torch.allclose(found, one.detach(), rtol=1e-5, atol=1e-6)
    for first_rank, second_rank, one in zip(
        ranks[0]["elastic"], ranks[1]["elastic"], _elastic(first), strict=True
    ):
        assert torch.allclose(first_rank + second_rank, one, rtol=1e-5, atol=1e-6)
