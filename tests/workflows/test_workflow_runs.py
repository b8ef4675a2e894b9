"""The workflows run whole on shipped cells; a killed run goes on; shards give the bytes of the whole job."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

import biolm

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def _killed_after_one_shard(flow: Any) -> dict[Path, int]:
    """Kill a run outright while its second job runs; when the logs of finished shards were written."""
    running = flow.start("--cores", "1", "--nolock")
    logs = flow.results / "logs" / "embed"
    for _ in range(30_000):
        if len(list(logs.glob("*/*/*.log"))) > 1 or running.poll() is not None:
            break
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert not (flow.results / "embeddings").exists()
    done = [path for path in flow.results.glob("shards/*/*/*") if path.suffix != ".partial"]
    return {
        log: log.stat().st_mtime_ns
        for log in (logs / path.relative_to(flow.results / "shards").with_suffix(".log") for path in done)
    }


def test_embed_runs_whole_after_a_kill(
    laid: Callable[[str], Any], shipped_cells: Path, tmp_path: Path
) -> None:
    flow = laid("embed")
    finished = _killed_after_one_shard(flow)
    assert finished
    status, printed = flow.run("--cores", "2")
    assert status == 0, printed
    assert {log: log.stat().st_mtime_ns for log in finished} == finished
    # Vectors of the first model, merged, are the unsharded job; those of the second enter a copy of that.
    merged = flow.results / "embeddings" / "pbmc_cite.h5ad"
    cells = shipped_cells / "pbmc_cite_10k.h5ad"
    first = biolm.embed(cells, model="genetext", output=tmp_path / "first.h5ad", block_rows=64)
    whole = biolm.embed(first, model="genetext", output=tmp_path / "whole.h5ad", key="X_again", block_rows=64)
    assert merged.read_bytes() == whole.read_bytes()
    table = anndata.read_h5ad(merged)
    assert np.array_equal(table.obsm["X_again"], table.obsm["X_genetext"])
    lines = (flow.results / "metrics.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["dataset", "question", "method", "metric", "value", "low", "high"]
    assert {line.split("\t")[2] for line in lines[1:]} >= {"X_genetext", "X_again", "PCA-50", "HVG-2000"}
    page = flow.results / "evaluation" / "pbmc_cite"
    assert "X_again" in (page / "report.html").read_text()
    # Shards and tables between are gone; nothing is left to do.
    assert not list(flow.results.glob("shards/*/*/*"))
    status, printed = flow.run("--cores", "1", "--dry-run")
    assert "Nothing to be done" in printed


def test_benchmark_runs_whole(laid: Callable[[str], Any]) -> None:
    flow = laid("benchmark")
    status, printed = flow.run("--cores", "2")
    assert status == 0, printed
    head, *lines = (flow.results / "scores.tsv").read_text().splitlines()
    assert head.split("\t") == ["dataset", "question", "method", "metric", "mean", "sd", "seeds"]
    rows = [line.split("\t") for line in lines]
    assert {row[2] for row in rows} >= {"X_genetext", "X_biolm-cell-mini", "PCA-50", "HVG-2000"}
    assert {row[6] for row in rows} == {"2"}
    # Other seeds cut other folds.
    assert any(float(row[5]) > 0 for row in rows)
    page = (flow.results / "report.html").read_text()
    assert "biolm-cell-mini" in page
    assert "PCA-50" in page
    assert not list(flow.results.glob("vectors/*/*/*.h5ad"))


def test_annotate_runs_whole(laid: Callable[[str], Any], shipped_cells: Path, tmp_path: Path) -> None:
    from biolm.tasks.annotate.predict import predict_file
    from biolm.tasks.annotate.settings import PredictSettings

    flow = laid("annotate")
    status, printed = flow.run("--cores", "2")
    assert status == 0, printed
    merged = flow.results / "predictions" / "pbmc_cite.h5ad"
    whole = tmp_path / "whole.h5ad"
    settings = PredictSettings(block_rows=64)
    predict_file(shipped_cells / "pbmc_cite_10k.h5ad", whole, flow.results / "annotator", settings)
    assert merged.read_bytes() == whole.read_bytes()
    names = anndata.read_h5ad(merged).obs["biolm_cell_type"]
    page = (flow.results / "report" / "pbmc_cite.html").read_text()
    assert f"200 cells, {(names == 'unknown').sum()} of them" in page
    # Known types may be spelled otherwise: no call is painted right or wrong.
    assert 'class="cell neutral"' in page
    assert 'class="cell right"' not in page
    assert 'class="cell wrong"' not in page
    assert (flow.results / "annotator" / "report.html").exists()


def test_a_model_that_does_not_exist_is_told(laid: Callable[[str], Any]) -> None:
    flow = laid("embed")
    flow.edit("config/config.yaml", "again: genetext", "again: genetxet")
    status, printed = flow.run("--cores", "1", "results/shards/pbmc_cite/again/1-of-2")
    assert status == 1
    assert "Error: there is no model or folder 'genetxet'; did you mean 'genetext'?" in printed
    assert not list(flow.results.glob("shards/*/again/*"))
