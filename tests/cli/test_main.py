"""The command line itself: what it prints, where, and how fast it answers."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import anndata
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import biolm
from biolm.cli.arguments import Common, add
from biolm.cli.main import COMMANDS, app
from biolm.errors import ConfigError, InputError

HEAVY = ("torch", "anndata", "scanpy", "pandas", "numba", "pyarrow", "zarr", "matplotlib", "h5py")


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **options)


@pytest.fixture
def cite(shipped_cells: Path) -> str:
    return str(shipped_cells / "pbmc_cite_10k.h5ad")


def test_import_biolm_loads_nothing_heavy():
    code = "import biolm, sys; dir(biolm); print([m for m in sys.argv[1:] if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_help_loads_nothing_heavy_and_is_quick():
    code = (
        "import sys, time\n"
        "from biolm.cli.main import COMMANDS, app\n"
        "app(['--help'], standalone_mode=False)\n"
        f"print([m for m in {HEAVY} if m in sys.modules], time.process_time())"
    )
    *text, last = python(code).stdout.splitlines()
    loaded, seconds = last.rsplit(" ", 1)
    assert loaded == "[]"
    # CPU time of the whole process, which a busy machine changes little: 0.3 s on a free one.
    assert float(seconds) < 3
    assert any("embed" in line and "Turn every cell or sequence of a file" in line for line in text)


@pytest.mark.parametrize(
    ("words", "others"), [(["merge", "-h"], False), (["text", "qa", "yesno", "-h"], False), (["-h"], True)]
)
def test_a_command_imports_no_other(words, others):
    code = (
        "import sys\n"
        "from biolm.cli import main\n"
        f"sys.argv = ['biolm', *{words}]\n"
        "try:\n    main.run()\nexcept SystemExit:\n    pass\n"
        "print('biolm.cli.embed' in sys.modules, 'biolm.cli.spatial_train' in sys.modules)"
    )
    assert python(code).stdout.splitlines()[-1] == f"{others} {others}"


def test_help_has_one_line_for_every_command():
    result = CliRunner().invoke(app, ["--help"])
    for command in {name.partition(" ")[0] for name in COMMANDS}:
        lines = [line for line in result.stdout.splitlines() if line.startswith(f"│ {command} ")]
        assert len(lines) == 1
        assert lines[0].rstrip("│ ").endswith(".")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help(command):
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    options = [line for line in result.stdout.splitlines() if line.startswith("│") and " --" in line]
    assert options
    assert all(line.rstrip("│ ").endswith((".", "]", ")", "...", "mps ...")) for line in options), (
        result.stdout
    )


def test_version():
    assert CliRunner().invoke(app, ["--version"]).stdout.strip() == f"biolm {biolm.__version__}"


def test_public_names_resolve():
    for name in biolm.__all__:
        assert getattr(biolm, name) is not None
    assert biolm.tl.embed
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = biolm.nothing


def test_embed_then_read(cite, tmp_path):
    target = tmp_path / "out.h5ad"
    result = CliRunner().invoke(app, ["embed", cite, "-o", str(target)])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "genes: " in result.stderr
    assert "wrote" in result.stderr
    adata = anndata.read_h5ad(target)
    assert adata.obsm["X_cellfactors"].dtype == np.float32
    np.testing.assert_array_equal(adata.obsm["X_cellfactors"], biolm.embed(cite).obsm["X_cellfactors"])


def test_json_goes_to_stdout_alone(cite, tmp_path):
    result = CliRunner().invoke(app, ["embed", cite, "-o", str(tmp_path / "x.parquet"), "--json"])
    summary = json.loads(result.stdout)
    assert summary["cells"] == 200
    assert summary["key"] == "X_cellfactors"
    assert summary["output"].endswith("x.parquet")
    assert summary["provenance"]["genes"]["matched"] > 10_000


def test_quiet_prints_nothing(cite, tmp_path):
    result = CliRunner().invoke(app, ["embed", cite, "-o", str(tmp_path / "x.npy"), "--quiet"])
    assert (result.exit_code, result.output) == (0, "")
    assert logging.getLogger("biolm").handlers == []


def test_no_colour_and_no_bar_when_not_a_terminal(cite, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "biolm", "embed", cite, "-o", str(tmp_path / "x.npy")],
        capture_output=True, check=True,
    )  # fmt: skip
    assert b"\x1b" not in result.stderr
    assert b"\r" not in result.stderr
    assert result.stdout == b""


def test_models_lists_built_in_and_systems():
    text = CliRunner().invoke(app, ["models"]).stdout
    assert text.index("cellfactors") < text.index("genetext") < text.index("geneformer")
    rows = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    built_in = {row["name"]: row["built_in"] for row in rows}
    assert built_in["cellfactors"] is built_in["genetext"] is True
    assert built_in["scgpt"] is False
    cells = {row["name"]: row for row in rows if row["reads"] == "cells"}
    wanted = ("licence_of_code", "licence_of_weights", "species", "gene_ids", "input", "cannot")
    assert all(row[field] for row in cells.values() for field in wanted)
    assert cells["tahoe"]["hub"] == "tahoebio/Tahoe-x1:70m-model"
    assert cells["scconcept"]["species"] == ["human"]
    assert cells["cell2sentence"]["commercial_use"] is False
    assert "lixiangchun/transcriptome-gpt-1024-8-16-64" in text


def test_debug_shows_the_traceback(tmp_path):
    arguments = ["embed", str(tmp_path / "none.h5ad"), "-o", str(tmp_path / "x.h5ad")]
    assert "Traceback" not in CliRunner().invoke(app, arguments).stderr
    result = CliRunner().invoke(app, [*arguments, "--debug"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "InputError" in result.stderr


class _Fails(Common):
    pass


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (InputError("two\n lines"), 1, "Error: two lines"),
        (ConfigError("wrong"), 2, "Error: wrong"),
        (MemoryError(), 1, "Error: not enough memory"),
        (PermissionError(13, "Permission denied", "x.h5ad"), 1, "Error: x.h5ad: Permission denied"),
        (KeyError("gene"), 1, "Error: unexpected KeyError: 'gene' (--debug shows where"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_failure_is_one_sentence(error, status, says):
    def fail(chosen: Common) -> None:
        """Fail."""
        raise error

    broken = typer.Typer()
    add(broken, "fail", fail, Common)
    result = CliRunner().invoke(broken)
    assert result.exit_code == status
    assert result.stderr.startswith(says)
    assert len(result.stderr.splitlines()) == 1


def test_arguments_become_options():
    import dataclasses

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Arguments(Common):
        name: Annotated[str, typer.Argument(help="Name.")]
        times: Annotated[int, typer.Option(help="Times.")] = 2

    seen = []
    tool = typer.Typer()
    add(tool, "greet", seen.append, Arguments)
    assert CliRunner().invoke(tool, ["ann", "--times", "3"]).exit_code == 0
    assert seen == [Arguments(name="ann", times=3)]
    assert CliRunner().invoke(tool, []).exit_code == 2


def test_a_terminated_job_leaves_only_what_can_go_on(cite, tmp_path):
    """SIGTERM, as schedulers send it, ends a job like an interruption."""
    code = (
        "import sys, time\n"
        "from biolm.cli import main\n"
        "from biolm.models.systems.cellfactors import CellFactors\n"
        "embed = CellFactors.embed\n"
        "blocks = iter([0, 0])\n"
        "CellFactors.embed = lambda *a: (time.sleep(next(blocks, 600)), embed(*a))[1]\n"
        "CellFactors.block_rows = 10\n"
        "main.run()\n"
    )
    target = tmp_path / "out.h5ad"
    job = subprocess.Popen([sys.executable, "-c", code, "embed", cite, "-o", str(target), "-q"])
    landed = tmp_path / "out.h5ad.partial"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not any(landed.glob("*.block")):
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGTERM)
    assert job.wait() == 143
    assert not target.exists()
    assert any(landed.glob("*.block"))
