"""``biolm attention`` through the command line: what it writes, and that bad input leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from biolm.cli.main import app


@pytest.fixture
def arguments(goldens: Path, tmp_path: Path) -> list[str]:
    scgpt = goldens / "scgpt"
    cells, model = str(scgpt / "embed_cells.h5ad"), str(scgpt / "checkpoint")
    return ["attention", cells, "-m", model, "--cells", "3", "-o", str(tmp_path / "a.tsv")]


def test_table_and_picture(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*arguments, "--picture", str(tmp_path / "a.png")])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.tsv"]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_an_unknown_picture_is_refused_before_any_work(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*arguments, "--picture", str(tmp_path / "a.xyz")])
    assert result.exit_code == 2
    assert "use an ending among .png, .svg, .pdf" in result.stderr
    assert list(tmp_path.iterdir()) == []
