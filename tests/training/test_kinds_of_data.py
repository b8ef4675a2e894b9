"""Data of a run by kind: cells are opened once, and another package's kind is one entry."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from small_runs import CORE

from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError
from biolm.training.config.read import build
from biolm.training.data import cell_files, kinds
from biolm.training.data.examples import Examples
from biolm.training.data.vocabulary import Vocabulary
from biolm.training.run.prepare import prepare
from biolm.training.run.train import make_module, train


def write_labelled(path, seed):
    import anndata

    cells = anndata.AnnData(np.random.default_rng(seed).poisson(1.0, (20, 12)).astype(np.float32))
    cells.var_names = [f"ENSG{number:011d}" for number in range(12)]
    cells.obs_names = [f"{path.stem}{number}" for number in range(20)]
    cells.obs["donor"] = [f"d{number % 5}" for number in range(20)]
    cells.obs["kind"] = [f"k{number % 2}" for number in range(20)]
    cells.obs["age"] = np.arange(20, dtype=float)
    cells.write_h5ad(path)


@pytest.mark.parametrize("adapter", ["rank", "bins"])
def test_each_file_is_opened_once_before_the_first_step(adapter, tmp_path, monkeypatch):
    """Genes, medians, lengths, labels and groups are all read from one open file."""
    files = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    for number, path in enumerate(files):
        write_labelled(path, number)
    by_reader, by_hdf5 = [], []
    open_file, open_cells = h5py.File.__init__, cell_files.open_cells

    def counted(self, name, *args, **kwargs):
        if isinstance(name, str | Path):  # else a handle of a file that is open
            by_hdf5.append(Path(name))
        open_file(self, name, *args, **kwargs)

    def counted_cells(path, **kwargs):
        by_reader.append(path)
        return open_cells(path, **kwargs)

    monkeypatch.setattr(h5py.File, "__init__", counted)
    monkeypatch.setattr(cell_files, "open_cells", counted_cells)
    values = {
        "data": {"paths": str(tmp_path / "*.h5ad"), "groups": "donor", "validation": 0.3},
        "model": {"adapter": adapter, "core": CORE},
        "objectives": {"classify": {"column": "kind"}, "regress": {"column": "age"}},
    }
    job = prepare(build(values), tmp_path / "run")
    make_module(job, tmp_path / "run")
    job.examples.close()
    assert by_reader == by_hdf5 == files


def test_files_of_a_run_that_does_not_come_about_are_closed(tmp_path):
    write_labelled(tmp_path / "a.h5ad", 0)
    values = {
        "data": {"paths": str(tmp_path / "a.h5ad")},
        "model": {"core": CORE},
        "objectives": {"classify": {"column": "absent"}},
    }
    with pytest.raises(InputError, match="no file of cells has the obs column 'absent'"):
        prepare(build(values))
    with h5py.File(tmp_path / "a.h5ad", "r+"):  # refused while anybody has it open
        pass


class Words(Examples):
    """Lines of a text file, a token for each letter of a to d."""

    def __init__(self, lines):
        self.ids = [np.frombuffer(line.encode(), np.uint8).astype(np.int32) - 96 for line in lines]

    def __len__(self):
        return len(self.ids)

    def read(self, rows):
        parts = [self.ids[row] for row in rows]
        return Tokens(np.concatenate(parts), np.cumsum([0, *map(len, parts)]), rows)

    def blocks(self):
        yield self.read(np.arange(len(self)))

    def column(self, name, chosen):
        return np.array(["even" if len(ids) % 2 == 0 else "odd" for ids in self.ids])


class WordFiles:
    def __init__(self, files, config):
        self.lines = [line for path in files for line in path.read_text().split()]

    def vocabulary(self, checkpoint):
        tokens = {"<mask>": 0, **{letter: 1 + place for place, letter in enumerate("abcd")}}
        return Vocabulary(
            preprocessor=None, tokens=tokens, size=5, special_ids=(0,), mask_id=0,
            core={"position": "rope", "head": "mlm"}, reads="words",
        )  # fmt: skip

    def examples(self, vocabulary, folder):
        return Words(self.lines)

    def close(self):
        pass


@pytest.fixture
def words(tmp_path, monkeypatch):
    entry = kinds.Kind(
        name="words", reads="words", recognises=lambda path: path.suffix == ".words", open=WordFiles
    )
    point = SimpleNamespace(load=lambda: SimpleNamespace(training=entry))
    monkeypatch.setattr(kinds, "entry_points", lambda group: [point] if group == "biolm.modalities" else [])
    draws = np.random.default_rng(0)
    path = tmp_path / "some.words"
    path.write_text("\n".join("".join(draws.choice(list("abcd"), draws.integers(3, 9))) for _ in range(60)))
    return path


def test_another_packages_kind_of_data_is_trained_on(words, tmp_path):
    values = {
        "data": {"paths": str(words), "validation": 0.2, "groups": "parity", "batch_tokens": 60},
        "model": {"core": CORE},
        "objectives": {"masked_tokens": {}, "classify": {"column": "parity"}},
        "trainer": {"max_steps": 4, "accelerator": "cpu"},
    }
    # Groups are held out whole, so one parity is left to train on.
    with pytest.raises(InputError, match="all training labels of the column 'parity' are"):
        prepare(build(values))
    del values["data"]["groups"]
    result = train(build(values), tmp_path / "run")
    assert result.steps == 4
    assert {"masked_tokens/loss", "classify/loss"} <= set(result.scores)
    write_labelled(tmp_path / "a.h5ad", 0)
    values["data"]["paths"] = [str(words), str(tmp_path / "a.h5ad")]
    with pytest.raises(ConfigError, match=r"data.paths mixes words with cells"):
        prepare(build(values))
