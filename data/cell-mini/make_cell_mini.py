"""Train the model again: ``python data/cell-mini/make_cell_mini.py RAW_DATA RUN TARGET [PATH=VALUE ...]``.

``RAW_DATA`` is the folder of measured cells and spots, ``RUN`` the folder of the run, made here (one that
stopped half-way goes on, one that is done is not trained again), ``TARGET`` where the model goes: this folder
for the one that ships. The recipe is ``workflows/pretrain/cell-mini.yaml``; ``PATH=VALUE`` changes it,
``seed=1`` say. Weights are then rounded to float16. Their last bits differ between processors.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import biolm
from biolm.training.config.read import read_config

RECIPE = Path(__file__).resolve().parents[2] / "workflows/pretrain/cell-mini.yaml"
# Unlabelled; no cell of a set that judges (benchmarks/_judges.py), nor of one that the demo scores.
CELLS = (
    "cells/breast_tumour_302.h5ad",
    "spatial/her2st_labelled_noimage/A1.h5ad",
    "spatial/her2st_labelled_noimage/C1.h5ad",
    "spatial/her2st_C/C2.h5ad",
    "spatial/her2st_C/C3.h5ad",
    "spatial/her2st_C/C4.h5ad",
    "spatial/her2st_C/C5.h5ad",
    "spatial/her2st_labelled_noimage/G2.h5ad",
    "cells/kang_ctrl_2511genes.h5ad",
    "cells/kang_ctrl_stim.h5ad",
    "cells/pbmc_3chemistries_1500.h5ad",
    "cells/pbmc_celltypist_559.h5ad",
    "cells/pbmc_donor_a_2896.h5ad",
)
FILES = ("config.json", "vocab.json", "preprocessing.json")


def main(raw: Path, run: Path, target: Path, changes: list[str]) -> None:
    """Train, round, and put the files into the target."""
    torch.set_num_threads(1)
    paths = ", ".join(str(raw / name) for name in CELLS)
    fixed = [f"data.paths=[{paths}]", "name=biolm-cell-mini", "trainer.accelerator=cpu"]
    config = read_config(RECIPE, [*fixed, *changes])
    if not (run / "model").exists():
        biolm.pretrain(config, run, resume=run.exists())
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(run / "model" / name, target / name)
    weights = {name: each.half() for name, each in load_file(run / "model/model.safetensors").items()}
    file = target / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    print(f"{file.stat().st_size} bytes, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*(Path(each) for each in sys.argv[1:4]), sys.argv[4:])
