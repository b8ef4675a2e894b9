"""``annotate fit`` of 10,000 cells and ``annotate predict`` of 100,000, as commands, in CPU seconds.

Usage: ``python benchmarks/annotate_whole.py [CELLS.h5ad] [--fit 10000] [--predict 100000]``.

The cells are drawn from a labelled set (pbmc3k by default), and the counts of each are thinned anew: 70 to
100 % of them stay, so that no two cells are alike. Commands are processes of their own: user and system
time of each, start-up and writing included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp

SET = Path(__file__).resolve().parents[2] / "shared/data/cells/pbmc3k_2638.h5ad"


def main() -> None:
    """Write the files, run the commands, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", type=Path, nargs="?", default=SET)
    parser.add_argument("--label", default="cell_type")
    parser.add_argument("--model", default="cellfactors")
    parser.add_argument("--fit", type=int, default=10_000)
    parser.add_argument("--predict", type=int, default=100_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="biolm-bench-") as folder:
        work = Path(folder)
        resample(chosen.cells, work / "fit.h5ad", chosen.fit, chosen.label, seed=0)
        command = ["fit", "fit.h5ad", "--label", chosen.label, "-m", chosen.model, "-o", "annotator"]
        print(f"fit, {chosen.fit:,} cells: {seconds(command, work):.1f} CPU s", flush=True)
        if chosen.predict:
            resample(chosen.cells, work / "query.h5ad", chosen.predict, chosen.label, seed=1)
            command = ["predict", "query.h5ad", "-a", "annotator", "-o", "named.h5ad"]
            print(f"predict, {chosen.predict:,} cells: {seconds(command, work):.1f} CPU s", flush=True)


def resample(source: Path, target: Path, cells: int, label: str, seed: int) -> None:
    """Write cells drawn with replacement, a thousand at a time, their counts thinned."""
    whole, rng = anndata.read_h5ad(source), np.random.default_rng(seed)
    rows = rng.integers(0, whole.n_obs, cells)
    table = sp.csr_matrix(whole.X)
    parts = []
    for start in range(0, cells, 1000):
        part = table[rows[start : start + 1000]]
        kept = np.repeat(rng.uniform(0.7, 1, part.shape[0]), np.diff(part.indptr))
        part.data = rng.binomial(part.data.astype(np.int64), kept).astype(np.float32)
        part.eliminate_zeros()
        parts.append(part)
    made = anndata.AnnData(sp.vstack(parts, format="csr"), obs=whole.obs[[label]].iloc[rows], var=whole.var)
    made.obs_names = [f"cell{number}" for number in range(cells)]
    made.write_h5ad(target)


def seconds(command: list[str], folder: Path) -> float:
    """User and system time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "biolm", "annotate", *command, "-q"], cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
