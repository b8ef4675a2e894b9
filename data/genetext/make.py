"""Make the table of gene vectors: ``python data/genetext/make.py RAW_DATA CACHE [OUTPUT_FOLDER]``.

RAW_DATA holds ``genes/`` (NCBI names, GO annotations), ``cells/`` and ``spatial/`` (measured cells, read
without labels); CACHE keeps the vectors of MiniLM between runs. Orthologs come from ``data/genes``.
Dimensions: ``h`` human genes · ``p`` mouse genes · ``m`` both · ``f`` text features · ``d`` axes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import axes
import numpy as np
import texts
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.sparse import csr_matrix

HERE = Path(__file__).resolve().parent
POWER = 0.75
AXES = 48
RIDGE = 0.1
CELLS = (
    "cells/breast_tumour_302.h5ad",
    "cells/mouse_embryo_902.h5ad",
    "cells/pbmc_celltypist_559.h5ad",
    "cells/pbmc_donor_a_2896.h5ad",
    "spatial/her2st_C/C2.h5ad",
    "spatial/her2st_labelled_noimage/A1.h5ad",
    "spatial/her2st_labelled_noimage/G2.h5ad",
)


@dataclass(frozen=True)
class Genes:
    """Genes of both species: ``human`` in order; ``mouse`` to its human rows and their weights."""

    human: list[texts.Gene]
    mouse: dict[str, list[tuple[int, float]]]

    @property
    def rows(self) -> dict[str, int]:
        """Ensembl id to row, human then mouse."""
        return {name: row for row, name in enumerate([*(gene.ensembl for gene in self.human), *self.mouse])}

    @property
    def families(self) -> list[list[int]]:
        """``h`` lists: a human gene's row and the rows of its mouse orthologs."""
        found = [[row] for row in range(len(self.human))]
        for place, humans in enumerate(self.mouse.values(), len(self.human)):
            for row, _ in humans:
                found[row].append(place)
        return found

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(m, ·)``: human rows, then the weighted mean that each mouse gene gets."""
        means = []
        for humans in self.mouse.values():
            rows, weights = zip(*humans, strict=True)
            means.append(np.average(values[list(rows)], axis=0, weights=weights))
        return np.concatenate([values, means])


def read_genes(raw: Path) -> Genes:
    """Human genes with a text, and mouse genes with a human ortholog among them."""
    human = texts.genes(raw)
    rows = {gene.ensembl: row for row, gene in enumerate(human)}
    groups = defaultdict(list)
    for line in texts.read(HERE.parent / "genes/orthologs.tsv.gz"):
        if line["human"] in rows:
            groups[line["mouse"]].append((rows[line["human"]], float(line["weight"])))
    return Genes(human, {name: sorted(groups[name]) for name in sorted(groups)})


def powered(counts: csr_matrix, power: float = POWER) -> csr_matrix:
    """Counts to a power."""
    values = counts.copy()
    values.data = values.data**power
    return values


def fitted(
    sets: Sequence[axes.Moments], features: NDArray[np.float64], count: int = AXES, ridge: float = RIDGE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(h, d)`` vectors of human genes, and the reliability ``(d,)`` of each axis.

    Constants put an average cell at zero and make the spread of cells along an axis its reliability.
    """
    directions, reliability = axes.reliable_axes(sets, count, ridge)
    mean, deviation = axes.spread(sets, directions)
    return (features @ directions - mean) * (reliability / deviation), reliability


def main(raw: Path, cache: Path, output: Path) -> None:
    """Write ``genetext.safetensors`` and print what goes into the README."""
    genes = read_genes(raw)
    about = {
        "text": "NCBI full name; GO biological-process names (GO CC BY 4.0, 2022-07-01)",
        "encoder": f"all-MiniLM-L6-v2, sha256 {texts.WEIGHTS_SHA256}",
    }
    write(genes, texts.features(genes.human, cache).astype(np.float64), about, raw, output)


def write(
    genes: Genes, features: NDArray[np.float64], about: dict[str, str], raw: Path, output: Path
) -> None:
    """Find the axes of features ``(h, f)`` and write the table of their genes."""
    counts = [axes.read_counts(raw / name, genes.rows) for name in CELLS]
    factors = axes.rarity(counts, genes.families)
    everywhere = genes.spread(features), genes.spread(factors)
    sets = [axes.moments(axes.weighted(powered(cells), everywhere[1]), everywhere[0]) for cells in counts]
    vectors, reliability = fitted(sets, features)
    table = {
        "human": np.array([int(gene.ensembl[4:]) for gene in genes.human], np.int32),
        "vectors": vectors.astype(np.float16),
        "factors": factors.astype(np.float16),
        "mouse": np.array([int(name[7:]) for name in genes.mouse], np.int32),
        "mouse_offsets": np.cumsum([0, *map(len, genes.mouse.values())]).astype(np.int32),
        "mouse_rows": np.array([row for humans in genes.mouse.values() for row, _ in humans], np.int32),
        "mouse_weights": np.array([w for humans in genes.mouse.values() for _, w in humans], np.float32),
    }
    about = {
        **about,
        "axes": f"the {AXES} most reliable over {len(CELLS)} unlabelled sets, ridge {RIDGE}",
        "weights": f"counts to the power {POWER}, times the log of a gene's rarity",
    }
    file = output / "genetext.safetensors"
    # One entry of metadata: several would be written in an order that changes from run to run.
    save_file(table, file, metadata={"about": json.dumps(about)})
    print(f"{len(genes.human)} human and {len(genes.mouse)} mouse genes, {file.stat().st_size} bytes")
    print(f"reliability of axes 1, 2, 4, 8 ...: {[round(float(reliability[2**k - 1]), 3) for k in range(6)]}")
    print(f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) == 4 else HERE)
