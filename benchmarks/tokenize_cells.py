"""Tokenising cells: kernels in memory against numpy row by row, and the whole job from h5ad to disk.

    python benchmarks/tokenize_cells.py [--rounds 5] [--cells 20000 100000]

Synthetic counts, 20,000 genes, about 2,141 expressed a cell. In memory the jobs take turns on the same
cells; the numpy versions do what published tokenisers do, in the fewest numpy calls a cell. numpy sorts with
AVX-512 where the machine has it; NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR" shows it without.

The whole job runs in a process of its own, which tokenises 64 cells first to import and load the compiled
kernels; that is the start-up column. CPU seconds count all threads; peak memory counts everything. A first
round that compiles and brings the file into the page cache is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _synthetic import make_pool, write_h5ad

from biolm.adapters.cells import BinTokenizer, ContinuousTokenizer, RankTokenizer
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch, MatchReport

GENES, CELLS, REFERENCE_CELLS = 20_000, 4_096, 512
LENGTH, BINS = 2_048, 51


def main() -> None:
    """Run both parts and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, nargs="*", default=[20_000, 100_000])
    parser.add_argument("--one", nargs=3, metavar=("FILE", "MODEL", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(whole_job(*map(Path, options.one))))
        return
    in_memory(options.rounds)
    if options.cells:
        print(
            f"\n{'h5ad to disk':28}{'cells/CPU-s':>12}{'wall cells/s':>14}{'peak MiB':>10}{'bytes/token':>13}"
        )
    for cells in options.cells:
        with tempfile.TemporaryDirectory(prefix="biolm-bench-") as folder:
            on_disk(Path(folder), cells, options.rounds)


def in_memory(rounds: int) -> None:
    """Tokenizers against numpy on one block."""
    from _measure import interleaved

    pool = make_pool(cells=CELLS)
    block = CellBlock(start=0, data=pool.data, indices=pool.indices, indptr=pool.indptr, n_genes=GENES)
    rng = np.random.default_rng(0)
    medians, ids = rng.lognormal(0, 1, GENES), np.arange(2, GENES + 2, dtype=np.int32)
    target = rng.permutation(GENES).astype(np.int32)
    match = GeneMatch(target=target, report=report())
    tokenizers = {
        "rank tokens": RankTokenizer(token_ids=ids, medians=medians, max_length=LENGTH),
        "value bins": BinTokenizer(token_ids=ids, max_length=None),
        "value bins, 1,199 sampled": BinTokenizer(token_ids=ids, cls_id=1),
        "continuous": ContinuousTokenizer(token_ids=ids),
        "continuous, 1,200 highest": ContinuousTokenizer(token_ids=ids, max_length=1200),
    }
    scales = (1e4 / medians)[target]
    jobs: dict[str, Callable[[], object]] = {
        "numpy argsort a row": lambda: numpy_rank(block, ids[target], scales),
        "numpy quantile a row": lambda: numpy_bins(block),
    }
    jobs |= {name: lambda adapter=adapter: adapter(block, match) for name, adapter in tokenizers.items()}
    for name in tokenizers:
        jobs[name]()  # compiles
    seconds = interleaved(jobs, rounds=rounds)
    rate = {name: (REFERENCE_CELLS if name in list(jobs)[:2] else CELLS) / s for name, s in seconds.items()}
    print(f"{'in memory':28}{'cells/CPU-s':>12}{'to numpy':>10}")
    for name, value in rate.items():
        reference = next((rate[key] for key in list(jobs)[:2] if key.split()[1] == KIN.get(name)), None)
        print(f"{name:28}{value:12,.0f}" + (f"{value / reference:10.1f}" if reference else ""))


KIN = {"rank tokens": "argsort", "value bins": "quantile", "value bins, 1,199 sampled": "quantile"}


def report() -> MatchReport:
    """Every gene found once."""
    numbers = dict.fromkeys(("via_version", "via_symbol", "via_alias", "via_case", "summed"), 0)
    found = dict.fromkeys(("total", "matched", "exact", "vocabulary_found", "vocabulary_total"), GENES)
    return MatchReport(column="index", species="", ambiguous=(), missing=(), **numbers, **found)


def numpy_rank(block: CellBlock, tokens: np.ndarray, scales: np.ndarray) -> list[np.ndarray]:
    """Rank tokens with one argsort a row."""
    found = []
    for row in range(REFERENCE_CELLS):
        span = slice(block.indptr[row], block.indptr[row + 1])
        column, x = block.indices[span], block.data[span].astype(np.float64)
        found.append(tokens[column][np.argsort(-(x / x.sum() * scales[column]))][:LENGTH])
    return found


def numpy_bins(block: CellBlock) -> list[np.ndarray]:
    """Value bins with quantiles, two digitize calls and random numbers a row."""
    rng, found = np.random.default_rng(0), []
    for row in range(REFERENCE_CELLS):
        x = block.data[block.indptr[row] : block.indptr[row + 1]]
        edges = np.quantile(x, np.linspace(0, 1, BINS - 1))
        left, right = np.digitize(x, edges), np.digitize(x, edges, right=True)
        found.append(np.ceil(rng.random(len(x)) * (right - left) + left).astype(np.int64))
    return found


def on_disk(folder: Path, cells: int, rounds: int) -> None:
    """The whole job on a file of ``cells``, for two formats."""
    path, model = folder / "cells.h5ad", folder / "model"
    write_h5ad(path, cells, n_genes=GENES)
    write_h5ad(folder / "first.h5ad", 64, n_genes=GENES)
    write_model(model)
    for ending in (".arrow", ".parquet"):
        output = folder / f"tokens{ending}"
        runs = []
        for _ in range(rounds + 1):
            command = [sys.executable, __file__, "--one", str(path), str(model), str(output)]
            runs.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
        cpu, wall, start, peak, tokens = (float(np.median([run[key] for run in runs[1:]])) for key in runs[0])
        size = output.stat().st_size / tokens
        name = f"{cells:,} cells to {ending[1:]}"
        print(f"{name:28}{cells / cpu:16,.0f}{cells / wall:16,.0f}{start:16.2f}{peak:16,.0f}{size:16.2f}")


def write_model(folder: Path) -> None:
    """A folder with the dictionaries of a Geneformer V1 of these genes."""
    genes = [f"ENSG{number:011d}" for number in range(1, GENES + 1)]
    medians = np.random.default_rng(0).lognormal(0, 1, GENES)
    contents = {
        "config.json": {"model_type": "bert", "vocab_size": GENES + 2, "max_position_embeddings": LENGTH},
        "token_dictionary.json": {"<pad>": 0, "<mask>": 1} | {gene: i + 2 for i, gene in enumerate(genes)},
        "gene_median_dictionary.json": dict(zip(genes, medians.tolist(), strict=True)),
    }
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))


def whole_job(path: Path, model: Path, output: Path) -> dict[str, float]:
    """Tokenise a file as the command line does; CPU and wall seconds, peak MiB, tokens."""
    from biolm.tasks.tokens.tokenize import TokenizeSettings, tokenize_file

    settings = TokenizeSettings(overwrite=True)
    tokenize_file(path.with_name("first.h5ad"), output, model, settings)
    cpu, wall = time.process_time(), time.perf_counter()
    summary = tokenize_file(path, output, model, settings)
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "start": cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "tokens": summary.tokens,
    }


if __name__ == "__main__":
    main()
