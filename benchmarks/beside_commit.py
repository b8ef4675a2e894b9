"""Commands beside another commit: ``python benchmarks/beside_commit.py OTHER_TREE CELLS PROTEIN_MODEL``.

OTHER_TREE is a checkout (``git worktree add OTHER_TREE COMMIT``), CELLS a file of cells, PROTEIN_MODEL the
folder of an ESM-2. CPU seconds of the processes, which take turns; the first turn is not counted.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
SHIPPED = "data/cells/pbmc68k_reduced_counts_700.h5ad"
LETTERS, TURNS = "ACDEFGHIKLMNPQRSTVWY", 4
Line = Callable[[str], list[str]]


def lines(cells: str, model: str, work: Path) -> dict[str, Line]:
    """Command lines by what they do, given the output without its ending."""
    draw = random.Random(0)
    protein = "".join(draw.choices(LETTERS, k=200))
    places = [draw.randrange(200) for _ in range(300)]
    mutants = [f"{protein[n]}{n + 1}{draw.choice(LETTERS.replace(protein[n], ''))}" for n in places]
    (work / "p.fasta").write_text(f">p\n{protein}\n")
    (work / "m.csv").write_text("mutant\n" + "\n".join(mutants) + "\n")
    variants = ["score-variants", str(work / "m.csv"), "-m", model, "--sequence", str(work / "p.fasta")]
    mini = ["-m", "biolm-cell-mini"]
    return {
        "embed, default model": lambda out: ["embed", cells, "-o", f"{out}.h5ad"],
        "embed, biolm-cell-mini, 700 cells": lambda out: ["embed", SHIPPED, *mini, "-o", f"{out}.npy"],
        "tokenize, biolm-cell-mini": lambda out: ["tokenize", cells, *mini, "-o", f"{out}.arrow"],
        "annotate fit, 700 cells": lambda out: [
            "annotate",
            "fit",
            SHIPPED,
            "--label",
            "cell_type",
            "-o",
            out,
        ],
        "score-variants, 300 mutants": lambda out: [*variants, "-o", f"{out}.csv"],
    }


def seconds(tree: Path, command: list[str]) -> float:
    """CPU seconds of a command with the code of a tree."""
    env = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "biolm", *command, "-q"], cwd=tree, env=env, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(other: Path, cells: str, model: str) -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        for name, line in lines(cells, model, Path(folder)).items():
            found: dict[Path, list[float]] = {other: [], HERE: []}
            for turn in range(TURNS):
                for number, (tree, kept) in enumerate(found.items()):
                    taken = seconds(tree, line(f"{folder}/{name.replace(' ', '_')}{turn}{number}"))
                    kept += [taken] if turn else []
            before, now = (statistics.median(kept) for kept in found.values())
            print(f"| {name} | {before:.2f} | {now:.2f} | {now / before:.2f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), str(Path(sys.argv[2]).resolve()), str(Path(sys.argv[3]).resolve()))
