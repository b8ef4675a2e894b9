from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError
from biolm.objectives.base import Prepared
from biolm.training.config import DataConfig, ModelConfig
from biolm.training.data import cell_files
from biolm.training.data.cell_files import CellFiles
from biolm.training.data.cells import CellExamples
from biolm.training.data.examples import survey
from biolm.training.data.gene_vocabulary import match_files, vocabulary_of_data
from biolm.training.data.loader import Reader, Stream
from biolm.training.data.plan import Plan, groups
from biolm.training.data.sources import expand, holds_tokens
from biolm.training.data.stored import StoredExamples, check_tokens
from biolm.training.data.vocabulary import preprocessor_of_folder


class Numbers:
    """Examples whose tokens tell their number."""

    def __init__(self, lengths):
        self.lengths = np.asarray(lengths)

    def read(self, rows):
        offsets = np.concatenate([[0], np.cumsum(self.lengths[rows])])
        return Tokens(np.repeat(rows, self.lengths[rows]).astype(np.int32), offsets, rows)

    def at(self, epoch):
        return self

    def blocks(self):
        yield self.read(np.arange(len(self.lengths)))


def plain(batch, keys, epoch, seed, labels=None, *, number=None):
    shared = torch.full((len(keys),), number)
    return Prepared(batch=batch, original=batch, keys=keys, labels={"number": shared})


def reader(n=61, **changes):
    lengths = np.random.default_rng(0).integers(1, 9, n)
    given = {"rows": np.arange(n), "lengths": lengths, "seed": 3, "chunk": 4, "pool": 16, "budget": 24}
    return Reader(examples=Numbers(lengths), plan=Plan(**given | changes), prepare=plain, seed=3)


@given(
    n=st.integers(1, 60),
    chunk=st.integers(1, 9),
    pool=st.integers(1, 40),
    budget=st.integers(1, 30),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_an_epoch_holds_every_example_once_within_the_budget(n, chunk, pool, budget, epoch, shuffle):
    lengths = np.random.default_rng(n).integers(1, 12, n)
    rows = np.arange(n) * 3
    plan = Plan(rows=rows, lengths=lengths, seed=1, chunk=chunk, pool=pool, budget=budget, shuffle=shuffle)
    batches = [batch for part in plan.epoch(epoch) for batch in part]
    assert sorted(np.concatenate(batches).tolist()) == rows.tolist()
    assert all(lengths[batch // 3].sum() <= budget or len(batch) == 1 for batch in batches)
    again = [batch for part in plan.epoch(epoch) for batch in part]
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_order_changes_with_epoch_and_seed():
    def order(plan, epoch):
        return np.concatenate([batch for part in plan.epoch(epoch) for batch in part]).tolist()

    one, other = reader().plan, reader(seed=4).plan
    assert order(one, 0) != order(one, 1)
    assert order(one, 0) != order(other, 0)
    still = reader(shuffle=False).plan
    assert order(still, 0) == order(still, 5)


@pytest.mark.parametrize(("workers", "ranks"), [*itertools.product((0, 1, 2), (1, 2, 3))])
def test_every_example_comes_once_an_epoch_for_any_workers_and_ranks(workers, ranks):
    made = reader()
    sequence: dict[int, list[int]] = {}
    for rank in range(ranks):
        for number, prepared in Stream(reader=made, rank=rank, ranks=ranks, epochs=1, workers=workers):
            assert number % ranks == rank
            sequence[number] = prepared.keys.tolist()
            ids = prepared.batch.ids[prepared.batch.offsets[:-1].long()]
            assert ids.tolist() == prepared.keys.tolist()
    planned = [batch.tolist() for part in made.plan.epoch(0) for batch in part]
    assert [sequence[number] for number in range(len(planned))] == planned
    assert sorted(itertools.chain(*sequence.values())) == list(range(61))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_anywhere_and_pauses(workers):
    made = reader()
    whole = [number for number, _ in Stream(reader=made, stop=40)]
    assert whole == list(range(40))
    stream = Stream(reader=made, start=7, stop=40, pauses=10, workers=workers)
    parts = [[number for number, _ in stream] for _ in range(4)]
    assert parts == [[7, 8, 9], *(list(range(a, a + 10)) for a in (10, 20, 30))]


def test_workers_leave_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert len(list(Stream(reader=reader(), epochs=1, workers=1))) > 1
    assert torch.equal(torch.get_rng_state(), before)


def test_ranks_go_through_epochs_together():
    plan = reader().plan
    sizes = [len(list(itertools.chain(*plan.epoch(epoch)))) for epoch in range(3)]
    assert plan.batches(3) == sum(sizes)
    seen = [
        (group.epoch, number)
        for rank in range(2)
        for group in groups(plan, rank=rank, ranks=2, start=0, stop=1 << 40, epochs=3)
        for number, _ in group.batches
    ]
    assert [number for _, number in sorted(seen)] == list(range(sum(sizes)))


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    """Two files with different gene sets and a known content."""
    import anndata

    folder = tmp_path_factory.mktemp("cells")
    draws = np.random.default_rng(0)
    for name, first, cells in (("a", 0, 30), ("b", 10, 50)):
        counts = draws.poisson(1.5, (cells, 40)).astype(np.float32)
        counts[:, 5] = 0
        made = anndata.AnnData(counts)
        made.var_names = [f"ENSG{number:011d}" for number in range(first, first + 40)]
        made.obs_names = [f"{name}{number}" for number in range(cells)]
        made.write_h5ad(folder / f"{name}.h5ad")
    return folder


def test_preprocessor_of_files_with_different_genes(two_files):
    files = expand([two_files])
    data = DataConfig(paths=(str(two_files),))
    found = vocabulary_of_data(CellFiles(files), data, ModelConfig(max_length=64), "toy")
    # Gene 5 of the first file and gene 15 of the second are never expressed; 15 is expressed in the first.
    assert len(found.preprocessor.vocabulary) == 49
    assert found.size == 53
    assert found.mask_id == 1
    backwards = vocabulary_of_data(CellFiles(files[::-1]), data, ModelConfig(max_length=64), "toy")
    assert backwards.tokens == found.tokens
    np.testing.assert_array_equal(
        backwards.preprocessor.tokenizer.medians, found.preprocessor.tokenizer.medians
    )


def test_medians_are_those_of_the_expressing_cells(two_files):
    import anndata

    data = DataConfig(paths=(str(two_files / "a.h5ad"),))
    found = vocabulary_of_data(CellFiles([two_files / "a.h5ad"]), data, ModelConfig(), "toy").preprocessor
    counts = anndata.read_h5ad(two_files / "a.h5ad").to_df()
    shares = counts.div(counts.sum(1), axis=0) * 1e4
    exact = shares.where(shares > 0).quantile(0.5, interpolation="lower")[list(found.vocabulary.genes)]
    np.testing.assert_allclose(found.tokenizer.medians, exact, rtol=0.01)


@pytest.mark.parametrize("adapter", ["rank", "bins", "continuous"])
def test_cells_read_by_number_are_those_read_in_order(two_files, adapter):
    files = expand([two_files / "*.h5ad"])
    data = DataConfig(paths=(str(two_files),))
    found = vocabulary_of_data(
        CellFiles(files), data, ModelConfig(adapter=adapter, max_length=24), "toy"
    ).preprocessor
    matches = match_files(CellFiles(files), found.vocabulary, data)
    cells = CellExamples(CellFiles(files), matches, found, seed=0)
    every = [tokens[row] for tokens in cells.blocks() for row in range(len(tokens))]
    assert [example.index for example in every] == list(range(80))
    rows = np.array([2, 3, 25, 29, 30, 31, 79])
    tokens = cells.read(rows)
    assert tokens.index.tolist() == rows.tolist()
    for place, row in enumerate(rows):
        assert tokens[place].ids.tolist() == every[row].ids.tolist()
        if adapter != "rank":
            assert tokens[place].values.tolist() == every[row].values.tolist()
    cells.close()


@pytest.mark.parametrize("model", [ModelConfig(), ModelConfig(adapter="bins")])
def test_stored_tokens_are_the_cells(two_files, tmp_path, model):
    import biolm
    from biolm.core import CoreConfig, Transformer
    from biolm.models.native import Saved, load, save

    files = [two_files / "a.h5ad"]
    found = vocabulary_of_data(CellFiles(files), DataConfig(paths=("a",)), model, "toy")
    core = CoreConfig(vocab_size=found.size, d_model=8, n_layers=1, n_heads=2, d_ff=8, max_length=2048)
    folder = tmp_path / "model"
    folder.mkdir()
    save(
        folder,
        Saved(preprocessor=found.preprocessor, vocabulary=found.tokens, core=core),
        Transformer(core).state_dict(),
    )
    again = preprocessor_of_folder(str(folder))
    assert (again.tokens, again.mask_id, again.size) == (found.tokens, 1, found.size)
    assert load(folder).config == core
    stores = [tmp_path / "x.parquet", tmp_path / "y.zarr"]
    for store in stores:
        biolm.tokenize(files[0], model=str(folder), output=store)
    assert [holds_tokens(path) for path in (*stores, *files)] == [True, True, False]
    stored = StoredExamples(stores, tmp_path / "flat")
    opened = CellFiles(files)
    matches = match_files(opened, found.preprocessor.vocabulary, DataConfig(paths=("a",)))
    [cells] = CellExamples(opened, matches, found.preprocessor, seed=0).blocks()
    rows = np.array([0, 7, 33, 59])
    tokens = stored.read(rows)
    for place, row in enumerate(rows % 30):
        assert tokens[place].ids.tolist() == cells[row].ids.tolist()
        assert (tokens.values is None) == (cells.values is None)
        if cells.values is not None:
            assert tokens[place].values.tolist() == cells[row].values.tolist()
    found_out = survey(stored, found.size, 0.3, 0)
    assert len(found_out.lengths) == 60
    assert 0 < found_out.held_out.sum() < 60
    with pytest.raises(InputError, match="do not belong"):
        survey(stored, 5, 0.3, 0)

    # What was unpacked of files that have changed since is unpacked again.
    assert sum(map(len, StoredExamples(stores, tmp_path / "flat").blocks())) == 60
    biolm.tokenize(two_files / "b.h5ad", model=str(folder), output=stores[0], overwrite=True)
    assert sum(map(len, StoredExamples(stores, tmp_path / "flat").blocks())) == 80

    other = vocabulary_of_data(CellFiles([two_files / "b.h5ad"]), DataConfig(paths=("a",)), model, "toy")
    check_tokens(stores, found)
    with pytest.raises(InputError, match=r"x\.parquet holds tokens of toy with other genes"):
        check_tokens(stores, other)


def write_named(path, names, seed=0, ids=None):
    import anndata

    made = anndata.AnnData(np.random.default_rng(seed).poisson(3.0, (5, len(names))).astype(np.float32))
    made.var_names = names
    made.obs_names = [f"{path.stem}{number}" for number in range(5)]
    if ids is not None:
        made.var["gene_ids"] = ids
    made.write_h5ad(path)


def test_genes_are_one_whatever_files_call_them_and_in_any_order(tmp_path):
    # CD3D, MS4A1, CD8A; LEU-16 is an old name of MS4A1; the last file names by id.
    tables = {
        "ids": ["ENSG00000167286", "ENSG00000156738", "ENSG00000010610"],
        "new": ["HLA-A", "LINC00115", "CD3D", "MS4A1", "CD8A", "nobody"],
        "old": ["HLA-A", "LINC00115", "CD3D", "LEU-16", "CD8A"],
    }
    for number, (name, names) in enumerate(tables.items()):
        write_named(tmp_path / f"{name}.h5ad", names, number)

    def genes(*names):
        files = [tmp_path / f"{name}.h5ad" for name in names]
        found = vocabulary_of_data(
            CellFiles(files), DataConfig(paths=("x",)), ModelConfig(adapter="bins"), "toy"
        )
        matches = match_files(CellFiles(files), found.preprocessor.vocabulary, DataConfig(paths=("x",)))
        assert all((match.target >= 0).all() for match in matches)
        return found.preprocessor.vocabulary.genes

    ids = ["ENSG00000010610", "ENSG00000153563", "ENSG00000156738", "ENSG00000167286"]
    for order in itertools.permutations(tables):
        found = genes(*order)
        assert len(found) == 7
        assert set(found) > {*ids, "nobody"}
        assert sum(name.startswith("ENSG") for name in found) == 6
    assert genes("new", "old") == genes("old", "new")
    assert set(genes("new", "old")) - {"MS4A1", "LEU-16"} == {"CD3D", "CD8A", "HLA-A", "LINC00115", "nobody"}
    # A file that lacks some ids, before one that has them all.
    some, hla = ["ENSG00000153563", "ENSG00000156738", "ENSG00000167286"], "ENSG00000206503"
    write_named(tmp_path / "a.h5ad", ["CD8A", "MS4A1", "CD3D", "HLA-A", "nobody"], ids=[*some, "", ""])
    write_named(tmp_path / "b.h5ad", [*some, hla])
    assert genes("a", "b") == genes("b", "a") == (*some, hla, "nobody")
    write_named(tmp_path / "mouse.h5ad", [f"ENSMUSG{number:011d}" for number in range(4)])
    with pytest.raises(InputError, match=r"(mouse|ids).h5ad: .* set data.species"):
        genes("ids", "mouse")


def test_few_files_are_open_at_a_time(two_files, monkeypatch):
    monkeypatch.setattr(cell_files, "_OPEN", 1)
    files = expand([two_files / "*.h5ad"]) * 3
    data = DataConfig(paths=(str(two_files),))
    found = vocabulary_of_data(CellFiles(files[:2]), data, ModelConfig(max_length=24), "toy").preprocessor
    cells = CellExamples(
        CellFiles(files), match_files(CellFiles(files), found.vocabulary, data), found, seed=0
    )
    assert len(cells) == 240
    tokens = cells.read(np.array([3, 33, 83, 113, 163, 193]))
    for place in (0, 1):
        for again in (2, 4):
            assert tokens[place].ids.tolist() == tokens[place + again].ids.tolist()
        assert len(cells.files._open) == 1
    cells.close()


def test_what_is_mapped_is_read_in_true_random_order(two_files, tmp_path):
    import biolm
    from biolm.training.config.read import build
    from biolm.training.run.prepare import prepare

    store = biolm.pack(two_files, tmp_path / "store")
    core = {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    for path, chunk, wanted in ((store, None, 1), (two_files, None, 64), (store, 8, 8)):
        job = prepare(build({"data": {"paths": str(path), "chunk": chunk}, "model": {"core": core}}))
        assert job.train.chunk == job.valid.chunk == wanted


def test_a_bad_value_is_told_with_its_file(two_files, tmp_path):
    import anndata

    from biolm.training.config.read import build
    from biolm.training.run.prepare import prepare

    held = anndata.read_h5ad(two_files / "b.h5ad")
    counts = np.tile(held.X, (400, 1))
    counts[9000, 3] = -1
    broken = anndata.AnnData(counts, var=held.var)
    broken.obs_names = [f"c{number}" for number in range(len(counts))]
    broken.write_h5ad(tmp_path / "broken.h5ad")
    paths = [str(two_files / "a.h5ad"), str(tmp_path / "broken.h5ad")]
    core = {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    with pytest.raises(InputError, match=r"broken.h5ad: cell 9000 .* holds the value -1"):
        prepare(build({"data": {"paths": paths}, "model": {"adapter": "bins", "core": core}}))
    logged = anndata.AnnData(np.log1p(held.X / 3), layers={"counts": held.X}, var=held.var)
    logged.write_h5ad(tmp_path / "logged.h5ad")
    with pytest.raises(
        InputError, match=r"logged.h5ad.*choose it with data.layer: layers/counts.*data.allow_norm"
    ):
        prepare(build({"data": {"paths": str(tmp_path / "logged.h5ad")}, "model": {"core": core}}))


def test_paths_are_spelled_out(two_files, tmp_path):
    listed = tmp_path / "cells.txt"
    listed.write_text(f"# cells\n{two_files / 'b.h5ad'}\n")
    assert [path.name for path in expand([listed, two_files])] == ["b.h5ad", "a.h5ad"]
    for absent in (tmp_path / "absent.h5ad", tmp_path / "*.h5ad"):
        with pytest.raises(InputError, match="names no file"):
            expand([absent])
    listed.write_text(f"{two_files / 'b.h5ad'}\ncells.txt\n")
    with pytest.raises(InputError, match="names itself"):
        expand([listed])
    (tmp_path / "parts" / "one").mkdir(parents=True)
    (tmp_path / "parts" / ".hidden.h5ad").write_bytes(b"")
    with pytest.raises(InputError, match=r"for its folders give .*parts/\*\*/\*.h5ad"):
        expand([tmp_path / "parts"])


def test_wrong_tokenizer_settings_are_named(two_files):
    model = ModelConfig(adapter="bins", tokenizer={"n_bin": 9})
    with pytest.raises(ConfigError, match="did you mean 'n_bins'"):
        vocabulary_of_data(CellFiles([two_files / "a.h5ad"]), DataConfig(paths=("a",)), model, "toy")
    with pytest.raises(ConfigError, match="no tokeniser"):
        preprocessor_of_folder("genetext")


def test_ranks_share_the_number_of_a_step():
    """Gene panels are drawn by it, and must be the same on every rank."""
    found = []
    for rank in range(2):
        stream = Stream(reader=reader(), rank=rank, ranks=2, stop=4)
        found.append([int(prepared.labels["number"][0]) for _, prepared in stream])
    assert found == [[0, 1, 2, 3], [0, 1, 2, 3]]
