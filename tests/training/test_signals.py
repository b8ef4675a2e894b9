"""Ctrl-C and the signal to terminate: a step is finished and saved, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from small_runs import same, values_of, weights, write_folder

from biolm.training.config.read import build
from biolm.training.run.module import Pretraining
from biolm.training.run.stop import Stop
from biolm.training.run.train import train


@pytest.fixture
def cells(tmp_path):
    return write_folder(tmp_path / "cells")


def test_signals_passed_on_are_one_wish(monkeypatch):
    now = [5.0]
    monkeypatch.setattr("biolm.training.run.stop.time.monotonic", lambda: now[0])
    stop = Stop()
    for later in (0.0, 0.3, 0.9):
        now[0] = 5.0 + later
        stop.hear(signal.SIGTERM, None)
    now[0] = 6.5
    with pytest.raises(SystemExit, match="143"):
        stop.hear(signal.SIGTERM, None)
    stop.hear(signal.SIGINT, None)
    now[0] = 9.0
    with pytest.raises(KeyboardInterrupt):
        stop.hear(signal.SIGINT, None)


@pytest.mark.slow
def test_readers_end_with_a_process_that_fails(cells, tmp_path):
    """Also where what ends with the process was arranged before torch was imported."""
    values = values_of(cells)
    values["data"]["workers"] = 2
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    script = "import tempfile\nkept = tempfile.TemporaryDirectory()\n"
    script += (
        "from biolm.training.config.read import read_config\nfrom biolm.training.run import train as run\n"
    )
    script += "run.Pretraining.training_step = lambda *args: 1 / 0\n"
    script += "run.train(read_config('run.yaml'), run.Path('run'))\n"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("step", [2, 3, 6])
def test_a_signal_loses_no_validation(cells, tmp_path, monkeypatch, step):
    """Step 3 is followed by a validation; step 6 is the last one, after which the model is written."""
    config = build(values_of(cells, save="best", patience=9))
    whole = train(config, tmp_path / "whole")
    usual = Pretraining.training_step

    def signalled(self, batch, batch_idx):
        if self.step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(self, batch, batch_idx)

    monkeypatch.setattr(Pretraining, "training_step", signalled)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    assert max((tmp_path / "run" / "checkpoints").iterdir()).name == f"step-{step:08d}"
    assert (tmp_path / "run" / "model").exists() == (step == 6)
    monkeypatch.undo()
    result = train(config, tmp_path / "run", resume=True)
    assert result.scores == whole.scores
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    validations = [
        [
            line
            for line in (tmp_path / name / "metrics.csv").read_text().splitlines()
            if ",validation," in line
        ]
        for name in ("run", "whole")
    ]
    assert validations[0] == validations[1]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_after_a_step_that_is_saved(cells, tmp_path, number, status, workers):
    values = values_of(cells, max_steps=300, max_epochs=9999, validate_every=300, checkpoint_every=300)
    values["data"]["workers"] = workers
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "biolm", "pretrain", "long.yaml", "-o", "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # A terminal, and a scheduler, send it to all processes.
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as job:
        metrics = tmp_path / "run" / "metrics.csv"
        while job.poll() is None and not (metrics.exists() and metrics.read_text().count("loss") > 2):
            time.sleep(0.02)
        os.killpg(job.pid, number)
        said = job.communicate(timeout=600)[1]
    assert job.returncode == status, said
    assert said.count("stopping after this step") == 1
    [saved] = (tmp_path / "run" / "checkpoints").iterdir()
    assert f"saved step {int(saved.name[-8:])}; go on from there with --resume" in said
    train(build(values), tmp_path / "run", resume=True)
    train(build(values), tmp_path / "whole")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
