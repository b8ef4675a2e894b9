"""Layout, style, schemas and bad input of the workflows; nothing is computed here."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.cli.workflow_config import SHEETS
from biolm.cli.workflow_schema import schema_of

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = ("annotate", "benchmark", "embed")
SAMPLES = "config/samples.tsv"


def _schema(name: str) -> dict[str, Any]:
    workflow, kind = name.split("-")
    file = WORKFLOWS / workflow / "workflow" / "schemas" / f"{kind}.schema.json"
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SHEETS)
def test_the_schemas_are_the_exported_ones(name: str) -> None:
    """Otherwise: biolm schema NAME > workflows/.../NAME.schema.json."""
    result = CliRunner().invoke(app, ["schema", name])
    assert json.loads(result.stdout) == _schema(name) == json.loads(json.dumps(schema_of(*SHEETS[name])))


def test_a_schema_that_is_none() -> None:
    result = CliRunner().invoke(app, ["schema", "embed"])
    assert result.exit_code == 2
    assert "choose from: embed-config, embed-samples" in result.output


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_fit_the_schemas(name: str) -> None:
    import jsonschema
    import yaml

    for folder in (WORKFLOWS / name, WORKFLOWS / name / ".test"):
        config = yaml.safe_load((folder / "config" / "config.yaml").read_text())
        jsonschema.validate(config, _schema(f"{name}-config"))
        sheet = (folder / SAMPLES).read_text().splitlines()[0].split("\t")
        assert set(_schema(f"{name}-samples")["required"]) <= set(sheet)


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_has_a_log_and_an_environment(name: str) -> None:
    for file in (WORKFLOWS / name / "workflow").rglob("*.smk"):
        text = file.read_text()
        assert "lambda" not in text
        for rule in re.split(r"^(?=rule |use rule )", text, flags=re.M)[1:]:
            assert "    log:" in rule
            assert "    conda:" in rule or rule.startswith("use rule")
    environment = (WORKFLOWS / name / "workflow" / "envs" / "biolm.yaml").read_text()
    # No index has this biolm, so it is installed from its clone.
    assert "- ${BIOLM_SOURCE}" in environment
    assert "BIOLM_SOURCE" in (WORKFLOWS / "common.smk").read_text()


@pytest.mark.workflow
@pytest.mark.parametrize("name", NAMES)
def test_snakemake_finds_nothing_to_mend(laid: Callable[[str], Any], name: str) -> None:
    status, printed = laid(name).run("--lint")
    assert status == 0, printed
    assert "Congratulations" in printed


@pytest.mark.workflow
def test_the_snakefiles_are_formatted() -> None:
    command = [str(Path(sys.executable).with_name("snakefmt")), "--check", str(WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.workflow
def test_a_config_that_does_not_fit(laid: Callable[[str], Any]) -> None:
    flow = laid("embed")
    flow.edit("config/config.yaml", "block_rows: 64", "block_row: 64")
    status, printed = flow.run("--dry-run")
    assert status == 1
    assert "'block_row' was unexpected" in printed


@pytest.mark.workflow
def test_maps_models_and_datasets_are_planned(laid: Callable[[str], Any]) -> None:
    flow = laid("embed")
    flow.edit("config/config.yaml", "maps: false", "maps: true")
    flow.edit(
        SAMPLES, "cell_type", "cell_type\npbmc68k\t../../../data/cells/pbmc68k_reduced_counts_700.h5ad\t"
    )
    status, printed = flow.run("--dry-run")
    assert status == 0, printed
    assert "results/evaluation/pbmc_cite/umap.png" in printed
    counts = dict(re.findall(r"^(\w+) +(\d+)$", printed, flags=re.M))
    # Two datasets, two models, two parts; a dataset without labels is not evaluated.
    assert counts | {"embed": "8", "merge": "2", "merge_last": "2", "evaluate": "1"} == counts


@pytest.mark.workflow
def test_systems_and_seeds_are_planned(laid: Callable[[str], Any]) -> None:
    flow = laid("benchmark")
    status, printed = flow.run("--dry-run")
    assert status == 0, printed
    counts = dict(re.findall(r"^(\w+) +(\d+)$", printed, flags=re.M))
    assert counts | {"embed": "4", "evaluate": "2", "table": "1"} == counts
    flow.edit("config/config.yaml", "seeds: [0, 1]", "seeds: [1, 1]")
    status, printed = flow.run("--dry-run")
    assert status == 1
    assert "names a seed twice" in printed


def test_the_benchmark_names_every_system_of_cells() -> None:
    from biolm.models.registry import available

    text = (WORKFLOWS / "benchmark" / "config" / "config.yaml").read_text(encoding="utf-8")
    for entry in available():
        if entry.reads == "cells" and "biolm." in entry.module:
            assert re.search(rf"^  (# )?{entry.name}: ", text, flags=re.M), entry.name


@pytest.fixture
def common() -> dict[str, Any]:
    """The functions that the workflows share."""
    workflow = SimpleNamespace(basedir=str(WORKFLOWS / "embed" / "workflow"))
    return runpy.run_path(str(WORKFLOWS / "common.smk"), {"workflow": workflow})


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        (
            "dataset\tpath\tlable\na\tx.h5ad\tt\n",
            "has a column 'lable' that is not known; columns are: dataset, path",
        ),
        ("dataset\tlabel\na\tt\n", "has no column 'path'"),
        ("dataset\tpath\na\tmissing.h5ad\n", "there is no missing.h5ad for dataset 'a'; correct the path"),
        ("dataset\tpath\na\t\n", "line 2 of .* fill dataset and path"),
        ("dataset\tpath\na\tx.h5ad\tmore\n", "line 2 of .* does not fit its columns"),
        ("dataset\tpath\na\tx.h5ad\na\tx.h5ad\n", "names dataset 'a' twice"),
        ("dataset\tpath\n", "lists no dataset"),
        (None, "there is no sample sheet"),
    ],
)
def test_a_sample_sheet_that_does_not_fit(
    common: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sheet: str | None, message: str
) -> None:
    from snakemake.exceptions import WorkflowError

    monkeypatch.chdir(tmp_path)
    Path("x.h5ad").touch()
    if sheet is not None:
        Path("samples.tsv").write_text(sheet)
    with pytest.raises(WorkflowError, match=message):
        common["read_sheet"]("samples.tsv", _schema("embed-samples"))


@pytest.mark.workflow
def test_config_sections_become_options(common: dict[str, Any]) -> None:
    section = _schema("embed-config")["properties"]["evaluate"]
    chosen = {"folds": 3, "draws": 5, "curves": False, "leave_out": ["other", "doublet"], "seed": None}
    words = common["command_options"](chosen, section)
    assert words == ["--folds", "3", "--no-curves", "--leave-out", "other", "--leave-out", "doublet"]
    assert common["column_options"]({"path": "x", "label": "t"}, ["label", "batch"]) == ["--label", "t"]
