"""A network of genes: which vectors point the same way, more than those of independent genes do.

Dimensions: ``m`` genes · ``d`` width · ``e`` edges · ``k`` neighbours · ``h`` bins of cosines.

An edge joins a gene and one of its ``k`` nearest by cosine. Axes of gene vectors are correlated and of
unequal size, which alone makes many pairs point the same way. The null therefore keeps their covariance: the
vectors are turned to their principal axes, along which they are uncorrelated, and each axis is permuted over
the genes on its own. The p value of an edge is the fraction of null pairs that are at least as near; false
discovery rates are those of Benjamini and Hochberg over all ``m (m - 1) / 2`` pairs, edges or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.table import write_table
from biolm.progress import log
from biolm.tasks.genes.vectors import GeneVectors
from biolm.tasks.search.exact import directions, exact_neighbours

__all__ = ["GeneNetwork", "check_rate", "network", "passing", "write_network"]

SCHEMA = "biolm.gene-network/1"
_BINS = 200_000
_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class GeneNetwork:
    """Edges between genes, nearest first.

    Parameters
    ----------
    columns
        ``gene``, ``neighbour`` (names), ``id``, ``neighbour_id``, ``cosine`` or ``attention``, ``p_value``,
        ``fdr`` and, with groups, ``group``; ``(e,)`` each.
    provenance
        Provenance.
    """

    columns: dict[str, NDArray[Any]]
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns["p_value"])


def network(
    genes: GeneVectors,
    *,
    k: int = 10,
    permutations: int = 10,
    max_fdr: float = 0.05,
    centre: bool = True,
    seed: int = 0,
) -> GeneNetwork:
    """Join every gene with its nearest ones, test each pair and keep the edges that pass.

    Parameters
    ----------
    genes
        Static or contextual vectors; groups are joined each on their own.
    k
        Neighbours of a gene.
    permutations
        Of the null.
    max_fdr
        Keep edges up to this false discovery rate; 1 keeps all.
    centre
        Take away the mean vector first; hidden states share most of their direction.
    seed
        Seeds the permutations.

    Raises
    ------
    ConfigError
        If ``k``, the number of permutations or the rate is out of range.
    InputError
        If a vector is not finite, or there are fewer than three genes.

    Examples
    --------
    >>> from biolm.tasks.genes.vectors import static
    >>> found = network(static("genetext", "data/cells/pbmc68k_reduced_counts_700.h5ad"), k=3)
    >>> bool((found.columns["fdr"] <= 0.05).all())
    True
    """
    if k < 1 or permutations < 1:
        raise ConfigError(f"k and permutations must be at least 1, not {k} and {permutations}")
    check_rate(max_fdr)
    if not np.isfinite(genes.vectors).all():
        raise InputError("vectors of genes hold values that are not finite; make them again")
    parts: list[dict[str, NDArray[Any]]] = []
    titles = np.array([""]) if genes.groups is None else np.unique(genes.groups)
    for title in titles:
        rows = np.arange(len(genes)) if genes.groups is None else np.flatnonzero(genes.groups == title)
        # A vector of zeros points nowhere, so it has no neighbours.
        rows = rows[genes.vectors[rows].any(1)]
        if len(rows) < 3:
            raise InputError(f"a network needs at least three genes with vectors, but {len(rows)} are there")
        first, second, near, p_values, rates = _edges(genes.vectors[rows], k, permutations, centre, seed)
        part: dict[str, NDArray[Any]] = (
            {"group": np.full(len(first), title)} if genes.groups is not None else {}
        )
        part |= {"gene": genes.names[rows[first]], "neighbour": genes.names[rows[second]]}
        part |= {"id": genes.ids[rows[first]], "neighbour_id": genes.ids[rows[second]]}
        parts.append(part | {"cosine": near, "p_value": p_values, "fdr": rates})
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    metadata = {
        **genes.provenance,
        "k": k,
        "permutations": permutations,
        "centred": centre,
        "network_seed": seed,
    }
    return passing(columns, metadata, max_fdr)


def passing(columns: dict[str, NDArray[Any]], provenance: dict[str, Any], max_fdr: float) -> GeneNetwork:
    """The network of the edges up to a false discovery rate; says so where none is left.

    Parameters
    ----------
    columns
        Of the edges.
    provenance
        Of the network.
    max_fdr
        Largest false discovery rate.
    """
    kept = columns["fdr"] <= max_fdr
    if not kept.any():
        log.warning("no edge has an FDR up to %g; more permutations allow smaller p values", max_fdr)
    provenance = provenance | {"max_fdr": max_fdr, "edges_tested": len(kept)}
    return GeneNetwork({name: values[kept] for name, values in columns.items()}, provenance)


def check_rate(max_fdr: float) -> None:
    """Refuse a rate that is none.

    Raises
    ------
    ConfigError
        If it does not lie above 0 and up to 1.
    """
    if not 0 < max_fdr <= 1:
        raise ConfigError(f"the false discovery rate lies above 0 and up to 1, not {max_fdr}")


def write_network(edges: GeneNetwork, target: Path, *, overwrite: bool = False) -> None:
    """Write the edges: ``.parquet``, ``.tsv`` or ``.csv``.

    Parameters
    ----------
    edges
        The network.
    target
        File.
    overwrite
        Whether it may be replaced.
    """
    write_table(target, [edges.columns], edges.provenance, schema=SCHEMA, overwrite=overwrite)


def _edges(
    vectors: NDArray[np.float32], k: int, permutations: int, centre: bool, seed: int
) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]
]:
    """Pairs, cosines, p values and false discovery rates, nearest first."""
    table = vectors.astype(np.float32)
    if centre:
        # A mean that all genes share makes every cosine large.
        table = table - vectors.mean(0, dtype=np.float64).astype(np.float32)
    count = len(table)
    unit, own = directions(table), np.arange(count)
    near, distances = exact_neighbours(unit, unit, min(k, count - 1), metric="cosine", groups=(own, own))
    pairs = np.stack([np.repeat(own, near.shape[1]), near.ravel()], 1)
    # Two genes may both name each other; the pair is one edge and one test.
    pairs, chosen = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    cosines = 1 - distances.ravel()[chosen]
    order = np.argsort(-cosines, kind="stable")
    pairs, cosines = pairs[order], cosines[order]
    p_values, rates = _rates(table, cosines, permutations, seed)
    return pairs[:, 0], pairs[:, 1], cosines, p_values, rates


def _rates(
    table: NDArray[np.float32], cosines: NDArray[np.float64], permutations: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P values and false discovery rates of cosines, from histograms of all pairs and of null pairs.

    No p value is below 1 / (null pairs + 1).
    """
    rng = np.random.default_rng(seed)
    null = np.zeros(_BINS + 1, np.int64)
    axes, spare = _principal(table)
    for _ in range(permutations):
        # Each axis on its own: spreads stay, what ties the genes together goes.
        drawn = [rng.permuted(axes, axis=0)]
        if len(spare):
            drawn.append((rng.standard_normal((len(table), len(spare))) * spare).astype(np.float32))
        null += _histogram(np.concatenate(drawn, axis=1))
    observed = _histogram(table)
    beyond, pairs = np.cumsum(null[::-1])[::-1], np.cumsum(observed[::-1])[::-1]
    p_values = (beyond + 1) / (null.sum() + 1)
    # From the farthest pair to the nearest, a rate never rises.
    rates = np.minimum.accumulate(np.minimum(p_values * observed.sum() / np.maximum(pairs, 1), 1))
    place = _bin(cosines)
    return p_values[place], np.maximum(rates, p_values)[place]


def _principal(table: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Vectors along their principal axes, and sizes of the axes that fewer genes than axes leave out.

    Variances of a sample are spread wider than the true ones, which would make null vectors look alike: they
    are drawn toward their mean until the sum of their squares is free of that bias (Ledoit and Wolf 2004).
    """
    count, middle = len(table), table.mean(0, dtype=np.float64)
    centred = table.astype(np.float64) - middle
    variances, turned = np.linalg.eigh(centred.T @ centred / max(count - 1, 1))
    variances = np.maximum(variances, 0)
    mean, excess = variances.mean(), ((variances - variances.mean()) ** 2).sum()
    noise = variances.sum() ** 2 / count
    kept = np.sqrt(max(0.0, 1 - noise / excess)) if excess > 0 else 1.0
    wanted = kept * variances + (1 - kept) * mean
    real = variances > 1e-9 * max(float(variances.max()), 1e-300)
    scale = np.sqrt(wanted[real] / variances[real])
    axes = (centred @ turned[:, real] * scale).astype(np.float32)
    # A mean that was not taken away stays in every null vector, along the axes it has.
    return axes + (table.mean(0, dtype=np.float64) @ turned[:, real]).astype(np.float32), np.sqrt(
        wanted[~real]
    )


def _histogram(table: NDArray[np.float32]) -> NDArray[np.int64]:
    """Pairs of rows by their cosine, each pair once."""
    histogram = np.zeros(_BINS + 1, np.int64)
    unit = directions(table)
    for start in range(0, len(unit), _ROWS):
        part = unit[start : start + _ROWS] @ unit[start:].T
        # Each pair once: those right of the diagonal.
        upper = part[np.triu_indices(len(part), 1, part.shape[1])]
        histogram += np.bincount(_bin(upper), minlength=_BINS + 1)
    return histogram


def _bin(cosines: NDArray[Any]) -> NDArray[np.int64]:
    """Bin of a cosine, from 0 for -1."""
    return np.clip(np.floor((cosines + 1) / 2 * _BINS), 0, _BINS).astype(np.int64)
