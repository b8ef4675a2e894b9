"""Scores of all datasets in one table."""

import sys
from pathlib import Path


def main(files: list[str], datasets: list[str], output: str) -> None:
    """Put the tables end to end, each line led by its dataset."""
    lines = []
    for dataset, file in zip(datasets, files, strict=True):
        head, *rows = Path(file).read_text(encoding="utf-8").splitlines()
        if not lines:
            lines.append(f"dataset\t{head}")
        lines += [f"{dataset}\t{row}" for row in rows]
    Path(output).write_text("\n".join(lines) + "\n", encoding="utf-8")


# Left open to the end, so that the traceback of a failure lands there too. Snakemake gives its own name.
sys.stderr = Path(snakemake.log[0]).open("w", encoding="utf-8")  # noqa: F821, SIM115
main(snakemake.input, snakemake.params.datasets, snakemake.output[0])  # noqa: F821
