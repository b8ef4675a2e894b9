"""A page on one query: its cells by the names they got, how certain they are, known types beside."""

import sys
from pathlib import Path

import anndata
import numpy as np

import biolm
from biolm.io.provenance import plain
from biolm.report.report import CellMap, Confusion, MetricRow, MetricTable, View, write_report


def main(file: str, output: str, *, query: str, learned: str, label: str) -> None:
    """Write the page; ``learned`` is the column of the reference, ``label`` that of the query, if any."""
    cells = anndata.read_h5ad(file)
    records = cells.uns["biolm"]
    key = next(name for name, record in records.items() if record.get("label") == learned)
    record = records[key]
    names = cells.obs[key].astype(str).to_numpy()
    confidence = cells.obs[f"{key}_confidence"].to_numpy(float)
    columns = {key: names, "confidence": confidence}
    parts = [_sizes(names, confidence)]
    summary = [f"{len(names):,} cells, {(names == 'unknown').sum():,} of them too uncertain to be named."]
    if label:
        known = cells.obs[label].astype(str).to_numpy()
        columns[f"known {label}"] = known
        summary.append(_agreement(names, known, np.asarray(record["classes"]).astype(str)))
        parts.append(_crosstab(known, names))
    view = View(
        name="PCA of probabilities",
        coordinates=_plane(np.nan_to_num(np.asarray(cells.obsm[f"{key}_probabilities"], float))),
        note="Cells lie close where the annotator wavers between the same types.",
    )
    write_report(
        Path(output),
        title=f"Cells of {query}",
        summary=summary,
        maps=[CellMap(name=query, cells=cells.obs_names.tolist(), views=[view], columns=columns)],
        parts=parts,
        provenance={"biolm": biolm.__version__, **plain(record)},
        overwrite=True,
    )


def _crosstab(known: np.ndarray, names: np.ndarray) -> Confusion:
    """Known types by the names that their cells got, which may be spelled otherwise."""
    rows, places = np.unique(known, return_inverse=True)
    columns, calls = np.unique(names, return_inverse=True)
    counts = np.zeros((len(rows), len(columns)), np.int64)
    np.add.at(counts, (places, calls), 1)
    # Columns follow the rows that they are called from most, so that pairs of names lie on a diagonal.
    order = np.argsort((counts / counts.sum(1, keepdims=True)).argmax(0), kind="stable")
    order = np.concatenate([order[columns[order] != "unknown"], order[columns[order] == "unknown"]])
    note = "Columns: names that the cells got. Two vocabularies may spell a type differently: read the pairs."
    return Confusion(
        title="Known types",
        names=rows.tolist(),
        columns=columns[order].tolist(),
        counts=counts[:, order],
        note=note,
    )


def _mean(confidence: np.ndarray) -> float:
    """Mean over cells with counts; the others have no confidence."""
    known = confidence[np.isfinite(confidence)]
    return float(known.mean()) if len(known) else float("nan")


def _sizes(names: np.ndarray, confidence: np.ndarray) -> MetricTable:
    """Cells of each name."""
    rows = [
        # As a control a row is not marked as the best: a large class is no better than a small one.
        MetricRow(
            name=name,
            values=[(names == name).mean(), _mean(confidence[names == name])],
            is_control=True,
        )
        for name in np.unique(names)
    ]
    return MetricTable(title="Names", columns=["Fraction of cells", "Mean confidence"], rows=rows)


def _agreement(names: np.ndarray, known: np.ndarray, classes: np.ndarray) -> str:
    """How often both agree, among cells of types that both spell alike."""
    shared = np.intersect1d(known, classes)
    if not len(shared):
        return "No known type is spelled like a type of the reference: both are only set side by side."
    cells = np.isin(known, shared)
    right = (names == known)[cells].mean()
    return (
        f"{len(shared)} of {len(np.unique(known))} known types are spelled like a type of the reference "
        f"({', '.join(shared)}): {right:.1%} of their {cells.sum():,} cells got that name."
    )


def _plane(points: np.ndarray) -> np.ndarray:
    """First two principal components ``(n, 2)`` of ``(n, c)`` probabilities."""
    centred = points - points.mean(0)
    axes = np.linalg.svd(centred.T @ centred)[0][:, :2]
    return centred @ axes


# Left open to the end, so that the traceback of a failure lands there too. Snakemake gives its own name.
sys.stderr = Path(snakemake.log[0]).open("w", encoding="utf-8")  # noqa: F821, SIM115
main(snakemake.input[0], snakemake.output[0], **snakemake.params)  # noqa: F821
