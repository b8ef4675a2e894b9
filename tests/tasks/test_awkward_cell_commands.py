"""What commands say and write for awkward files of cells; the readers themselves are tested beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app
from biolm.errors import ConfigError, GeneMatchError, InputError
from biolm.io.cells import open_cells
from biolm.tasks.evaluate.data import read
from biolm.tasks.evaluate.settings import EvaluateSettings
from biolm.training.data.labels import encode_classes

anndata = pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def awkward(shared: Path) -> Path:
    return shared / "data" / "awkward" / "cells"


def embedded(path: Any) -> Any:
    """The vectors of a file, and what was said."""
    return biolm.embed(str(path)).obsm["X_cellfactors"]


@pytest.mark.filterwarnings("ignore:Variable names are not unique")  # a gene and its antibody share one
def test_vectors_do_not_depend_on_how_a_file_stores_its_counts(awkward: Path) -> None:
    expected = embedded(awkward / "cite_gex_only.h5ad")
    for name in ("cite_gex_and_adt.h5ad", "cite_10x.h5", "cite_mtx"):
        np.testing.assert_allclose(embedded(awkward / name), expected, rtol=1e-4, atol=1e-4)
    mixed = anndata.read_h5ad(awkward / "cite_gex_and_adt.h5ad")
    np.testing.assert_allclose(biolm.embed(mixed).obsm["X_cellfactors"], expected, rtol=1e-4, atol=1e-4)
    whole = embedded(awkward / "csr_canonical.h5ad")
    np.testing.assert_allclose(embedded(awkward / "csr_repeated_entries.h5ad"), whole, rtol=1e-4, atol=1e-4)


def test_what_was_left_out_is_said(awkward: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = CliRunner().invoke(app, ["embed", str(awkward / "cite_10x.h5"), "-o", str(tmp_path / "x.h5ad")])
    assert made.exit_code == 0, made.output
    assert (
        "14 of Antibody Capture left out (choose with --layer 'Antibody Capture')"
        in caplog.text + made.output
    )
    with pytest.warns(UserWarning, match="Variable names are not unique"):
        assert anndata.read_h5ad(tmp_path / "x.h5ad").shape == (30, 403)


@pytest.mark.parametrize("command", ["embed", "tokenize", "pack"])
def test_a_normalised_sample_ends_a_command_with_its_name(
    awkward: Path, tmp_path: Path, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, target = awkward / "one_sample_normalised.h5ad", tmp_path / "out.h5ad"
    arguments = [command, str(path), "-o", str(target if command == "embed" else tmp_path / "out")]
    if command == "tokenize":
        pytest.importorskip("torch")
        arguments += ["-m", "biolm-cell-mini", "-o", str(tmp_path / "out.parquet")]
    made = CliRunner().invoke(app, [*arguments, "--minimum-match", "0"])
    assert made.exit_code != 0
    assert "sample = 'normalised' in obs" in (caplog.text + made.output).replace("\n", " ")
    assert not target.exists()


def test_evaluation_reads_genes_alone(awkward: Path) -> None:
    cells = anndata.read_h5ad(awkward / "cite_gex_and_adt.h5ad")
    cells.obs["kind"] = np.where(np.arange(30) % 2, "a", "b")
    cells.obsm["X_any"] = np.random.default_rng(0).normal(size=(30, 3))
    data = read(cells, ["X_any"], EvaluateSettings(label="kind"))
    expected = anndata.read_h5ad(awkward / "cite_gex_only.h5ad")
    assert data.table.var_names.tolist() == expected.var_names.tolist()
    np.testing.assert_array_equal(data.counts.toarray(), expected.X.toarray())


def test_long_numbers_of_classes_are_not_merged() -> None:
    codes, names = encode_classes(np.array([12345678.0, 12345679.0, np.nan]))
    assert names == ("12345678", "12345679")
    assert codes.tolist() == [0, 1, -100]


def test_turned_tables_are_named_and_read(awkward: Path, tmp_path: Path, caplog: Any) -> None:
    path = str(awkward / "genes_x_cells.csv")
    with pytest.raises(
        GeneMatchError, match=r"is genes x cells: 7\d\d of its 765 cell names are genes; read it"
    ):
        biolm.embed(path)
    expected = embedded(awkward / "semicolon.csv")
    np.testing.assert_allclose(biolm.embed(path, transpose=True).obsm["X_cellfactors"], expected, atol=1e-4)
    parts = [str(tmp_path / f"part{number}") for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        chosen = ["--transpose", "--shard", f"{number}/2", "--block-rows", "5"]
        made = CliRunner().invoke(app, ["embed", path, "-o", part, *chosen])
        assert made.exit_code == 0, made.output
    made = CliRunner().invoke(app, ["merge", *parts, "-o", str(tmp_path / "x.h5ad")])
    assert made.exit_code == 0, made.output
    whole = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert whole.shape == (12, 765)
    np.testing.assert_allclose(whole.obsm["X_cellfactors"], expected, atol=1e-4)
    with pytest.raises(GeneMatchError, match="leave out `transpose=True`"):
        biolm.embed(str(awkward / "semicolon.csv"), transpose=True)
    with pytest.raises(GeneMatchError, match=r"the AnnData is genes x cells: .* write it as cells x genes"):
        biolm.embed(whole.T.copy())
    with pytest.raises(ConfigError, match="cannot be transposed while it is read"):
        biolm.embed(str(awkward / "query.h5ad"), transpose=True)


def test_sequences_are_no_table_of_cells(shared: Path) -> None:
    with pytest.raises(InputError, match=r"holds sequences \(FASTA\), no cells; give a file of cells"):
        open_cells(shared / "data" / "awkward" / "sequences" / "one.fasta")


def test_training_refuses_a_normalised_sample_when_it_reads_it(awkward: Path) -> None:
    from biolm.models.registry import load_tokenizer
    from biolm.training.data.cell_files import CellFiles
    from biolm.training.data.cells import CellExamples

    path, preprocessor = awkward / "one_sample_normalised.h5ad", load_tokenizer("biolm-cell-mini")
    with open_cells(path) as source:
        match = preprocessor.vocabulary.match(source.gene_columns(), minimum=0)
    examples = CellExamples(CellFiles([path], counts=True), [match], preprocessor, seed=0)
    assert len(examples.read(np.arange(150, 190))) == 40
    with pytest.raises(InputError, match="sample = 'normalised' in obs"):
        examples.read(np.arange(150, 250))
    examples.close()
    allowed = CellExamples(CellFiles([path]), [match], preprocessor, seed=0)
    assert len(allowed.read(np.arange(150, 250))) == 100
    allowed.close()


def test_transposing_is_refused_for_sequences(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "awkward" / "sequences" / "one.fasta"
    made = CliRunner().invoke(app, ["embed", str(path), "-o", str(tmp_path / "x.npy"), "--transpose"])
    assert made.exit_code != 0
    assert "--transpose is for cells and means nothing for sequences" in made.output
