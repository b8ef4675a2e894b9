"""Every kind of bad input through the command line: the exit status, one sentence, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.vocab.gene_table import gene_table


@pytest.fixture
def cells(shipped_cells: Path) -> anndata.AnnData:
    adata = anndata.read_h5ad(shipped_cells / "pbmc68k_reduced_counts_700.h5ad")[:60].copy()
    adata.X = sp.csr_matrix(adata.X)
    return adata


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path, *arguments: str, status: int = 1) -> str:
    """Run ``biolm embed`` on what must fail; the one line it prints."""
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(app, ["embed", "in.h5ad", "-o", "out.h5ad", *arguments])
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith(("genes:", "Warning:"))]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert sorted(folder.rglob("*")) == before
    return lines[0]


def done(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["embed", "in.h5ad", "-o", "out.h5ad", *arguments])
    assert result.exit_code == 0, result.output
    return result.stderr


def test_missing_file(folder):
    assert "in.h5ad: no such file or folder" in refused(folder)


def test_truncated_file(folder, cells):
    cells.write_h5ad("in.h5ad")
    whole = Path("in.h5ad").read_bytes()
    for share in (0.02, 0.5, 0.98):
        Path("in.h5ad").write_bytes(whole[: int(share * len(whole))])
        assert "in.h5ad" in refused(folder)


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 50])
def test_not_an_h5ad(folder, content):
    Path("in.h5ad").write_bytes(content)
    assert "in.h5ad" in refused(folder)


def test_hdf5_but_no_cells(folder):
    import h5py

    with h5py.File("in.h5ad", "w") as file:
        file["image"] = np.ones((3, 3))
    assert "in.h5ad" in refused(folder)


def test_normalised_names_the_layer_that_would_do(folder, cells):
    cells.layers["counts"] = cells.X.copy()
    cells.X = cells.X.log1p()
    cells.write_h5ad("in.h5ad")
    assert "--layer layers/counts" in refused(folder)
    done("--layer", "layers/counts")
    done("--layer", "counts", "--overwrite")


def test_normalised_names_raw(folder, cells):
    cells.raw = cells.copy()
    cells.X = cells.X.log1p()
    cells.write_h5ad("in.h5ad")
    assert "raw/X" in refused(folder)
    done("--layer", "raw")


def test_normalised_is_taken_when_allowed(folder, cells):
    cells.X = cells.X.log1p()
    cells.write_h5ad("in.h5ad")
    assert "--allow-normalised" in refused(folder)
    done("--allow-normalised")


def test_scaled_is_refused_even_when_normalised_is_allowed(folder, cells):
    cells.X = cells.X.toarray() - 0.5
    cells.write_h5ad("in.h5ad")
    assert "negative" in refused(folder)
    assert "negative" in refused(folder, "--allow-normalised")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("row", [0, 40])
def test_values_no_method_can_read(folder, shipped_cells, value, row):
    """Row 0 is among the rows that are looked at first, row 40 is met on the way."""
    adata = anndata.read_h5ad(shipped_cells / "pbmc68k_reduced_counts_700.h5ad")
    adata.X.data[adata.X.indptr[row]] = value
    adata.write_h5ad("in.h5ad")
    for arguments in ([], ["--allow-normalised"]):
        message = refused(folder, *arguments)
        assert ("not a number" in message or "negative" in message) if row == 0 else "cell 40" in message


def test_all_zero_cells_are_kept_and_flagged(folder, cells):
    counts = cells.X.toarray()
    counts[[0, 59]] = 0
    cells.X = sp.csr_matrix(counts)
    cells.write_h5ad("in.h5ad")
    assert "2 cells hold no counts" in done()
    after = anndata.read_h5ad("out.h5ad")
    assert np.flatnonzero(after.obs["X_cellfactors_empty"]).tolist() == [0, 59]
    assert np.isfinite(after.obsm["X_cellfactors"]).all()
    assert not after.obsm["X_cellfactors"][[0, 59]].any()


def test_a_matrix_without_any_count(folder, cells):
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    cells.write_h5ad("in.h5ad")
    assert "60 cells hold no counts" in done("--centre")
    assert not anndata.read_h5ad("out.h5ad").obsm["X_cellfactors"].any()


@pytest.mark.parametrize("part", [(slice(0, 0), slice(None)), (slice(None), slice(0, 0))])
def test_empty_table(folder, cells, part):
    cells[part].copy().write_h5ad("in.h5ad")
    assert "is empty" in refused(folder)


def test_no_matching_genes(folder, cells):
    cells.var = cells.var[[]].set_index(np.array([f"probe_{n}" for n in range(cells.n_vars)]))
    cells.write_h5ad("in.h5ad")
    message = refused(folder)
    assert "0 of 765" in message or "no" in message.lower()


def test_few_matching_genes(folder, cells):
    genes = [name if n < 30 else f"probe_{n}" for n, name in enumerate(cells.var_names)]
    cells.var = cells.var[[]].set_index(np.array(genes))
    cells.write_h5ad("in.h5ad")
    assert "765" in refused(folder)
    # Thirty genes are enough to say so, but not to see cells by.
    assert (
        "and it needs 30; give cells with more genes measured, or embed with the model genetext"
        in refused(folder, "--minimum-match", "0.01")
    )
    done("--minimum-match", "0.01", "-m", "genetext")


def test_wrong_gene_column(folder, cells):
    cells.write_h5ad("in.h5ad")
    assert "'symbols'" in refused(folder, "--gene-column", "symbols")


def test_duplicate_cell_names_are_kept_with_a_warning(folder, cells):
    cells.obs_names = ["twin"] * 60
    cells.write_h5ad("in.h5ad")
    assert "Warning: 59 cell names repeat" in done()


def test_missing_layer(folder, cells):
    cells.write_h5ad("in.h5ad")
    assert "no matrix 'spliced'; it holds: X" in refused(folder, "--layer", "spliced")


def test_existing_output(folder, cells):
    cells.write_h5ad("in.h5ad")
    Path("out.h5ad").write_text("mine")
    assert "exists already" in refused(folder)
    assert Path("out.h5ad").read_text() == "mine"
    done("--overwrite")


def test_existing_key(folder, cells):
    cells.obsm["X_cellfactors"] = np.ones((60, 2))
    cells.write_h5ad("in.h5ad")
    assert "not written by biolm" in refused(folder)
    done("--key", "X_other")
    done("--overwrite")


def test_output_folder_that_does_not_exist(folder, cells):
    cells.write_h5ad("in.h5ad")
    assert "does not exist" in refused(folder, "-o", "nowhere/out.h5ad")


def test_disk_full(folder, cells):
    import resource

    cells.write_h5ad("in.h5ad")
    done("-o", "warm.parquet")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        assert "no space left on the disk" in refused(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-m", "genetex"], "did you mean 'genetext'?"),
        (["-m", "geneformer"], "give the folder of a checkpoint"),
        (["--pool", "cls"], "has no pool 'cls'"),
        (["--key", "a/b"], "cannot name a result"),
        (["-o", "out.txt"], "is not one of h5ad, zarr, parquet, npy"),
        (["--format", "csv"], "is not one of h5ad, zarr, parquet, npy"),
    ],
)
def test_wrong_use_in_one_sentence(folder, cells, arguments, says):
    cells.write_h5ad("in.h5ad")
    assert says in refused(folder, *arguments, status=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["embed"],
        ["embed", "in.h5ad"],
        ["embed", "in.h5ad", "-o", "x.h5ad", "--batch-tokens", "0"],
        ["nonsense"],
    ],
)
def test_wrong_use_of_the_command_line(folder, arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


def test_a_folder_that_is_no_checkpoint(folder, cells):
    cells.write_h5ad("in.h5ad")
    Path("model").mkdir()
    Path("model/notes.txt").write_text("nothing")
    message = refused(folder, "-m", "model")
    assert "holds notes.txt" in message
    assert "`biolm models` says which files each model needs" in message
    Path("model/args.json").write_text("{}")
    assert "scgpt needs args.json" in refused(folder, "-m", "model")


def test_a_file_where_a_checkpoint_folder_is_wanted(folder, cells):
    cells.write_h5ad("in.h5ad")
    Path("model.pt").write_text("")
    assert "give the folder" in refused(folder, "-m", "./model.pt")


def test_genes_of_another_species_name_the_option(folder, shipped_cells):
    genes = gene_table().species("mouse").ids
    names = list(dict.fromkeys(("Cd3d", "Ms4a1", "Lyz2", "Nkg7", "Ins1", "Ins2", *genes)))
    counts = sp.csr_matrix(np.ones((3, 400), np.float32))
    anndata.AnnData(counts, var=pd.DataFrame(index=names[:400])).write_h5ad("in.h5ad")
    said = refused(folder, "-m", "biolm-cell-mini")
    assert "look like mouse genes" in said
    assert "set --species human if column" in said
