from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from projection import Projection, make_cells
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app
from biolm.errors import ConfigError, GeneMatchError, InputError
from biolm.io.cells import open_cells

SYSTEMS = ["geneformer", "scgpt"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, shipped_cells) -> dict[str, Path]:
    """Tokeniser files of both systems over the genes of the shipped cells; no weights."""
    with open_cells(shipped_cells / "pbmc68k_reduced_counts_700.h5ad") as source:
        columns = source.gene_columns()
    base = tmp_path_factory.mktemp("systems")
    geneformer, scgpt = base / "geneformer", base / "scgpt"
    geneformer.mkdir()
    scgpt.mkdir()
    ids = sorted({str(name) for name in columns["ensembl_id"] if str(name)})
    tokens = {name: number for number, name in enumerate(["<pad>", "<mask>", *ids])}
    medians = dict(zip(ids, np.random.default_rng(0).lognormal(0, 1, len(ids)).tolist(), strict=True))
    (geneformer / "token_dictionary.json").write_text(json.dumps(tokens))
    (geneformer / "gene_median_dictionary.json").write_text(json.dumps(medians))
    (geneformer / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(tokens)}))
    names = [*(str(name) for name in columns["index"]), "<pad>", "<cls>", "<eoc>"]
    (scgpt / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (scgpt / "args.json").write_text(json.dumps({"n_bins": 51, "max_seq_len": 1200}))
    (scgpt / "best_model.pt").write_bytes(b"")
    return {"geneformer": geneformer, "scgpt": scgpt}


@pytest.fixture
def pbmc(shipped_cells: Path) -> Path:
    return shipped_cells / "pbmc68k_reduced_counts_700.h5ad"


@pytest.mark.parametrize("system", SYSTEMS)
def test_memory_and_file_agree(folders, pbmc, tmp_path, system):
    tokens = biolm.tokenize(pbmc, model=folders[system])
    out = biolm.tokenize(pbmc, model=folders[system], output=tmp_path / "x.parquet", block_rows=64)
    table = pq.read_table(out)
    with open_cells(pbmc) as source:
        assert table.column("name").to_pylist() == source.cell_names().tolist()
    assert table.column("length").to_pylist() == tokens.lengths.tolist()
    ids = table.column("ids").combine_chunks().flatten().to_numpy()
    np.testing.assert_array_equal(ids, tokens.ids)
    assert ("values" in table.column_names) == (tokens.values is not None)
    assert b"biolm" in table.schema.metadata


@pytest.mark.parametrize("more", [0, 70_000])
def test_ids_of_any_size_come_back(folders, pbmc, tmp_path, more):
    """Blocks keep ids that fit in two bytes so; the file has four for all."""
    folder = tmp_path / "geneformer"
    shutil.copytree(folders["geneformer"], folder)
    tokens = json.loads((folder / "token_dictionary.json").read_text())
    tokens = {name: number + more * (number > 1) for name, number in tokens.items()}
    (folder / "token_dictionary.json").write_text(json.dumps(tokens))
    size = max(tokens.values()) + 1
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": size}))
    before = biolm.tokenize(pbmc, model=folders["geneformer"]).ids
    out = biolm.tokenize(pbmc, model=folder, output=tmp_path / "x.parquet", block_rows=300)
    ids = pq.read_table(out).column("ids").combine_chunks().flatten().to_numpy()
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, before + more)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_blocks_and_workers_do_not_change_a_byte(folders, pbmc, tmp_path, system, ending):
    for number, (rows, workers) in enumerate([(8192, 1), (100, 1), (8192, 3), (37, 2)]):
        biolm.tokenize(
            pbmc,
            model=folders[system],
            output=tmp_path / f"{number}.{ending}",
            block_rows=rows,
            workers=workers,
        )
    first, *others = (tmp_path / f"{number}.{ending}" for number in range(4))
    for other in others:
        assert biolm_rows(other) == biolm_rows(first)


def biolm_rows(path: Path) -> list:
    from biolm.io.tokens import read_tokens

    return [
        (name, part[row].ids.tolist(), None if part.values is None else part[row].values.tolist())
        for names, part in read_tokens(path)
        for row, name in enumerate(names.tolist())
    ]


@given(rows=st.integers(1, 120), workers=st.integers(1, 4), factor=st.integers(1, 9))
def test_tokens_of_a_model_do_not_depend_on_blocks(rows, workers, factor):
    cells = make_cells(60)
    whole = biolm.tokenize(cells, model=Projection())
    cells.X = cells.X * factor
    cut = biolm.tokenize(cells, model=Projection(), block_rows=rows, workers=workers)
    assert cut.ids.tolist() == whole.ids.tolist()
    assert cut.offsets.tolist() == whole.offsets.tolist()
    assert cut.index.tolist() == list(range(60))


def test_command_line(folders, pbmc, tmp_path):
    out = tmp_path / "x.parquet"
    arguments = ["tokenize", str(pbmc), "-m", str(folders["geneformer"]), "-o", str(out), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["cells"] == 700
    assert summary["tokens"] == sum(pq.read_table(out).column("length").to_pylist())
    assert "genes: " in result.stderr
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert CliRunner().invoke(app, [*arguments, "--overwrite", "--workers", "2", "-q"]).stderr == ""


def test_torch_and_friends_are_never_imported(folders, pbmc, tmp_path):
    code = (
        "import sys\nfrom biolm.cli.main import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "print([m for m in ('torch', 'anndata', 'scanpy', 'transformers') if m in sys.modules])"
    )
    arguments = ["tokenize", str(pbmc), "-m", str(folders["scgpt"]), "-o", str(tmp_path / "x.parquet"), "-q"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_model_without_tokens_says_so(cells, tmp_path, pbmc):
    with pytest.raises(ConfigError, match="genetext reads no tokens"):
        biolm.tokenize(pbmc, model="genetext", output=tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_leaves_nothing(folders, cells, tmp_path):
    with pytest.raises(GeneMatchError):
        biolm.tokenize(cells, model=folders["geneformer"], output=tmp_path / "x.parquet")
    cells.layers["counts"] = cells.X.copy()
    cells.X = cells.X.log1p()
    with pytest.raises(InputError, match="layers/counts"):
        biolm.tokenize(cells, model=Projection(), output=tmp_path / "x.parquet")
    cells.layers["counts"].data[-1] = np.nan
    with pytest.raises(InputError):
        biolm.tokenize(cells, model=Projection(), layer="counts", output=tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"block_rows": 0}])
def test_impossible_settings(cells, wrong):
    with pytest.raises(ConfigError, match="must be at least 1"):
        biolm.tokenize(cells, model=Projection(), **wrong)


def test_a_model_of_another_kind_of_data_is_named(tmp_path: Path) -> None:
    fasta = tmp_path / "p.fa"
    fasta.write_text(">a\nMKV\n")
    with pytest.raises(ConfigError, match="genetext reads no sequences; choose a model of sequences"):
        biolm.tokenize(fasta, model="genetext")
