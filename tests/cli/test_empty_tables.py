"""A table without cells or genes is refused by every command that reads one; no output is left."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

from biolm.cli.main import app

COMMANDS = {
    "embed": ["embed", "{in}", "-o", "{out}"],
    "tokenize": ["tokenize", "{in}", "-m", "{repository}/data/cell-mini", "-o", "{out}.parquet"],
    "pack": ["pack", "{in}", "-o", "{out}"],
    "annotate fit": ["annotate", "fit", "{in}", "--label", "type", "-o", "{out}"],
    "search build": ["search", "build", "{in}", "-o", "{out}"],
    "evaluate": ["evaluate", "{in}", "--label", "type", "-m", "genetext", "-o", "{out}"],
    "impute": ["impute", "{in}", "-o", "{out}"],
    "fit-factors": ["fit-factors", "{in}", "-o", "{out}"],
}


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
@pytest.mark.parametrize("command", list(COMMANDS))
def test_an_empty_table_is_refused(
    command: str, shape: tuple[int, int], tmp_path: Path, repository: Path
) -> None:
    path, out = tmp_path / "x.h5ad", tmp_path / "out.h5ad"
    made = anndata.AnnData(np.zeros(shape, np.float32))
    made.obs["type"] = np.array(["a"] * shape[0], object)
    made.write_h5ad(path)
    words = [word.format(**{"in": path, "out": out, "repository": repository}) for word in COMMANDS[command]]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.stderr
    assert f"is empty: X holds {shape[0]} cells and {shape[1]} genes" in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["x.h5ad"]
