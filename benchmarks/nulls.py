"""What passes an FDR of 0.05 where there is nothing to find, and where there is.

    python benchmarks/nulls.py [--seeds 2] [--cells 50]

Perturbation: all genes of the shipped CITE-seq cells deleted, toward a goal whose labels are random, and from
B to NK cells. Gene network: independent genes drawn with the covariance of the built-in model's vectors, and
the vectors themselves.
"""

from __future__ import annotations

import argparse

import anndata
import numpy as np

import biolm
from biolm.resources import shipped
from biolm.scoring.rates import adjusted
from biolm.tasks.genes.network import network
from biolm.tasks.genes.vectors import GeneVectors, static

GENES = 1500


def screens(seeds: int, cells: int) -> None:
    """Genes that pass in screens with random goals, then with a real one."""
    table = anndata.read_h5ad(shipped("cells/pbmc_cite_10k.h5ad"))
    for seed in range(seeds):
        table.obs["random"] = np.random.default_rng(seed).choice(["a", "b"], table.n_obs)
        _screen(table, f"random goal {seed}", goal_key="random", start="a", goal="b", cells=cells, seed=seed)
    _screen(table, "B to NK", goal_key="cell_type", start="B", goal="NK", cells=cells)


def _screen(table: anndata.AnnData, title: str, **options: object) -> None:
    found = biolm.perturb(table, genes="all", **options).columns
    paired = (adjusted(found["p_paired"]) < 0.05).mean()
    print(f"{title}: {(found['fdr'] < 0.05).mean():.3f} of {len(found['gene']):,} genes; paired {paired:.3f}")


def networks(seeds: int) -> None:
    """Edges that pass between independent genes, then between those of the model."""
    every = static("genetext").vectors.astype(float)
    vectors = every[np.random.default_rng(0).permutation(len(every))[:GENES]]
    root = np.linalg.cholesky(np.cov(vectors.T) + 1e-9 * np.eye(vectors.shape[1])).T
    for seed in range(seeds):
        drawn = np.random.default_rng(seed).standard_normal(vectors.shape) @ root + vectors.mean(0)
        _network(drawn, f"independent genes {seed}", seed)
    _network(vectors, "genetext", 0)


def _network(vectors: np.ndarray, title: str, seed: int) -> None:
    names = np.arange(len(vectors)).astype(str)
    found = network(GeneVectors(names, names, vectors.astype(np.float32), {}), k=5, permutations=5, seed=seed)
    print(f"{title}: {len(found):,} of {found.provenance['edges_tested']:,} pairs of neighbours")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cells", type=int, default=50)
    given = parser.parse_args()
    networks(given.seeds)
    screens(given.seeds, given.cells)
