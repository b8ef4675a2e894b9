"""Other verbs on every system of cells, by command: they work, or say in one sentence that they cannot."""

from __future__ import annotations

import csv
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import small_systems
from typer.testing import CliRunner

import biolm
from biolm.cli.main import app

# Systems without attention between genes, without a state of a gene in a cell, and without vectors of genes.
NO_MAPS = {"scimilarity", "cellplm"}
NO_STATES = NO_MAPS | {"sctrans", "concerto", "cell2sentence"}
NO_TABLE = {"scimilarity", "cell2sentence"}
# Systems whose layers are trained by `annotate fit` and saved with their genes.
TRAINED = {"geneformer", "scgpt", "tahoe", "tgpt", "scbert", "scconcept", "native"}
INSTEAD = "use one that reads genes as tokens, such as geneformer, scgpt, scbert or uce"


@pytest.fixture(scope="module", params=small_systems.FOLDERS)
def given(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, Path, str]:
    """A system's name, what a user types for it, a file of its cells, and a gene that they express."""
    name = request.param
    goldens = None if name in small_systems.WITHOUT_GOLDENS else request.getfixturevalue("goldens")
    folder = tmp_path_factory.mktemp("system")
    address = small_systems.address(name, folder, goldens)
    known = biolm.load(address).vocabulary.genes
    genes = small_systems.gene_names("index", 200) if len(known) > 1000 else list(known)
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.3, (24, len(genes))).astype(np.float32)
    counts[:, 0] += 2
    cells = anndata.AnnData(sp.csr_matrix(counts))
    cells.var_names = genes
    cells.obs["donor"] = ["first", "second"] * 12
    cells.obs["kind"] = ["a", "a", "b"] * 8
    cells.write_h5ad(folder / "cells.h5ad")
    return name, address, folder / "cells.h5ad", genes[0]


def _run(*arguments: object) -> tuple[int, str]:
    run = CliRunner().invoke(app, [str(each) for each in arguments])
    assert run.exception is None or isinstance(run.exception, SystemExit), run.exception
    assert "unexpected" not in run.output
    return run.exit_code, run.output


def _works_or_refuses(status: int, output: str, *, refused: bool, says: str) -> None:
    assert status == (2 if refused else 0), output
    assert not refused or says in " ".join(output.split())


def test_genes_and_attention(given: tuple[str, str, Path, str], tmp_path: Path) -> None:
    name, address, cells, _ = given
    command = ("genes", "vectors", cells, "-m", address, "--contextual", "-o", tmp_path / "genes.tsv")
    status, output = _run(*command)
    _works_or_refuses(status, output, refused=name in NO_STATES, says=INSTEAD)
    if status == 0:
        with (tmp_path / "genes.tsv").open() as file:
            # A gene that a cell holds several times, as UCE's sentences do, counts once.
            assert all(1 <= int(row["cells"]) <= 24 for row in csv.DictReader(file, delimiter="\t"))
    command = ("genes", "vectors", cells, "-m", address, "-o", tmp_path / "table.tsv")
    status, output = _run(*command)
    _works_or_refuses(status, output, refused=name in NO_TABLE, says=INSTEAD)
    command = ("attention", cells, "-m", address, "-o", tmp_path / "attention.tsv")
    status, output = _run(*command)
    _works_or_refuses(status, output, refused=name in NO_MAPS, says=INSTEAD)
    if status == 0:
        with (tmp_path / "attention.tsv").open() as file:
            shares = [float(row["entropy_share"]) for row in csv.DictReader(file, delimiter="\t")]
        assert shares
        assert all(0 < share <= 1 + 1e-6 for share in shares)


def test_perturb(given: tuple[str, str, Path, str], tmp_path: Path) -> None:
    name, address, cells, gene = given
    target = tmp_path / "shifts.tsv"
    status, output = _run("perturb", cells, "-m", address, "--delete", gene, "--seed", "1", "-o", target)
    assert status == 0, (name, output)
    with target.open() as file:
        assert len(list(csv.DictReader(file, delimiter="\t"))) >= 1


def test_search_and_annotate(given: tuple[str, str, Path, str], tmp_path: Path) -> None:
    _, address, cells, _ = given
    index, found = tmp_path / "index", tmp_path / "found.tsv"
    status, output = _run("search", "build", cells, "-m", address, "-o", index, "--label", "kind")
    assert status == 0, output
    status, output = _run("search", "query", cells, "-i", index, "-o", found, "-k", "1")
    assert status == 0, output
    annotator, named = tmp_path / "annotator", tmp_path / "named.h5ad"
    status, output = _run("annotate", "fit", cells, "-m", address, "--label", "kind", "-o", annotator)
    assert status == 0, output
    status, output = _run("annotate", "predict", cells, "-a", annotator, "-o", named)
    assert status == 0, output
    assert set(anndata.read_h5ad(named).obs["biolm_kind"]) <= {"a", "b", "unknown"}


def test_annotate_by_a_trained_head(given: tuple[str, str, Path, str], tmp_path: Path) -> None:
    """The method head takes every system; training all of it, those whose weights can be saved with it."""
    name, address, cells, _ = given
    annotator, named = tmp_path / "annotator", tmp_path / "named.h5ad"
    command = ("annotate", "fit", cells, "-m", address, "--label", "kind", "--epochs", "1")
    status, output = _run(*command, "--method", "head", "-o", annotator)
    assert status == 0, output
    status, output = _run("annotate", "predict", cells, "-a", annotator, "-o", named)
    assert status == 0, output
    for method in ("lora", "full"):
        status, output = _run(*command, "--method", method, "-o", tmp_path / method)
        _works_or_refuses(status, output, refused=name not in TRAINED, says="use its vectors as they are")


def test_shards_merge_to_the_whole(given: tuple[str, str, Path, str], tmp_path: Path) -> None:
    name, address, cells, _ = given
    for part in (1, 2):
        command = ("embed", cells, "-m", address, "--shard", f"{part}/2", "-o", tmp_path / str(part))
        status, output = _run(*command)
        assert status == 0, (name, output)
    merged, whole = tmp_path / "merged.npy", tmp_path / "whole.npy"
    status, output = _run("merge", tmp_path / "1", tmp_path / "2", "--input", cells, "-o", merged)
    assert status == 0, output
    assert _run("embed", cells, "-m", address, "-o", whole)[0] == 0
    np.testing.assert_allclose(np.load(merged), np.load(whole), atol=1e-6)
