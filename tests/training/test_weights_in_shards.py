"""Weights in shards on one process, on a CPU or a GPU; needs torch alone. Two: ``test_two_processes.py``."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.errors import ConfigError
from biolm.training.run.shards import all_finite, gather, shard, spread

CORE = CoreConfig(
    vocab_size=33, d_model=64, n_layers=3, n_heads=2, d_ff=64, head="mlm", tied=True, position="rope"
)


class Step(nn.Module):
    """What a training step needs, without Lightning."""

    def __init__(self, core=CORE):
        super().__init__()
        torch.manual_seed(0)
        self.core = Transformer(core)
        self.head = nn.Linear(64, 3)
        self.average = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        self.best = {}

    def training_step(self, batch):
        output = self.core(batch, logits=torch.arange(0, len(batch.ids), 2, device=batch.ids.device))
        # The table of embeddings is also read outside of the core, as some objectives do.
        beside = self.head(output.last_hidden_state).square().mean()
        return (
            output.logits.float().logsumexp(-1).mean()
            + beside
            + self.core.embeddings.token.weight.square().mean()
        )

    def validation_step(self, batch):
        return self.training_step(batch)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def mesh(request):
    """One process."""
    backend = {"cpu": "gloo", "cuda": "nccl"}[request.param]
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh(request.param, (1,))
    dist.destroy_process_group()


def make_batch(device):
    ids = torch.randint(0, 33, (4, 50), generator=torch.Generator().manual_seed(1))
    return Batch.from_padded(ids).to(device)


@pytest.mark.parametrize("share_layers", [False, True])
def test_shards_learn_what_whole_weights_learn_and_come_back_whole(mesh, share_layers):
    import dataclasses

    device = mesh.device_type
    whole = Step(dataclasses.replace(CORE, share_layers=share_layers)).to(device)
    cut = copy.deepcopy(whole)
    shard(cut, mesh)
    assert all(isinstance(weight, DTensor) for weight in cut.parameters())
    assert all(isinstance(tensor, DTensor) for tensor in cut.average.values())
    batch = make_batch(device)
    optimisers = [torch.optim.AdamW(module.parameters(), lr=1e-2, fused=True) for module in (whole, cut)]
    for _ in range(3):
        for module, optimiser in zip((whole, cut), optimisers, strict=True):
            with torch.autocast(device, torch.bfloat16, cache_enabled=False):
                with torch.no_grad():
                    module.validation_step(batch)
                loss = module.training_step(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
    found = gather(cut.state_dict())
    assert found.keys() == whole.state_dict().keys()
    for name, tensor in whole.state_dict().items():
        assert found[name].device.type == "cpu"
        torch.testing.assert_close(found[name], tensor.cpu(), atol=1e-3, rtol=1e-3, msg=name)
    again = gather(spread(found, cut.state_dict()))
    assert all(torch.equal(again[name], found[name]) for name in found)


def test_a_number_that_is_none_is_found_in_shards(mesh):
    cut = Step().to(mesh.device_type)
    shard(cut, mesh)
    assert all_finite(cut.state_dict())
    with torch.no_grad():
        cut.core.layers[1].mlp.up.weight.to_local()[3, 5] = float("inf")
    assert not all_finite(cut.state_dict())


def test_scalars_are_refused_by_name(mesh):
    cut = Step().to(mesh.device_type)
    cut.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ConfigError, match=r"scale.*shape \(1,\)"):
        shard(cut, mesh)
