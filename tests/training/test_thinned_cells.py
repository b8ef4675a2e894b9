"""Down-sampling as a setting of the data: anew in each epoch, never of held-out cells."""

from __future__ import annotations

import numpy as np
import pytest

from biolm.adapters.cells.downsample import Downsampling
from biolm.errors import ConfigError
from biolm.io.cells import CellBlock
from biolm.training.config.read import build
from biolm.training.data.loader import Stream
from biolm.training.run.job import make_objective
from biolm.training.run.prepare import prepare
from biolm.training.run.train import reader_of


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    import anndata

    counts = np.random.default_rng(0).poisson(3.0, (40, 12)).astype(np.float32)
    counts[0] = 0
    counts[0, 3] = 1
    made = anndata.AnnData(counts)
    made.var_names = [f"ENSG{number:011d}" for number in range(12)]
    path = tmp_path_factory.mktemp("thin") / "cells.h5ad"
    made.write_h5ad(path)
    values = {
        "data": {"paths": str(path), "validation": 0.3, "chunk": 4, "pool": 16, "batch_tokens": 60,
                 "downsample": {"share": 1.0, "totals": [6, 12]}},
        "model": {"adapter": "continuous", "tokenizer": {"target_sum": None, "log1p": False},
                  "core": {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}},
        "objectives": {"masked_values": {}},
        "trainer": {"max_epochs": 2},
    }  # fmt: skip
    return prepare(build(values))


def read_all(job, *, valid, workers=0):
    """Values of each cell's tokens, by epoch and cell."""
    reader = reader_of(job, make_objective(job), valid=valid)
    per_epoch = len(job.valid.rows) if valid else len(job.train.rows)
    found, seen = {}, 0
    for _, prepared in Stream(reader=reader, epochs=2, workers=workers):
        values = prepared.original.values.split(prepared.original.lengths.tolist())
        for key, some in zip(prepared.keys.tolist(), values, strict=True):
            found[seen // per_epoch, key] = some.tolist()
            seen += 1
    return found


def test_each_epoch_thins_anew_and_workers_agree(job):
    found = read_all(job, valid=False)
    assert found == read_all(job, valid=False, workers=2)
    cells = [key for epoch, key in found if epoch == 0]
    totals = np.array([[sum(found[epoch, key]) for key in cells] for epoch in (0, 1)])
    whole = np.array([job.examples.read(np.array([key])).values.sum() for key in cells])
    assert (totals <= whole).all()
    assert totals[:, whole > 20].mean() < 14
    assert (totals[0] != totals[1]).mean() > 0.5
    assert (totals > 0).all()


def test_held_out_cells_stay_whole(job):
    for (_, key), values in read_all(job, valid=True).items():
        assert values == job.examples.read(np.array([key])).values.tolist()


def test_a_cell_that_would_lose_all_keeps_all(job):
    epochs = [job.examples.at(epoch).read(np.arange(3)) for epoch in range(20)]
    # The first cell has one count, which almost every rate loses now and then.
    assert all(tokens.lengths[0] == epochs[0].lengths[0] for tokens in epochs)


def test_totals_are_met_on_average():
    block = CellBlock(
        0, np.full(4000, 5.0), np.tile(np.arange(20, dtype=np.int32), 200), np.arange(201) * 20, 20
    )
    made = Downsampling(share=1.0, totals=(10, 40)).apply(block, seed=3)
    wanted = made.rates * 100
    assert 10 <= wanted.min() < 12
    assert 36 < wanted.max() <= 40
    assert np.log(wanted).mean() == pytest.approx(np.log(20), abs=0.1)
    assert np.abs(made.after - wanted).mean() < 5
    same = Downsampling(share=1.0, totals=(500, 900)).apply(block, seed=3)
    assert (same.after == same.before).all()


@pytest.mark.parametrize("totals", [[5], [0, 5], [9, 5]])
def test_impossible_totals(totals):
    with pytest.raises(ConfigError, match="totals must be two numbers"):
        build({"data": {"paths": "x", "downsample": {"totals": totals}}})
