"""Scores of all datasets, systems and seeds: one table, and one page with the baselines beside."""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

import biolm
from biolm.report.report import MetricRow, MetricTable, write_report


def read(files: list[str], runs: list[tuple[str, int]]) -> dict[tuple[str, str, str, str], list[float]]:
    """Values of all seeds by dataset, question, method and metric."""
    found = defaultdict(list)
    for (dataset, _), file in zip(runs, files, strict=True):
        with Path(file).open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                key = dataset, row["question"], row["method"], row["metric"]
                found[key].append(float(row["value"] or "nan"))
    return dict(found)


def spread(values: list[float]) -> float:
    """Standard deviation over seeds; NaN of one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def write_table(found: dict[tuple[str, str, str, str], list[float]], output: str) -> None:
    """A line for each dataset, question, method and metric."""
    lines = ["dataset\tquestion\tmethod\tmetric\tmean\tsd\tseeds"]
    for key, values in found.items():
        lines.append("\t".join([*key, f"{np.mean(values):.6g}", f"{spread(values):.3g}", str(len(values))]))
    Path(output).write_text("\n".join(lines) + "\n", encoding="utf-8")


def tables(found: dict[tuple[str, str, str, str], list[float]], systems: dict[str, str]) -> list[MetricTable]:
    """A table for each dataset and question: systems and baselines, mean over seeds."""
    parts = []
    for dataset, question in dict.fromkeys(key[:2] for key in found):
        own = {key[2:]: np.mean(values) for key, values in found.items() if key[:2] == (dataset, question)}
        metrics = list(dict.fromkeys(metric for _, metric in own))
        rows = []
        for method in dict.fromkeys(method for method, _ in own):
            values = [own.get((method, metric)) for metric in metrics]
            rows.append(
                MetricRow(
                    name=method.removeprefix("X_"),
                    values=[None if x is None or not np.isfinite(x) else float(x) for x in values],
                    is_model=method.removeprefix("X_") in systems,
                    is_control="shuffled" in method,
                )
            )
        parts.append(
            MetricTable(title=f"{dataset}: {question}", columns=metrics, rows=rows, note="Mean over seeds.")
        )
    return parts


def main(files: list[str], outputs: list[str], runs: list[tuple[str, int]], systems: dict[str, str]) -> None:
    """Write the table and the page."""
    found = read(files, runs)
    write_table(found, outputs[0])
    datasets, seeds = ({run[place] for run in runs} for place in (0, 1))
    write_report(
        Path(outputs[1]),
        title="Benchmark of systems of cells",
        summary=[
            f"{len(systems)} systems on {len(datasets)} datasets with {len(seeds)} seeds; scores.tsv has the "
            "standard deviation over seeds, evaluation/DATASET/SEED/report.html the intervals of one seed."
        ],
        maps=[],
        parts=tables(found, systems),
        provenance={"biolm": biolm.__version__, "systems": dict(systems), "seeds": sorted(seeds)},
        overwrite=True,
    )


# Left open to the end, so that the traceback of a failure lands there too. Snakemake gives its own name.
sys.stderr = Path(snakemake.log[0]).open("w", encoding="utf-8")  # noqa: F821, SIM115
main(snakemake.input, snakemake.output, snakemake.params.runs, snakemake.params.systems)  # noqa: F821
