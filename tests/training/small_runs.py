"""Small runs on a few random cells, for tests of what surrounds them."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file

from biolm.training.run.module import Pretraining

CORE = {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}


def write_cells(path, seed=0, n=40, genes=20):
    import anndata

    made = anndata.AnnData(np.random.default_rng(seed).poisson(1.0, (n, genes)).astype(np.float32))
    made.var_names = [f"ENSG{number:011d}" for number in range(genes)]
    made.obs_names = [f"{path.stem}{number}" for number in range(n)]
    made.obs["age"] = np.arange(n, dtype=float)
    made.write_h5ad(path)


def write_folder(folder):
    """Three files of cells."""
    folder.mkdir()
    for number in range(3):
        write_cells(folder / f"c{number}.h5ad", number)
    return folder


def values_of(cells, **trainer):
    return {
        "data": {"paths": [str(cells)], "batch_tokens": 200, "validation": 0.2},
        "model": {"max_length": 24, "core": CORE},
        "trainer": {
            "max_steps": 6, "max_epochs": 9, "validate_every": 3, "checkpoint_every": 2, "accelerator": "cpu",
            **trainer,
        },
    }  # fmt: skip


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def break_at(monkeypatch, step):
    usual = Pretraining.training_step

    def broken(self, batch, batch_idx):
        if self.step == step:
            raise RuntimeError("killed")
        return usual(self, batch, batch_idx)

    monkeypatch.setattr(Pretraining, "training_step", broken)
