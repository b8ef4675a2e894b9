"""Blocks that are read a part at a time hold what blocks read whole hold, and say the same of bad cells."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData

from biolm.adapters.cells import RankTokenizer, in_threads
from biolm.adapters.cells.counts import watch_counts
from biolm.errors import InputError
from biolm.io.cells import open_cells
from biolm.io.cells.mapped import FileArray
from biolm.io.cells.unread import UnreadBlock, unread_blocks
from biolm.vocab.genes import GeneVocabulary

CELLS, GENES = 2_500, 40


@pytest.fixture
def path(tmp_path):
    """Counts of an uncompressed file; some cells store a gene in two pieces."""
    counts = np.random.default_rng(0).poisson(0.4, (CELLS, GENES))
    adata = AnnData(sp.csr_matrix(counts.astype(np.float32)))
    adata.var_names = [f"ENSG{number:011d}" for number in range(GENES)]
    adata.write_h5ad(tmp_path / "x.h5ad")
    return tmp_path / "x.h5ad"


@pytest.fixture
def spans(monkeypatch):
    """How many values each look at the file reads."""
    seen = []
    read = FileArray.__call__
    monkeypatch.setattr(FileArray, "__call__", lambda self, a, b: seen.append(b - a) or read(self, a, b))
    return seen


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("twice", [False, True])
def test_tokens_are_those_of_blocks_read_whole(path, twice, workers):
    if twice:
        with h5py.File(path, "r+") as file:
            pointers = file["X/indptr"][...]
            long = int(np.argmax(np.diff(pointers) > 1))
            file["X/indices"][pointers[long] + 1] = file["X/indices"][pointers[long]]
    tokenizer = RankTokenizer(token_ids=np.arange(GENES), medians=np.linspace(1, 9, GENES), max_length=30)
    with open_cells(path) as source:
        match = GeneVocabulary.of([f"ENSG{number:011d}" for number in range(GENES)]).match(
            source.gene_columns()
        )
        whole, later = source.blocks(2_000), unread_blocks(source, 2_000, 0, CELLS)
        for one, other in zip(whole, later, strict=True):
            assert isinstance(other, UnreadBlock)
            tokens = [
                in_threads(lambda part: tokenizer(part, match), block, workers) for block in (one, other)
            ]
            for name in ("ids", "offsets", "index"):
                np.testing.assert_array_equal(getattr(tokens[0], name), getattr(tokens[1], name))


def test_no_more_is_read_than_a_part(path, spans):
    with open_cells(path) as source:
        (block,) = unread_blocks(source, CELLS, 0, CELLS)
        assert not spans
        part = block.part(100, 200)
        assert max(spans) == part.size < block.size / 10
        assert block.data.dtype == np.float32  # all is read for who asks for all
        assert max(spans) == len(block.data) == len(block.indices) == block.size
        np.testing.assert_array_equal(part.data, block.part(100, 200).data)


def test_cells_that_are_no_counts_are_named_for_the_whole_block(path):
    with h5py.File(path, "r+") as file:
        first, last = file["X/indptr"][1_700], file["X/indptr"][1_900]
        file["X/data"][first:last] += 0.5
    with open_cells(path) as source:
        watch_counts(source)
        with pytest.raises(InputError) as told:
            list(source.blocks(CELLS))
        (block,) = unread_blocks(source, CELLS, 0, CELLS)
        with pytest.raises(InputError) as told_later:
            [block.part(start, start + 50) for start in range(0, CELLS, 50)]
    assert str(told.value) == str(told_later.value)


def test_compressed_files_are_read_whole(shipped_cells):
    with open_cells(shipped_cells / "pbmc_cite_10k.h5ad") as source:
        assert not any(isinstance(block, UnreadBlock) for block in unread_blocks(source, 100, 0, 200))
