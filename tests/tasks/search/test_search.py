"""Indexes of real cells: what they find, how they are saved, resumed and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import biolm
from biolm.errors import CheckpointError, ConfigError, InputError, OutputError
from biolm.models.systems import genetext
from biolm.models.systems.cellfactors import CellFactors, load
from biolm.tasks.search.build import IndexSettings, build, make_index
from biolm.tasks.search.index import CellTable, Index
from biolm.tasks.search.index import load as load_index
from biolm.tasks.search.query import query, transfer


@pytest.fixture(scope="module")
def cite(shipped_cells: Path) -> Path:
    return shipped_cells / "pbmc_cite_10k.h5ad"


@pytest.fixture(scope="module")
def blood(shipped_cells: Path) -> Path:
    return shipped_cells / "pbmc68k_reduced_counts_700.h5ad"


@pytest.fixture(scope="module")
def model() -> CellFactors:
    """Read once: most of a small job's time is reading the table of genes."""
    return load()


@pytest.fixture(scope="module")
def folder(blood: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("index") / "blood"
    build(blood, output=target, label="cell_type")
    return target


@pytest.fixture
def small(cite: Path) -> anndata.AnnData:
    return anndata.read_h5ad(cite)[:40].copy()


def test_a_cell_finds_itself_and_most_labels_come_back(blood: Path, folder: Path) -> None:
    found = query(blood, folder, k=5)
    assert (found.rows[:, 0] == np.arange(700)).all()
    assert (found.distances[:, 0] == 0).all()
    truth = anndata.read_h5ad(blood).obs["cell_type"].astype(str).to_numpy()
    told = found.labels.categories[found.labels.codes]
    assert (told == truth).mean() > 0.75
    assert found.outside.mean() <= 0.02
    # Left out, cells lie as far as the reference says: about one in a hundred is beyond the threshold.
    alone = load_index(folder)
    beyond = alone.calibration.statistic(alone.calibration.distances[:, :10].astype(float))
    assert (beyond > alone.calibration.threshold(10, 0.99)).mean() == pytest.approx(0.01, abs=0.005)


def test_foreign_cells_are_out_of_reference(model: CellFactors, folder: Path, small: anndata.AnnData) -> None:
    known = query(small, folder, model=model).outside.mean()
    shuffled = small.copy()
    order = np.random.default_rng(0).permutation(small.n_vars)
    shuffled.X = small.X[:, order]
    assert query(shuffled, folder, model=model).outside.mean() > max(0.9, known)


def test_many_files_and_where_their_cells_come_from(
    model: CellFactors, cite: Path, blood: Path, tmp_path: Path
) -> None:
    made = build([blood, cite], model=model, output=tmp_path / "i", label="cell_type", metric="euclidean")
    assert len(made) == 900
    assert made.cells.sources[[0, 699, 700, 899]].tolist() == [blood.name] * 2 + [cite.name] * 2
    assert made.cells.rows[[0, 700, 899]].tolist() == [0, 0, 199]
    query(cite, made, model=model, k=2, output=tmp_path / "o.parquet")
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "o.parquet")
    assert table.num_rows == 400
    first = table.slice(0, 1).to_pylist()[0]
    assert first["reference_source"] == cite.name
    assert (first["row"], first["reference_row"], first["rank"], first["distance"]) == (0, 0, 1, 0.0)
    assert json.loads(table.schema.metadata[b"biolm"])["k"] == 2


def test_columns_of_a_copy_of_the_input(model: CellFactors, cite: Path, folder: Path, tmp_path: Path) -> None:
    found = query(cite, folder, model=model, output=tmp_path / "o.h5ad")
    made = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert made.obs["search_cell_type"].dtype == "category"
    assert made.obs["search_cell_type"].tolist() == found.labels.categories[found.labels.codes].tolist()
    assert made.obsm["search_neighbours"].shape == (200, 10)
    np.testing.assert_array_equal(made.obs["search_out_of_reference"], found.outside)
    assert made.uns["biolm"]["search"]["index"]["metric"] == "cosine"
    # What biolm wrote it may write again; a column of someone else it may not.
    query(tmp_path / "o.h5ad", folder, model=model, k=3, output=tmp_path / "again.h5ad")
    made.obs["other_distance"] = 1.0
    made.write_h5ad(tmp_path / "taken.h5ad")
    with pytest.raises(OutputError, match="was not written by biolm"):
        query(tmp_path / "taken.h5ad", folder, model=model, output=tmp_path / "x.h5ad", key="other")
    assert not (tmp_path / "x.h5ad").exists()


def test_tl_and_memory_are_the_same(
    model: CellFactors, folder: Path, small: anndata.AnnData, cite: Path
) -> None:
    from_file = query(cite, folder, model=model)
    biolm.tl.search(small, index=folder)
    np.testing.assert_array_equal(small.obsm["search_neighbours"], from_file.rows[:40])
    in_memory = build(small, model=model, label="cell_type")
    copied = biolm.tl.search(small, index=in_memory, k=1, key_added="own", copy=True)
    assert copied.obs["own_cell_type"].tolist() == small.obs["cell_type"].tolist()
    assert "own_cell_type" not in small.obs


def test_empty_cells_find_nothing(model: CellFactors, folder: Path, small: anndata.AnnData) -> None:
    small.X = small.X.multiply(np.arange(40)[:, None] != 3).tocsr()
    found = query(small, folder, model=model)
    assert (found.rows[3] == -1).all()
    assert found.outside[3]
    assert found.labels.codes[3] == -1
    assert len(build(small, model=model)) == 39


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_recall_is_measured_on_cells_outside_the_index(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from biolm.tasks.search import build
    from biolm.tasks.search.approximate import make_graph

    made = []

    def recorded(*given, **options):
        made.append(make_graph(*given, **options))
        return made[-1]

    monkeypatch.setattr(build, "make_graph", recorded)
    vectors = np.random.default_rng(0).standard_normal((1500, 8)).astype(np.float32)
    recall = build._recall(vectors, build.IndexSettings(index=kind, metric="euclidean"))
    assert [graph.ntotal for graph in made] == [1200]
    assert 0.5 < recall <= 1
    # A graph of far-away cells finds none of the true neighbours.
    monkeypatch.setattr(build, "make_graph", lambda rows, *a, **o: make_graph(rows[::-1] + 9, *a, **o))
    assert build._recall(vectors, build.IndexSettings(index=kind, metric="euclidean")) < 0.2


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_approximate_indexes_report_their_recall(
    model: CellFactors, kind: str, blood: Path, tmp_path: Path
) -> None:
    exact = build(blood, model=model)
    made = build(blood, model=model, output=tmp_path / kind, index=kind)
    assert made.metadata["recall"] > 0.9
    near, far = query(blood, exact, model=model), query(blood, made, model=model)
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(near.rows, far.rows, strict=True)]) / 10
    assert shared > 0.9
    same = near.rows == far.rows
    np.testing.assert_allclose(near.distances[same], far.distances[same], atol=1e-12)
    again = build(blood, model=model, output=tmp_path / "again", index=kind)
    assert again.metadata == made.metadata
    assert (tmp_path / kind / "graph.faiss").read_bytes() == (tmp_path / "again" / "graph.faiss").read_bytes()


def test_an_interrupted_build_goes_on(
    model: CellFactors, cite: Path, blood: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build([blood, cite], model=model, output=tmp_path / "whole", block_rows=64)
    embed, calls = type(model).embed, []

    def stop(self, block, match, options):
        calls.append(block.start)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return embed(self, block, match, options)

    monkeypatch.setattr(type(model), "embed", stop)
    with pytest.raises(KeyboardInterrupt):
        build([blood, cite], model=model, output=tmp_path / "i", block_rows=64)
    assert [path.name for path in tmp_path.iterdir() if path.name != "whole"] == ["i.partial"]
    with pytest.raises(OutputError, match="unfinished run"):
        build([blood, cite], model=model, output=tmp_path / "i", block_rows=64)
    resumed = build([blood, cite], model=model, output=tmp_path / "i", block_rows=64, resume=True)
    # 11 blocks of the first file, one of the second; the rest is done once.
    assert calls[13:] == [64, 128, 192]
    assert np.asarray(resumed.vectors).tobytes() == np.asarray(whole.vectors).tobytes()
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("i", "whole")]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / "i" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_batches_are_left_out_as_a_whole(model: CellFactors, blood: Path, tmp_path: Path) -> None:
    alone, across = build(blood, model=model), build(blood, model=model, batch="batch")
    assert across.calibration.threshold(10, 0.99) >= alone.calibration.threshold(10, 0.99)
    one = anndata.read_h5ad(blood)
    one.obs["batch"] = "a"
    with pytest.raises(InputError, match="holds one batch alone"):
        build(one, model=model, batch="batch")


def test_what_is_refused(model: CellFactors, folder: Path, small: anndata.AnnData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"built by another model \(cellfactors, not random"):
        query(small, folder, model=genetext.random_like(model.text))
    with pytest.raises(InputError, match="built by another model"):
        query(small, folder, model=replace(model, sha256="another"))
    with pytest.raises(ConfigError, match="k must lie between 1 and the 700 cells"):
        query(small, folder, model=model, k=701)
    with pytest.raises(InputError, match="has no column 'nothing'"):
        build(small, model=model, label="nothing")
    with pytest.raises(InputError, match="holds no index"):
        query(small, tmp_path, model=model)
    with pytest.raises(ConfigError, match="must be one of cosine, euclidean"):
        build(small, model=model, metric="manhattan")
    with pytest.raises(ConfigError, match="at least one file"):
        build([], model=model)
    with pytest.raises(ConfigError, match="is not one of h5ad"):
        query(small, folder, model=model, output=tmp_path / "o.xyz")
    small.X = small.X.multiply(0).tocsr()
    with pytest.raises(InputError, match="at least two cells with counts"):
        build(small, model=model)


def test_vectors_that_are_not_numbers_are_refused(folder: Path) -> None:
    index = load_index(folder)
    broken = np.ones((3, index.vectors.shape[1]), np.float32)
    broken[1, 0] = np.nan
    with pytest.raises(InputError, match="1 query vectors hold values that are not finite, first row 1"):
        index.search(broken, 2)
    with pytest.raises(InputError, match="has width 112"):
        index.search(broken[:, :5], 2)
    names = np.array(["a", "b", "c"])
    cells = CellTable(names, names, np.arange(3))
    with pytest.raises(InputError, match="reference vector 1 holds values that are not finite"):
        make_index(broken, cells, IndexSettings())


@pytest.mark.parametrize("name", ["vectors.npy", "cells.parquet", "calibration.npy", "index.json"])
def test_a_damaged_index_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "i"
    shutil.copytree(folder, place)
    (place / name).write_bytes(b"{}" if name == "index.json" else (place / name).read_bytes()[:50])
    with pytest.raises(CheckpointError, match=r"build (it|the index) again"):
        load_index(place)
    assert isinstance(load_index(folder), Index)


@pytest.mark.parametrize("form", ["tsv", "h5ad"])
def test_shards_of_a_query_merge_to_the_bytes_of_the_whole(cite, folder, model, tmp_path, form):
    import biolm

    asked = {"model": None, "k": 3, "block_rows": 64}
    whole = tmp_path / f"whole.{form}"
    found = query(cite, folder, output=whole, **asked)
    parts = [tmp_path / f"p{number}" for number in (1, 2, 3)]
    held = [
        query(cite, folder, output=part, shard=f"{place}/3", **asked) for place, part in enumerate(parts, 1)
    ]
    assert np.array_equal(np.concatenate([each.rows for each in held]), found.rows)
    made = biolm.merge(parts[::-1], tmp_path / f"made.{form}")
    assert made.read_bytes() == whole.read_bytes()


def test_an_interrupted_query_goes_on(cite, folder, tmp_path, monkeypatch):
    from biolm.tasks.search.index import Index

    search, calls = Index.search, []
    asked = {"k": 3, "block_rows": 64}

    def dying(self, *given):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(given)
        return search(self, *given)

    monkeypatch.setattr(Index, "search", dying)
    with pytest.raises(KeyboardInterrupt):
        query(cite, folder, output=tmp_path / "x.tsv", **asked)
    calls.clear()
    monkeypatch.setattr(Index, "search", lambda self, *given: (calls.append(given), search(self, *given))[1])
    query(cite, folder, output=tmp_path / "x.tsv", resume=True, **asked)
    assert len(calls) == 2
    query(cite, folder, output=tmp_path / "y.tsv", **asked)
    assert (tmp_path / "x.tsv").read_bytes() == (tmp_path / "y.tsv").read_bytes()
    with pytest.raises(ConfigError, match="`shard` is for jobs that write a file"):
        query(cite, folder, shard="1/2", **asked)


@given(
    st.lists(st.lists(st.sampled_from(["", "B", "T"]), min_size=1, max_size=8), min_size=3, max_size=3),
)
def test_confidence_is_the_fraction_of_all_neighbours(named: list[list[str]]) -> None:
    k = min(map(len, named))
    labels = np.array([label for cell in named for label in cell[:k]])
    assume((labels != "").any())  # an index without any label is refused when it is built
    cells = CellTable(
        names=np.arange(len(labels)).astype(str),
        sources=np.array(["file"] * len(labels)),
        rows=np.arange(len(labels)),
        labels=labels,
    )
    vectors = np.random.default_rng(0).standard_normal((len(labels), 4)).astype(np.float32)
    index = make_index(vectors, cells, IndexSettings(label="kind"))
    rows = np.arange(len(labels)).reshape(len(named), k)
    found = transfer(index, rows, np.ones(rows.shape))
    assert found.labels is not None
    assert found.confidence is not None
    for cell, votes in enumerate(named):
        counts = {label: votes[:k].count(label) for label in "BT" if label in votes[:k]}
        best = max(counts.values(), default=0)
        assert found.confidence[cell] == pytest.approx(best / k)
        code = found.labels.codes[cell]
        assert counts.get(str(found.labels.categories[code])) == best if counts else code == -1


def test_unlabelled_neighbours_lower_the_confidence(shared: Path, model: CellFactors) -> None:
    folder = shared / "data/awkward/cells"
    made = build(folder / "mostly_unlabelled.h5ad", model=model, label="ct")
    found = query(folder / "query.h5ad", made, model=model, k=10)
    assert found.labels is not None
    assert found.confidence is not None
    for rows, code, confidence in zip(found.rows, found.labels.codes, found.confidence, strict=True):
        votes = made.cells.labels[rows]
        expected = 0.0 if code < 0 else (votes == found.labels.categories[code]).mean()
        assert confidence == pytest.approx(expected)
    assert found.confidence.mean() < 0.5  # four reference cells in five have no label
