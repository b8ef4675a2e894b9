"""What a whole command costs: starting, embedding 200 cells, tokenising 30,000; CPU and wall seconds.

    python benchmarks/startup.py [CELLS.h5ad] [--rounds 5] [--threads 2] [--tokens 30000]

Every command is a process of its own, its children counted; the commands take turns, and the least of all
rounds is printed, since another process can only make it more. A first round, not counted, compiles modules
and kernels, as installing and the first use do. Beside them stand Python alone and ``import torch`` alone.

The tokens are those of synthetic cells of 20,000 genes, 1,605 of them expressed, in an uncompressed h5ad, by
the dictionaries of a Geneformer V1 (``--tokens 0`` leaves them out).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _synthetic import write_h5ad
from tokenize_cells import GENES, write_model

CELLS = Path(__file__).resolve().parents[1] / "data/cells/pbmc_cite_10k.h5ad"
MODELS = ("cellfactors", "genetext", "biolm-cell-mini")
EXPRESSED = 1_605


def main() -> None:
    """Let the commands take turns, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", type=Path, nargs="?", default=CELLS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=30_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="biolm-bench-") as name:
        folder = Path(name)
        commands = starting(chosen.cells, folder)
        if chosen.tokens:
            commands |= tokenising(folder, chosen.tokens)
        least = dict.fromkeys(commands, (float("inf"), float("inf")))
        for number in range(chosen.rounds + 1):
            for label, command in commands.items():
                spent = seconds(command, folder, chosen.threads)
                if number:
                    least[label] = (min(least[label][0], spent[0]), min(least[label][1], spent[1]))
    print(f"{'least of ' + str(chosen.rounds) + ' rounds':44}{'CPU s':>8}{'wall s':>8}")
    for label, (cpu, wall) in least.items():
        print(f"{label:44}{cpu:8.2f}{wall:8.2f}")


def starting(cells: Path, folder: Path) -> dict[str, list[str]]:
    """Starting alone, and embedding a small file with each of the models that ship."""
    python = [sys.executable, "-c"]
    commands = {"python alone": [*python, "pass"], "import torch alone": [*python, "import torch"]}
    commands["biolm --help"] = biolm("--help")
    for model in MODELS:
        output = folder / f"{model}.h5ad"
        commands[f"embed, {model}"] = biolm("embed", cells, "-m", model, "-o", output, "--overwrite", "-q")
    return commands


def tokenising(folder: Path, cells: int) -> dict[str, list[str]]:
    """Rank tokens to both formats."""
    path, model = folder / "cells.h5ad", folder / "model"
    write_h5ad(path, cells, n_genes=GENES, mean_nonzero=EXPRESSED)
    write_model(model)
    commands = {}
    for ending in ("arrow", "parquet"):
        words = ("tokenize", path, "-m", model, "-o", folder / f"tokens.{ending}", "--overwrite", "-q")
        commands[f"tokenize, {cells:,} cells, {ending}"] = biolm(*words)
    return commands


def biolm(*words: object) -> list[str]:
    """A command of biolm."""
    return [sys.executable, "-m", "biolm", *map(str, words)]


def seconds(command: list[str], folder: Path, threads: int) -> tuple[float, float]:
    """CPU seconds of a process and its children, and wall seconds."""
    # Compiled modules are kept, as those of an installed package are.
    settings = {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "OMP_NUM_THREADS": str(threads)}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=kept | settings, stdout=subprocess.DEVNULL, check=True)
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


if __name__ == "__main__":
    main()
