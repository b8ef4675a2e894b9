"""``biolm search`` through the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.io.table import side_car


@pytest.fixture(scope="module")
def blood(shipped_cells: Path) -> str:
    return str(shipped_cells / "pbmc68k_reduced_counts_700.h5ad")


def test_build_and_query(blood: str, shipped_cells: Path, tmp_path: Path) -> None:
    index, table = str(tmp_path / "index"), tmp_path / "found.tsv"
    built = CliRunner().invoke(app, ["search", "build", blood, "-o", index, "--label", "cell_type"])
    assert built.exit_code == 0, built.output
    cite = str(shipped_cells / "pbmc_cite_10k.h5ad")
    asked = CliRunner().invoke(app, ["search", "query", cite, "-i", index, "-o", str(table), "-k", "2"])
    assert asked.exit_code == 0, asked.output
    with table.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 400
    assert {row["rank"] for row in rows} == {"1", "2"}
    assert side_car(table).is_file()


@pytest.mark.parametrize(
    ("extra", "status", "says"),
    [
        (["--label", "nothing"], 1, "has no column 'nothing'"),
        (["--metric", "far"], 2, "--metric must be one of"),
        (["-m", "genetex"], 2, "did you mean 'genetext'?"),
    ],
)
def test_a_bad_build_leaves_nothing(blood: str, tmp_path: Path, extra, status: int, says: str) -> None:
    result = CliRunner().invoke(app, ["search", "build", blood, "-o", str(tmp_path / "i"), *extra])
    assert (result.exit_code, list(tmp_path.iterdir())) == (status, [])
    assert says in result.stderr
