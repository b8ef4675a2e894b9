"""Make the table of gene vectors: ``python data/genetext/make.py RAW_DATA CACHE [OUTPUT_FOLDER]``.

RAW_DATA holds ``genes/`` (NCBI names, GO annotations), ``cells/`` and ``spatial/`` (measured cells, read
without labels); CACHE keeps the vectors of MiniLM between runs. Orthologs come from ``data/genes``.
Dimensions: ``h`` human genes · ``p`` mouse genes · ``d`` axes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from pathlib import Path

import axes
import numpy as np
import texts
from numpy.typing import NDArray
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
AXES = 32
RIDGE = 0.1
LEFT_OUT = ("MT-", "RPL", "RPS")  # their share of a cell says more about its handling than about its kind
CELLS = (
    "cells/breast_tumour_302.h5ad",
    "cells/mouse_embryo_902.h5ad",
    "cells/pbmc_celltypist_559.h5ad",
    "cells/pbmc_donor_a_2896.h5ad",
    "spatial/her2st_C/C2.h5ad",
    "spatial/her2st_labelled_noimage/A1.h5ad",
    "spatial/her2st_labelled_noimage/G2.h5ad",
)


def mouse_groups(human: dict[str, int]) -> dict[str, list[int]]:
    """Mouse gene to the rows of its human orthologs."""
    groups = defaultdict(list)
    for line in texts.read(HERE.parent / "genes/orthologs.tsv.gz"):
        if line["human"] in human:
            groups[line["mouse"]].append(human[line["human"]])
    return {name: sorted(groups[name]) for name in sorted(groups)}


def means(values: NDArray[np.float64], groups: dict[str, list[int]]) -> NDArray[np.float64]:
    """``(h + p, ·)``: human rows, then the means that mouse genes get."""
    return np.vstack([values, *[values[rows].mean(0, keepdims=True) for rows in groups.values()]])


def main(raw: Path, cache: Path, output: Path) -> None:
    """Write ``genetext.safetensors`` and print what goes into the README."""
    genes = texts.genes(raw)
    human = {gene.ensembl: row for row, gene in enumerate(genes)}
    groups = mouse_groups(human)
    rows = {name: row for row, name in enumerate([*human, *groups])}
    factors = np.array([[not gene.symbol.startswith(LEFT_OUT)] for gene in genes], float)
    features = texts.features(genes, cache).astype(np.float64)
    all_features, all_factors = means(features, groups), means(factors, groups)[:, 0]
    sets = [axes.moments(axes.weights(raw / name, rows, all_factors), all_features) for name in CELLS]
    directions, reliability = axes.reliable_axes(sets, AXES, RIDGE)
    mean, deviation = axes.scaled(sets, directions)
    # Constants make an average cell zero and its spread one, so raw vectors can be compared by distance.
    vectors = (features @ directions - mean) / deviation * factors
    table = {
        "human": np.array([int(name[4:]) for name in human], np.int32),
        "vectors": vectors.astype(np.float16),
        "factors": factors[:, 0].astype(np.float16),
        "mouse": np.array([int(name[7:]) for name in groups], np.int32),
        "mouse_offsets": np.cumsum([0, *map(len, groups.values())]).astype(np.int32),
        "mouse_rows": np.concatenate([*groups.values()]).astype(np.int32),
    }
    about = {
        "text": "NCBI full name; GO biological-process names (GO CC BY 4.0, 2022-07-01)",
        "encoder": f"all-MiniLM-L6-v2, sha256 {texts.WEIGHTS_SHA256}",
        "axes": f"{AXES} most reliable over {len(CELLS)} unlabelled sets, ridge {RIDGE}",
    }
    file = output / "genetext.safetensors"
    # One entry: several would be written in an order that changes from run to run.
    save_file(table, file, metadata={"about": json.dumps(about)})
    print(f"{len(human)} human and {len(groups)} mouse genes, {file.stat().st_size} bytes")
    print(f"reliability of axes 1, 2, 4, 8 ...: {reliability[[0, 1, 3, 7, 15, 31]].round(3).tolist()}")
    print(f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) == 4 else HERE)
