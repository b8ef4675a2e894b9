"""The folder of a run: what goes on, what is refused, and what is found again after any kind of end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_runs import CORE, break_at, same, values_of, weights, write_cells, write_folder

import biolm
from biolm.errors import CheckpointError, ConfigError, InputError, OutputError, TrainingError
from biolm.training.config.read import build, read_config
from biolm.training.data import cells as examples
from biolm.training.run.module import Pretraining
from biolm.training.run.train import train


@pytest.fixture
def cells(tmp_path):
    return write_folder(tmp_path / "cells")


def test_a_run_that_was_killed_before_its_model_writes_it(cells, tmp_path):
    config = build(values_of(cells))
    train(config, tmp_path / "run")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "run" / "model").iterdir()}
    shutil.rmtree(tmp_path / "run" / "model")
    result = train(config, tmp_path / "run", resume=True)
    assert result.steps == 6
    assert {path.name: path.read_bytes() for path in (tmp_path / "run" / "model").iterdir()} == whole


@pytest.mark.parametrize("change", ["added", "changed", "gone"])
def test_other_data_are_refused(cells, tmp_path, change):
    config = build(values_of(cells))
    train(config, tmp_path / "run")
    if change == "added":
        write_cells(cells / "c9.h5ad")
    elif change == "changed":
        write_cells(cells / "c1.h5ad", 7, n=41)
    else:
        (cells / "c2.h5ad").unlink()
    words = {"added": "c9.h5ad is new", "changed": "c1.h5ad was changed", "gone": "c2.h5ad is gone"}
    with pytest.raises(InputError, match=words[change]):
        train(config, tmp_path / "run", resume=True)


@pytest.mark.parametrize("change", ["order", "labels", "tokeniser"])
def test_what_else_numbers_or_describes_the_data_is_kept(cells, tmp_path, change):
    paths = [str(cells / f"c{number}.h5ad") for number in range(3)]
    (tmp_path / "list.txt").write_text("\n".join(paths))
    (tmp_path / "genes.csv").write_text("gene,kind\nENSG00000000001,a\nENSG00000000002,b\n")
    train(build(values_of(cells)), tmp_path / "first")
    values = values_of(tmp_path / "list.txt")
    values["data"] |= {
        "vocabulary": str(tmp_path / "first" / "model"),
        "labels": {"kind": {"genes": str(tmp_path / "genes.csv")}},
    }
    values["objectives"] = {"kind": {"objective": "classify", "column": "kind", "level": "token"}}
    config = build(values)
    train(config, tmp_path / "run")
    if change == "order":
        (tmp_path / "list.txt").write_text("\n".join(paths[::-1]))
        words = "another order .* name c0.h5ad first"
    elif change == "labels":
        (tmp_path / "genes.csv").write_text("gene,kind\nENSG00000000002,a\nENSG00000000001,b\n\n")
        words = "genes.csv was changed"
    else:
        facts = tmp_path / "first" / "model" / "preprocessing.json"
        content = json.loads(facts.read_text())
        facts.write_text(json.dumps(content | {"medians": [2 * number for number in content["medians"]]}))
        # The checkpoints hold the tokeniser that a vocabulary made of the data would have.
        words = "a setting of its tokeniser"
        shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(InputError, match=words):
        train(config, tmp_path / "run", resume=True)


def test_the_data_may_lie_elsewhere(cells, tmp_path, monkeypatch):
    """As where they are copied to the disk of a node, under another path and with other times."""
    (tmp_path / "genes.csv").write_text("gene,kind\nENSG00000000001,a\nENSG00000000002,b\n")

    def config(folder):
        values = values_of(folder / "cells")
        values["data"]["labels"] = {"kind": {"genes": str(folder / "genes.csv")}}
        values["objectives"] = {"kind": {"objective": "classify", "column": "kind", "level": "token"}}
        return build(values)

    train(config(tmp_path), tmp_path / "whole")
    break_at(monkeypatch, 5)
    with pytest.raises(RuntimeError, match="killed"):
        train(config(tmp_path), tmp_path / "run")
    monkeypatch.undo()
    (tmp_path / "node").mkdir()
    for name in ("genes.csv", "cells"):
        shutil.move(tmp_path / name, tmp_path / "node" / name)
    for number, path in enumerate(sorted((tmp_path / "node" / "cells").iterdir())):
        os.utime(path, (number, number))
    train(config(tmp_path / "node"), tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert stored["data"]["paths"] == [str(tmp_path / "node" / "cells")]


@pytest.mark.parametrize("key", ["max_steps", "max_epochs"])
def test_a_run_may_go_on_for_longer(cells, tmp_path, key):
    """With a rate that does not depend on the length it ends as a run that was as long from the start."""
    values = values_of(cells) | {"schedule": {"kind": "constant", "warmup": 2}}
    values["trainer"] |= {"max_epochs": 1, "max_steps": 0} if key == "max_epochs" else {}
    longer = {**values, "trainer": {**values["trainer"], key: {"max_steps": 9, "max_epochs": 2}[key]}}
    short = train(build(values), tmp_path / "run")
    whole = train(build(longer), tmp_path / "whole")
    assert whole.steps > short.steps
    assert train(build(longer), tmp_path / "run", resume=True).steps == whole.steps
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    with pytest.raises(ConfigError, match=rf"trainer.{key} is .*; it may only grow"):
        train(build(values), tmp_path / "run", resume=True)


@pytest.mark.parametrize("patience", [0, 1])
def test_a_run_that_has_ended_learns_nothing_from_another_rate(cells, tmp_path, patience):
    values = values_of(cells, patience=patience, validate_every=1, max_steps=30 if patience else 6)
    values["optimiser"] = {"lr": 1.0 if patience else 1e-3}
    done = train(build(values), tmp_path / "run")
    assert done.steps < 30
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    changed = {**values, "optimiser": {"lr": 1e-4}}
    why = "its held-out loss no longer fell" if patience else "all 6 steps are done"
    with pytest.raises(ConfigError, match=rf"has ended .*{why}.* so optimiser.lr would change nothing"):
        train(build(changed), tmp_path / "run", resume=True)
    assert {path: path.read_bytes() for path in before} == before
    # What changes no result is taken; there is nothing left to do.
    values["data"]["workers"] = 1
    assert train(build(values), tmp_path / "run", resume=True).steps == done.steps


@pytest.mark.parametrize("fault", ["checkpoint", "data"])
def test_a_resume_that_fails_leaves_the_config(cells, tmp_path, monkeypatch, fault):
    values = values_of(cells)
    break_at(monkeypatch, 5)
    with pytest.raises(RuntimeError, match="killed"):
        train(build(values), tmp_path / "run")
    monkeypatch.undo()
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    if fault == "data":
        write_cells(cells / "c1.h5ad", 7, n=41)
    else:
        (tmp_path / "run" / "checkpoints" / "step-00000004" / "training.json").write_text("{}")
    with pytest.raises((InputError, CheckpointError)):
        train(build({**values, "optimiser": {"lr": 1e-5}}), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_panels_and_columns_do_not_depend_on_where_the_command_is_given(cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "age").mkdir()
    (tmp_path / "panel.txt").write_text("ENSG00000000001\nENSG00000000002\n")
    values = values_of(cells) | {"objectives": {"panel_contrast": {"smallest": 0.2, "panels": ["panel.txt"]}}}
    values["data"]["groups"] = "age"
    train(build(values), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = read_config(tmp_path / "run" / "config.yaml")
    assert config.data.groups == "age"
    train(config, tmp_path / "run", resume=True)
    (tmp_path / "panel.txt").write_text("ENSG00000000001\nENSG00000000003\n\n")
    with pytest.raises(InputError, match=r"panel.txt was changed"):
        train(config, tmp_path / "run", resume=True)


def test_two_processes_do_not_work_in_one_folder(cells, tmp_path):
    config = build(values_of(cells))
    hold = "import sys; from pathlib import Path; from biolm.io.locks import claiming\n"
    hold += f"with claiming(Path({str(tmp_path / 'run')!r})): print('held', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold], **pipes, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=r"another process works in .*run; wait for it"):
            train(config, tmp_path / "run")
        other.kill()
    train(config, tmp_path / "run")
    assert not list(tmp_path.glob(".run*"))


def test_the_folder_of_a_run_may_be_the_one_at_hand(cells, tmp_path, monkeypatch):
    config = build(values_of(cells))
    train(config, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    assert train(config, Path(), resume=True).steps == 6
    # Where no lock can be written, as in a folder above that belongs to others, there is none.
    (tmp_path / ".run.lock").mkdir()
    assert train(config, Path(), resume=True).steps == 6


def test_a_run_goes_on_without_a_second_look_at_the_data(cells, tmp_path, monkeypatch):
    config = build(values_of(cells))
    train(config, tmp_path / "whole")
    break_at(monkeypatch, 5)
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "run")
    monkeypatch.undo()

    def looked(*args, **kwargs):
        raise AssertionError("the data were looked at again")

    monkeypatch.setattr(examples.CellExamples, "blocks", looked)
    monkeypatch.setattr("biolm.training.data.kinds.vocabulary_of_data", looked)
    train(config, tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_a_slower_run_may_go_on_and_another_one_may_not(cells, tmp_path, monkeypatch, caplog):
    values = values_of(cells)
    break_at(monkeypatch, 5)
    with pytest.raises(RuntimeError, match="killed"):
        train(build(values), tmp_path / "run")
    monkeypatch.undo()
    other = build({**values, "model": {"max_length": 24, "core": {**CORE, "d_ff": 16}}})
    with pytest.raises(ConfigError, match=r"model.core.d_ff is 16, but .* began with 8; go on with .*yaml"):
        train(other, tmp_path / "run", resume=True)
    slower = {**values, "optimiser": {"lr": 1e-5}, "trainer": {**values["trainer"], "keep": 5}}
    caplog.set_level("INFO", "biolm")
    train(build(slower), tmp_path / "run", resume=True)
    assert "going on with optimiser.lr 1e-05 in place of 0.001" in caplog.messages
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["optimiser"]["lr"] == 1e-5


def test_paths_do_not_depend_on_where_the_command_is_given(cells, tmp_path, monkeypatch):
    monkeypatch.chdir(cells.parent)
    values = values_of("cells")
    train(build(values), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    biolm.pretrain(tmp_path / "run" / "config.yaml", tmp_path / "run", resume=True)


def test_folders_that_hold_no_run_are_left_alone(cells, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds no run"):
        train(build(values_of(cells)), tmp_path / "run", resume=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_it(cells, tmp_path, monkeypatch):
    break_at(monkeypatch, 5)
    with pytest.raises(RuntimeError, match="killed"):
        train(build(values_of(cells)), tmp_path / "run")
    monkeypatch.undo()
    last = tmp_path / "run" / "checkpoints" / "step-00000004"
    for name in (".step-00000006.partial-123", ".step-00000006.old-123", "step-00000008.bak"):
        (last.parent / name).mkdir()
    for damage in ("half", "{}", "optimiser", "vocabulary"):
        shutil.copytree(last, tmp_path / "good")
        if damage == "half":
            (last / "training.safetensors").write_bytes(b"half")
        elif damage == "{}":
            (last / "training.json").write_text("{}")
        elif damage == "optimiser":
            state = load_file(last / "training.safetensors")
            kept = {name: tensor for name, tensor in state.items() if not name.startswith("optimiser")}
            save_file(kept, last / "training.safetensors")
        else:
            (last / "vocab.json").unlink()
        with pytest.raises(CheckpointError, match=r"step-00000004 is damaged.*go on from step-00000002"):
            train(build(values_of(cells)), tmp_path / "run", resume=True)
        shutil.rmtree(last)
        (tmp_path / "good").rename(last)
    shutil.rmtree(last)
    # What can be made again is.
    np.save(tmp_path / "run" / "lengths.npy", np.arange(3))
    with (tmp_path / "run" / "metrics.csv").open("a") as file:
        file.write("\n4,tra")
    train(build(values_of(cells)), tmp_path / "run", resume=True)
    assert not list(last.parent.glob(".*"))


@pytest.mark.parametrize(
    ("trainer", "step", "words"),
    [
        ({}, 0, r"lower optimiser.lr \(now 0.001\) and begin again in another folder"),
        ({}, 1, "there is no checkpoint yet"),
        ({"clip": 0}, 4, r"or set trainer.clip, and go on from the last good checkpoint .`resume=True`"),
    ],
)
def test_advice_about_a_loss_that_is_no_number_can_be_followed(
    cells, tmp_path, monkeypatch, trainer, step, words
):
    usual = Pretraining.training_step

    def poisoned(self, batch, batch_idx):
        if self.step == step:
            with torch.no_grad():
                self.core.layers[0].mlp.up.weight.fill_(torch.nan)
        return usual(self, batch, batch_idx)

    monkeypatch.setattr(Pretraining, "training_step", poisoned)
    with pytest.raises(TrainingError, match=words):
        train(build(values_of(cells, **trainer)), tmp_path / "run")
    monkeypatch.undo()
    with safe_open(tmp_path / "run" / "bad_batch.safetensors", "pt") as file:
        assert file.metadata()["step"] == str(step)
    if step == 4:
        slower = values_of(cells, **trainer) | {"optimiser": {"lr": 1e-4}}
        assert train(build(slower), tmp_path / "run", resume=True).steps == 6


def test_infinite_values_are_blamed_not_the_rate(cells, tmp_path, monkeypatch):
    usual = Pretraining.training_step

    def poisoned(self, batch, batch_idx):
        batch.prepared.batch.values[2] = torch.inf
        return usual(self, batch, batch_idx)

    monkeypatch.setattr(Pretraining, "training_step", poisoned)
    values = values_of(cells) | {"objectives": {"masked_values": {}}}
    values["model"] = {"adapter": "continuous", "core": CORE}
    with pytest.raises(TrainingError, match="its values hold infinite numbers: fix the data"):
        train(build(values), tmp_path / "run")


def test_a_run_that_made_no_step_leaves_no_folder(cells, tmp_path, monkeypatch):
    break_at(monkeypatch, 0)
    monkeypatch.setattr("biolm.training.run.train._fit", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(build(values_of(cells)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_average_forgets_the_first_weights(cells, tmp_path):
    loss = {
        ema: train(build(values_of(cells, ema=ema, max_steps=30, max_epochs=99)), tmp_path / str(ema)).scores[
            "loss"
        ]
        for ema in (0.0, 0.999)
    }
    assert loss[0.999] == pytest.approx(loss[0.0], abs=0.05)
