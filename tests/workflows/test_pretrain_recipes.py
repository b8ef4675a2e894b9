"""The recipes of pretraining plan a run on small data, and the curve of a run can be drawn."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biolm.adapters.cells.downsample import Downsampling
from biolm.cli.main import app
from biolm.training.config.read import read_config

FOLDER = Path(__file__).resolve().parents[2] / "workflows" / "pretrain"
RECIPES = sorted(FOLDER.glob("*.yaml"))
SEQUENCES = {
    "protein": "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV",
    **dict.fromkeys(("evo", "xlnet"), "ACGTTGCAACGGTTAACCGATCGATTACGCTAGCTAGGATCCATGCATCGTTAAGCTAGC" * 20),
    "dna": "ACGTTGCAACGGTTAACCGATCGATTACGCTAGCTAGGATCCATGCATCGTTAAGCTAGC" * 20,
}


def _data(recipe: Path, repository: Path, folder: Path) -> Path:
    kind = recipe.stem.partition("-")[0]
    if kind not in SEQUENCES:
        return repository / "data/cells/pbmc68k_reduced_counts_700.h5ad"
    path = folder / "sequences.fasta"
    path.write_text("".join(f">{number}\n{SEQUENCES[kind]}\n" for number in range(200)))
    return path


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_plans_a_run(recipe: Path, repository: Path, tmp_path: Path) -> None:
    changes = [f"data.paths=[{_data(recipe, repository, tmp_path)}]", "data.validation=0.2"]
    options = [part for change in changes for part in ("--set", change)]
    result = CliRunner().invoke(app, ["pretrain", str(recipe), "--dry-run", *options])
    assert result.exit_code == 0, result.output
    table = dict(re.split(r"\s{2,}", line) for line in result.stdout.splitlines() if "  " in line)
    numbers = {name: float(value.replace(",", "")) for name, value in table.items()}
    assert numbers["training examples"] > 100
    assert numbers["steps"] > 0
    assert numbers["parameters"] < 5e6


def test_cells_of_a_recipe_are_thinned() -> None:
    assert read_config(FOLDER / "cell-mini.yaml").data.downsample == Downsampling(share=0.5)


def test_there_is_a_recipe_of_each_kind() -> None:
    assert {path.stem for path in RECIPES} >= {
        "cell-mini",
        "geneformer-mini",
        "scgpt-mini",
        "scconcept",
        "concerto",
        "protein-mini",
        "evo-mini",
    }


@pytest.mark.parametrize("content", [None, "name,score\na,1\n"])
def test_a_table_that_is_no_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        (tmp_path / "x.csv").write_text(content)
    monkeypatch.setattr(sys, "argv", ["curve.py", str(tmp_path / "x.csv"), str(tmp_path / "x.png")])
    with pytest.raises(SystemExit):
        runpy.run_path(str(FOLDER / "curve.py"), run_name="__main__")
    assert "is no metrics.csv of a run" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_the_curve_of_a_run_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, picture = tmp_path / "metrics.csv", tmp_path / "curve.svg"
    rows = ["10,train,loss,6.5", "20,validation,loss,6.2", "20,validation,unigram,6.4"]
    metrics.write_text("\n".join(["step,split,name,value", *rows]) + "\n")
    monkeypatch.setattr(sys, "argv", ["curve.py", str(metrics), str(picture)])
    runpy.run_path(str(FOLDER / "curve.py"), run_name="__main__")
    assert picture.read_text().count("<path") > 2
