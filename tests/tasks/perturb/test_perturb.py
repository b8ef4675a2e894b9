"""The table of a perturbation: known effects, goal states, determinism, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_cells import GENES, make_cells, make_model
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app
from biolm.errors import BiolmError, ConfigError, InputError, OutputError
from biolm.models.systems.genetext import load


@pytest.fixture(scope="module")
def stimulated(data_cells: Path) -> Path:
    return data_cells / "kang_ctrl_stim.h5ad"


@pytest.fixture(scope="module")
def genetext():
    return load()


def test_genes_of_the_interferon_response_move_cells_toward_the_stimulated(
    stimulated: Path, genetext
) -> None:
    raised = ["MX1", "ISG15", "IFIT3", "ACTB", "RPL7"]
    states = {"goal_key": "batch", "start": "ctrl", "goal": "stim", "cells": 40}
    table = biolm.perturb(stimulated, model=genetext, overexpress=raised, **states).frame().set_index("gene")
    assert table.index[:3].isin(["MX1", "ISG15", "IFIT3"]).all()
    for gene in ("MX1", "ISG15", "IFIT3"):
        row = table.loc[gene]
        assert row["goal_shift_low"] > 0.05 > row["goal_shift_control"]
        assert row["fdr"] < 1e-3
        assert row["p_paired"] < 1e-5
        assert row["percentile"] > 0.95
        assert row["cells"] == 40
    assert (table["p_value"] <= table["fdr"]).all()


def test_shifts_are_what_a_loop_over_embeddings_gives() -> None:
    model, adata = make_model(), make_cells(10)
    found = biolm.perturb(adata, model=model, delete=["gene3"], goal_key="state", goal="well", device="cpu")
    base = biolm.embed(adata, model=model, copy=True, device="cpu").obsm["X_tiny"].astype(float)
    changed = adata.copy()
    changed.X = changed.X.multiply(np.arange(40)[None] != 3).tocsr()
    after = biolm.embed(changed, model=model, device="cpu").obsm["X_tiny"].astype(float)
    goal = base[5:].mean(0)

    def cos(a, b):
        return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)

    has = adata.X.toarray()[:5, 3] > 0
    assert has.sum() == found.columns["cells"][0]
    np.testing.assert_allclose(found.shifts.shift[has, 0], 1 - cos(after, base)[:5][has], atol=1e-6)
    np.testing.assert_allclose(
        found.shifts.goal[has, 0], (cos(after, goal) - cos(base, goal))[:5][has], atol=1e-6
    )
    np.testing.assert_allclose(found.columns["goal_shift"][0], found.shifts.goal[has, 0].mean())
    assert np.isnan(found.shifts.shift[~has, 0]).all()


@pytest.mark.parametrize("kind", ["rank", "bins", "continuous"])
def test_all_genes_combinations_and_the_same_again(kind: str, tmp_path: Path) -> None:
    model, adata = make_model(kind), make_cells(16)
    screen = biolm.perturb(
        adata,
        model=model,
        genes="all",
        output=tmp_path / "a.parquet",
        minimum_cells=8,
        device="cpu",
        controls=2,
    )
    assert screen.columns["cells"].min() >= 8
    assert set(screen.columns["gene"]) < set(GENES)
    assert (np.diff(screen.columns["shift"]) <= 0).all()
    biolm.perturb(
        adata,
        model=model,
        genes="all",
        output=tmp_path / "b.parquet",
        minimum_cells=8,
        device="cpu",
        controls=2,
    )
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_table(tmp_path / "a.parquet").num_rows == len(screen.columns["gene"])
    pair = biolm.perturb(
        adata, model=model, delete=["gene0"], overexpress=["gene39"], combine=True, controls=0, device="cpu"
    )
    assert sorted(zip(pair.columns["gene"], pair.columns["edit"], strict=True)) == [
        ("-gene0 +gene39", "combined"),
        ("gene0", "delete"),
        ("gene39", "overexpress"),
    ]
    assert np.isnan(pair.columns["p_value"]).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delete": ["gene3x"]}, "there is no gene 'gene3x' in the file; similar names are GENE3"),
        ({}, "no gene is named"),
        ({"genes": "nowhere.txt"}, "no such file of gene names"),
        ({"delete": ["gene1"], "combine": True}, "at least two named genes"),
        ({"delete": ["gene1"], "overexpress": ["gene1"], "combine": True}, "at once"),
        ({"delete": ["gene1"], "goal": "well"}, "name it"),
        ({"delete": ["gene1"], "goal_key": "disease", "goal": "well"}, "has no column 'disease' but state"),
        ({"delete": ["gene1"], "goal_key": "state", "goal": "fine"}, "holds no 'fine' but ill, well"),
        ({"delete": ["gene1"], "goal_key": "state", "goal": "ill", "start": "ill"}, "choose two states"),
        ({"delete": ["gene1"], "how": "silence"}, "must be one of delete, overexpress"),
        ({"delete": ["gene1"], "output": "x.txt"}, "names no format"),
    ],
)
def test_what_is_refused(options: dict, says: str) -> None:
    with pytest.raises(BiolmError, match=says) as caught:
        biolm.perturb(make_cells(6), model=make_model(), device="cpu", **options)
    assert isinstance(caught.value, ConfigError | InputError)


def test_a_gene_that_no_cell_expresses_cannot_be_deleted() -> None:
    adata = make_cells(6)
    adata.X = adata.X.multiply(np.arange(40)[None] != 7).tocsr()
    with pytest.raises(InputError, match="none of the 6 cells expresses gene7"):
        biolm.perturb(adata, model=make_model(), delete=["gene7"], device="cpu")
    found = biolm.perturb(adata, model=make_model(), overexpress=["gene7"], device="cpu")
    assert found.columns["cells"].tolist() == [6]


def test_the_command(stimulated: Path, tmp_path: Path) -> None:
    names = tmp_path / "genes.txt"
    names.write_text("IFI6\n# a comment\nIFIT1\tinterferon\n")
    arguments = ["perturb", str(stimulated), "-o", str(tmp_path / "o.csv"), "--cells", "10"]
    states = ["--goal-key", "batch", "--start", "ctrl", "--goal", "stim"]
    genes = ["--overexpress", "ISG15,ACTB", "--genes", str(names), "--how", "overexpress"]
    done = CliRunner().invoke(app, [*arguments, *states, *genes])
    assert done.exit_code == 0, done.output
    with (tmp_path / "o.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["gene"] for row in rows} == {"ISG15", "ACTB", "IFI6", "IFIT1"}
    again = CliRunner().invoke(app, [*arguments, *genes])
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    wrong = CliRunner().invoke(
        app, ["perturb", str(stimulated), "-o", str(tmp_path / "p.csv"), "--delete", "NOPE9"]
    )
    assert (wrong.exit_code, (tmp_path / "p.csv").exists()) == (1, False)
    with pytest.raises(OutputError):
        biolm.perturb(stimulated, delete=["ISG15"], output=tmp_path / "o.csv")


@pytest.mark.parametrize("form", ["tsv", "parquet"])
def test_shards_merge_to_the_bytes_of_the_whole_and_jobs_resume(
    shipped_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    from biolm.tasks.perturb import measure, run

    monkeypatch.setattr(measure, "CELLS", 16)
    monkeypatch.setattr(run, "CELLS", 16)
    cells = shipped_cells / "pbmc_cite_10k.h5ad"
    asked = {"delete": ["CD3E", "MS4A1"], "cells": 50, "goal_key": "cell_type", "goal": "B", "controls": 2}

    def job(output: Path, **more: object) -> Path:
        biolm.perturb(cells, output=output, **asked, **more)
        return output

    whole = job(tmp_path / f"whole.{form}")
    parts = [job(tmp_path / f"s{n}", shard=f"{n}/3") for n in (1, 2, 3)]
    assert biolm.merge(parts[::-1], tmp_path / f"made.{form}").read_bytes() == whole.read_bytes()
    compute, calls = run.Plan.compute, []

    def dying(self, block):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(block)
        return compute(self, block)

    monkeypatch.setattr(run.Plan, "compute", dying)
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / f"part.{form}")
    monkeypatch.setattr(run.Plan, "compute", compute)
    assert job(tmp_path / f"part.{form}", resume=True).read_bytes() == whole.read_bytes()
    with pytest.raises(ConfigError, match="`shard` is for jobs that write a file"):
        biolm.perturb(cells, shard="1/2", **asked)
