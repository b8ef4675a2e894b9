from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.objectives.base import Metadata
from biolm.objectives.registry import make
from biolm.training.config.read import build
from biolm.training.run.callbacks import Save
from biolm.training.run.checkpoint import Progress, restore
from biolm.training.run.folder import checkpoints
from biolm.training.run.module import Pretraining
from biolm.training.run.stop import Stop
from biolm.training.run.throughput import Throughput, peak_flops, step_flops

SIZES = {"vocab_size": 50, "d_model": 16, "n_layers": 3, "n_heads": 2, "d_ff": 24}


def prepared_of(core):
    objective = make("masked_tokens", Metadata(core=core.config, mask_id=1))
    batch = Batch.from_padded(
        torch.arange(2, 38).reshape(2, 18), torch.tensor([[1] * 18, [1] * 4 + [0] * 14])
    )
    return objective, objective.prepare(batch, torch.arange(2), 0, 0)


@pytest.mark.parametrize("causal", [False, True])
def test_operations_by_hand(causal):
    core = Transformer(CoreConfig(**SIZES, head="mlm", causal=causal))
    _, prepared = prepared_of(core)
    tokens, hidden = 18 + 4, len(prepared.rows)
    layer = 4 * 16 * 16 + 2 * 16 * 24
    # Scores and their sums: two products of s x s x d each, of which a causal model needs half.
    attention = 3 * (2 * 2 * 16 * (18**2 + 4**2)) / (2 if causal else 1)
    head = 16 * 16 + 16 * 50
    assert step_flops(core, prepared) == 3 * (6 * layer * tokens + attention) + 6 * head * hidden


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    "switches", [{}, {"n_kv_heads": 1, "glu": True}, {"n_layers": 1}, {"share_layers": True}]
)
def test_operations_are_those_that_are_done(alone, switches):
    """Also where the last layer runs for the hidden tokens alone."""
    core = Transformer(CoreConfig(**SIZES | switches, head="mlm"))
    core.kernel = "math"
    objective, prepared = prepared_of(core)
    objective.reads_rows = alone
    # As many tokens in each document, as this way of counting pads them.
    batch = Batch.from_padded(torch.arange(2, 38).reshape(2, 18))
    prepared = objective.prepare(batch, torch.arange(2), 0, 0)
    with FlopCounterMode(display=False) as counted:
        objective.loss(core, prepared)[0].backward()
    assert step_flops(core, prepared, objective.narrowed) == counted.get_total_flops()


def test_rates_leave_pauses_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("biolm.training.run.throughput.time.perf_counter", lambda: now[0])
    core = Transformer(CoreConfig(**SIZES, head="mlm"))
    _, prepared = prepared_of(core)
    count = Throughput(peak=1e9)
    count.add(core, prepared)
    now[0] = 2.0
    count.pause()
    now[0] = 50.0
    count.go_on()
    now[0] = 52.0
    found = count.read(processes=2)
    assert found["tokens_per_second"] == 2 * 22 / 4
    assert found["examples_per_second"] == 2 * 2 / 4
    assert found["mfu"] == pytest.approx(step_flops(core, prepared) / 4 / 1e9)
    now[0] = 53.0
    assert count.read() == {"tokens_per_second": 0.0, "examples_per_second": 0.0, "mfu": 0.0}


def test_a_peak_is_measured_on_a_cpu_and_unknown_elsewhere():
    assert peak_flops(torch.device("cpu"), half=False) > 1e8
    assert peak_flops(torch.device("mps"), half=True) is None


def test_the_loss_scale_is_part_of_a_checkpoint(tmp_path):
    core = Transformer(CoreConfig(**SIZES, head="mlm"))
    objective, prepared = prepared_of(core)
    config = build({"data": {}, "trainer": {"max_steps": 1}})
    module = Pretraining(core, objective, config, steps=1, baseline=None, folder=tmp_path)
    optimiser = module.configure_optimizers()
    module.optimizers = lambda use_pl_optimizer=True: optimiser
    objective.loss(core, prepared)[0].backward()
    optimiser.step()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.load_state_dict({**scaler.state_dict(), "scale": 1234.0, "_growth_tracker": 7})
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler), is_global_zero=True)
    saver = Save(tmp_path / "checkpoints", None, Progress(), None, Stop())
    saver.save(trainer, module)
    [folder] = checkpoints(tmp_path)
    assert json.loads((folder / "training.json").read_text())["scaler"]["scale"] == 1234.0
    fresh = torch.amp.GradScaler("cpu")
    fresh.load_state_dict(restore(folder, module).scaler)
    assert fresh.state_dict() == scaler.state_dict()
