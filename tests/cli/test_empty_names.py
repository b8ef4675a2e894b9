"""An option that names genes and is empty is not taken for one that was left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from biolm.cli.main import app


@pytest.mark.parametrize("given", ["", " ", ",", " , "])
@pytest.mark.parametrize(
    ("command", "option"), [("impute", "--gene"), ("perturb", "--delete"), ("perturb", "--overexpress")]
)
def test_empty_names_are_refused(
    shipped_cells: Path, tmp_path: Path, command: str, option: str, given: str
) -> None:
    cells = str(shipped_cells / "pbmc68k_reduced_counts_700.h5ad")
    out = tmp_path / "out.csv"
    ran = CliRunner().invoke(app, [command, cells, option, "CD3D", option, given, "-o", str(out)])
    assert ran.exit_code == 2, ran.output
    assert f"{option} is empty; name a gene, or leave it out" in " ".join(ran.stderr.split())
    assert not list(tmp_path.iterdir())
