"""Domains against a pathologist, and deconvolution of spots mixed from purified blood cells.

``python benchmarks/spatial_tasks.py`` takes about a CPU-minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment, nnls
from scipy.sparse import csr_matrix

from biolm.tasks.spatial.deconvolve import deconvolve, reference_profiles
from biolm.tasks.spatial.domains import domains
from biolm.tasks.spatial.prepared import load_prepared
from biolm.tasks.spatial.settings import DeconvolveSettings, DomainSettings

REGIONS = {"A1": 5, "C1": 3, "G2": 6}
"""Sections, and how many regions the pathologist tells apart ("undetermined" left out)."""


def score_domains(data: Path) -> None:
    """Adjusted Rand index, mean and sd over ten seeds."""
    for name, k in REGIONS.items():
        section = load_prepared(data / f"{name}.h5ad")
        for smooth in (0, 7):
            for method in ("kmeans", "mixture"):
                settings = DomainSettings(k=k, method=method, smooth=smooth)
                found = domains(section, settings=settings, label="pathologist_label")
                text = "; ".join(
                    f"{key} {one['mean']:.3f} ± {one['sd']:.3f}" for key, one in found.scores.items()
                )
                print(f"{name}, k {k}, {method}, {smooth} neighbours: {text}", flush=True)


def mix(
    cells: anndata.AnnData, rng: np.random.Generator, spots: int = 200
) -> tuple[anndata.AnnData, np.ndarray]:
    """Spots of ten cells each, drawn from one to four types, and the fractions of their counts."""
    types = cells.obs["cell_type"].astype(str).to_numpy()
    names = sorted(set(types))
    counts, truth = np.zeros((spots, cells.n_vars), np.float32), np.zeros((spots, len(names)))
    table = csr_matrix(cells.X)
    for spot in range(spots):
        chosen = rng.choice(len(names), rng.integers(1, 5), replace=False)
        for kind in rng.choice(chosen, 10):
            cell = rng.choice(np.flatnonzero(types == names[kind]))
            row = np.asarray(table[cell].todense()).ravel()
            counts[spot] += row
            truth[spot, kind] += row.sum()
    mixed = anndata.AnnData(
        csr_matrix(counts), obs=pd.DataFrame(index=[f"s{n}" for n in range(spots)]), var=cells.var
    )
    mixed.obsm["spatial"] = rng.uniform(0, 1000, (spots, 2))
    return mixed, truth / truth.sum(1, keepdims=True)


def score_deconvolution(path: Path) -> None:
    """Error of NNLS beside scipy's own, and correlation of matched LDA topics; no cell is on both sides."""
    cells = anndata.read_h5ad(path)
    label = next(c for c in ("cell_type", "label", "labels") if c in cells.obs)
    cells.obs["cell_type"] = cells.obs[label].astype(str)
    rng = np.random.default_rng(0)
    half = rng.random(cells.n_obs) < 0.5
    reference, others = cells[half].copy(), cells[~half].copy()
    mixed, truth = mix(others, rng)
    found = deconvolve(mixed, reference=reference, settings=DeconvolveSettings(label="cell_type"))
    names, genes, profiles = reference_profiles(reference, "cell_type")
    kept = np.isin(genes, found.genes)
    design = profiles[:, kept] / profiles[:, kept].sum(1, keepdims=True)
    own = np.asarray(mixed.X[:, kept].todense())
    plain = np.stack([nnls(design.T, row / max(row.sum(), 1))[0] for row in own])
    plain /= plain.sum(1, keepdims=True)
    for name, fractions in (("biolm, NNLS", found.fractions), ("scipy.optimize.nnls", plain)):
        error = float(np.sqrt(((fractions - truth) ** 2).mean()))
        r = float(np.mean([np.corrcoef(fractions[:, n], truth[:, n])[0, 1] for n in range(len(names))]))
        print(f"{name}: RMSE {error:.4f}, mean r by type {r:.3f}", flush=True)
    topics = deconvolve(mixed, settings=DeconvolveSettings(topics=(4, 6, 9), iterations=120))
    r = np.corrcoef(topics.fractions.T, truth.T)[: topics.provenance["topics"], topics.provenance["topics"] :]
    rows, columns = linear_sum_assignment(-r)
    print(topics.provenance)
    print(
        "LDA topics matched to types:",
        {names[c]: round(float(r[t, c]), 2) for t, c in zip(rows, columns, strict=True)},
    )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    chosen = parser.parse_args()
    score_domains(chosen.shared / "spatial" / "her2st_labelled_noimage")
    score_deconvolution(chosen.shared / "cells" / "zheng_purified_2007.h5ad")


if __name__ == "__main__":
    main()
