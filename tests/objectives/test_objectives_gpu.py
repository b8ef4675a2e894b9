"""Objectives on a GPU: the same masks as on a CPU, the same losses to rounding. Needs torch alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from packs import SIZES, make_core, pack_of

from biolm.batch import Batch
from biolm.core import CoreConfig
from biolm.objectives.base import Metadata, Prepared
from biolm.objectives.registry import make

pytestmark = pytest.mark.gpu

VALUED = {"value_encoder": "continuous", "head": "value", "position": "none"}
CASES = {
    "masked_tokens": ({"head": "mlm"}, {"rate": 0.3}),
    "spans": ({"head": "mlm"}, {"rate": 0.3, "span": 3.0}),
    "next_token": ({"head": "linear", "causal": True}, {"reverse_share": 0.5}),
    "masked_values": (VALUED, {"rates": [0.25, 0.5], "private": True}),
    "masked_counts": (VALUED, {"rates": [0.5]}),
    "whole_cell": (VALUED, {"read_share": 0.5}),
    "panel_contrast": ({}, {"smallest": 0.3}),
    "two_views": ({}, {"keep": [0.8, 1.0]}),
}


def case(name: str) -> tuple[object, torch.nn.Module, Batch]:
    switches, settings = CASES[name]
    facts = Metadata(core=CoreConfig(**(SIZES | switches)), special_ids=(0, 1, 2, 3), mask_id=3)
    objective = make({"spans": "masked_tokens"}.get(name, name), facts, settings)
    lengths = [30, 5, 17, 1, 44]
    values = torch.randint(0, 9, (sum(lengths),), generator=torch.Generator().manual_seed(0)).float()
    return objective.eval(), make_core(**switches), pack_of(lengths, values=values)


def tensors_of(prepared: Prepared) -> list[torch.Tensor]:
    found = [
        prepared.batch.ids,
        prepared.batch.offsets,
        prepared.rows,
        prepared.targets,
        prepared.batch.values,
    ]
    found += [*prepared.extra.values(), prepared.batch.private]
    return [tensor.cpu() for tensor in found if tensor is not None]


@pytest.mark.parametrize("name", CASES)
def test_masks_are_equal_and_losses_to_rounding(name: str) -> None:
    objective, core, batch = case(name)
    keys = torch.arange(len(batch)) * 12345
    here = objective.prepare(batch, keys, 2, 7, number=3)
    there = objective.prepare(batch.to("cuda"), keys.cuda(), 2, 7, number=3)
    for cpu, gpu in zip(tensors_of(here), tensors_of(there), strict=True):
        assert torch.equal(cpu, gpu)
    wanted, _ = objective.loss(core, here)
    found, _ = objective.cuda().loss(core.cuda(), dataclasses.replace(here).to("cuda"))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-3)
