"""Static and contextual vectors of genes against a loop over cells, and their files."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pyarrow.parquet as pq
import pytest
from token_model import GENES, make_cells, make_model
from typer.testing import CliRunner

from biolm.batch import Batch
from biolm.cli.main import app
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.cells import open_cells
from biolm.models.systems.genetext import load
from biolm.tasks.genes.vectors import contextual, static, write_vectors


def test_static_vectors_are_the_table() -> None:
    model, adata = make_model(), make_cells()
    weight = model.core.embeddings.token.weight.detach().numpy()
    np.testing.assert_array_equal(static(model).vectors, weight[2:])
    some = static(model, adata[:, ["gene7", "gene3"]])
    assert some.names.tolist() == ["gene3", "gene7"]
    np.testing.assert_array_equal(some.vectors, weight[[5, 9]])
    text = load()
    assert static(text).vectors is text.vectors


@pytest.mark.parametrize("group", [None, "type"])
def test_contextual_vectors_are_means_over_cells(group: str | None) -> None:
    model, adata = make_model(), make_cells()
    found = contextual(adata, model=model, group=group, device="cpu", batch_tokens=100)
    with open_cells(adata) as source:
        match = model.vocabulary.match(source.gene_columns())
        tokens = model.tokenize(next(source.blocks()), match)
    sums: dict[tuple[str, str], list[np.ndarray]] = {}
    for row in range(len(tokens)):
        title = "" if group is None else adata.obs["type"].iloc[row]
        if group is not None and not title:
            continue
        states = model(Batch.from_tokens(tokens, [row])).last_hidden_state.numpy()
        for token, state in zip(tokens[row].ids, states, strict=True):
            if token > 1:
                sums.setdefault((title, GENES[token - 2]), []).append(state)
    titles = [""] * len(found) if found.groups is None else found.groups.tolist()
    keys = list(zip(titles, found.names.tolist(), strict=True))
    assert set(keys) == set(sums)
    assert found.cells.tolist() == [len(sums[key]) for key in keys]
    np.testing.assert_allclose(found.vectors, [np.mean(sums[key], axis=0) for key in keys], atol=1e-5)
    assert "gene39" not in found.names
    few = contextual(adata, model=model, group=group, device="cpu", minimum_cells=8)
    assert few.cells.min() >= 8


def test_files_of_genes(tmp_path: Path, shipped_cells: Path) -> None:
    model, adata = make_model(), make_cells()
    found = contextual(adata, model=model, group="type", device="cpu")
    write_vectors(found, tmp_path / "g.h5ad")
    genes = anndata.read_h5ad(tmp_path / "g.h5ad")
    assert genes.shape == (len(found), 16)
    assert genes.obs_names[0] == "gene0 / a"
    assert genes.uns["biolm"]["genes"]["kind"] == "contextual"
    write_vectors(found, tmp_path / "g.parquet")
    assert pq.read_table(tmp_path / "g.parquet").column_names[:5] == ["gene", "id", "group", "cells", "v0"]
    with pytest.raises(OutputError, match="exists already"):
        write_vectors(found, tmp_path / "g.h5ad")
    cells = str(shipped_cells / "pbmc68k_reduced_counts_700.h5ad")
    done = CliRunner().invoke(app, ["genes", "vectors", cells, "-o", str(tmp_path / "c.tsv")])
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "c.tsv").read_text().splitlines()) == 737
    bad = CliRunner().invoke(app, ["genes", "vectors", cells, "-o", str(tmp_path / "c.xyz")])
    assert (bad.exit_code, "names no format" in bad.stderr) == (2, True)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no state of a gene in a cell"):
        contextual(make_cells(), model=load())
    with pytest.raises(InputError, match="has no column 'kind' but type"):
        contextual(make_cells(), model=make_model(), group="kind", device="cpu")
    with pytest.raises(InputError, match="no gene is held by 31 cells"):
        contextual(make_cells(), model=make_model(), minimum_cells=31, device="cpu")
    empty = make_cells()
    empty.obs["type"] = ""
    with pytest.raises(InputError, match="holds no group"):
        contextual(empty, model=make_model(), group="type", device="cpu")
