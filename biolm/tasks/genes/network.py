"""A network of genes: which vectors point the same way, more than permuted ones do.

Dimensions: ``m`` genes · ``d`` width · ``e`` edges · ``k`` neighbours · ``h`` bins of the null.

An edge joins a gene and one of its ``k`` nearest by cosine. The null permutes every axis of the vectors over
the genes, each on its own: axes keep their values and genes lose what ties their axes together. The p value
of an edge is the share of null pairs that are at least as near; rates of false discovery are those of
Benjamini and Hochberg over all ``m (m - 1) / 2`` pairs, of which the edges are the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.table import write_table
from biolm.tasks.genes.vectors import GeneVectors
from biolm.tasks.search.exact import directions, exact_neighbours

__all__ = ["GeneNetwork", "network", "write_network"]

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
    facts
        Provenance.
    """

    columns: dict[str, NDArray[Any]]
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns["p_value"])


def network(
    genes: GeneVectors, *, k: int = 10, permutations: int = 10, centre: bool = True, seed: int = 0
) -> GeneNetwork:
    """Join every gene with its nearest ones and test each edge.

    Parameters
    ----------
    genes
        Static or contextual vectors; groups are joined each on their own.
    k
        Neighbours of a gene.
    permutations
        Of the null.
    centre
        Take away the mean vector first; hidden states share most of their direction.
    seed
        Seeds the permutations.

    Raises
    ------
    ConfigError
        If ``k`` or the number of permutations is out of range.
    InputError
        If a vector is not finite, or there are fewer than three genes.

    Examples
    --------
    >>> from biolm.tasks.genes.vectors import static
    >>> found = network(static("genetext", "data/cells/pbmc68k_reduced_counts_700.h5ad"), k=3)
    >>> bool((found.columns["fdr"] >= found.columns["p_value"]).all())
    True
    """
    if k < 1 or permutations < 1:
        raise ConfigError(f"k and permutations must be at least 1, not {k} and {permutations}")
    if not np.isfinite(genes.vectors).all():
        raise InputError("vectors of genes hold values that are not finite; make them again")
    parts: list[dict[str, NDArray[Any]]] = []
    titles = np.array([""]) if genes.groups is None else np.unique(genes.groups)
    for title in titles:
        rows = np.arange(len(genes)) if genes.groups is None else np.flatnonzero(genes.groups == title)
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
    facts = {**genes.facts, "k": k, "permutations": permutations, "centred": centre, "network_seed": seed}
    return GeneNetwork(columns, facts)


def write_network(found: GeneNetwork, target: Path, *, overwrite: bool = False) -> None:
    """Write the edges: ``.parquet``, ``.tsv`` or ``.csv``."""
    write_table(target, [found.columns], found.facts, schema=SCHEMA, overwrite=overwrite)


def _edges(
    vectors: NDArray[np.float32], k: int, permutations: int, centre: bool, seed: int
) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]
]:
    """Pairs, cosines, p values and false discovery rates, nearest first."""
    table = vectors.astype(np.float32)
    if centre:
        table = table - vectors.mean(0, dtype=np.float64).astype(np.float32)
    count = len(table)
    unit, own = directions(table), np.arange(count)
    near, distances = exact_neighbours(unit, unit, min(k, count - 1), metric="cosine", groups=(own, own))
    pairs = np.stack([np.repeat(own, near.shape[1]), near.ravel()], 1)
    pairs, chosen = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    cosines = 1 - distances.ravel()[chosen]
    order = np.argsort(-cosines, kind="stable")
    pairs, cosines = pairs[order], cosines[order]
    p_values = _p_values(table, cosines, permutations, seed)
    tests = count * (count - 1) / 2
    scaled = p_values * tests / np.arange(1, len(p_values) + 1)
    rates = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return pairs[:, 0], pairs[:, 1], cosines, p_values, np.maximum(rates, p_values)


def _p_values(
    table: NDArray[np.float32], cosines: NDArray[np.float64], permutations: int, seed: int
) -> NDArray[np.float64]:
    """Share of null pairs at least as near, counted in a histogram; never below 1 / (null pairs + 1)."""
    rng = np.random.default_rng(seed)
    histogram = np.zeros(_BINS + 1, np.int64)
    for _ in range(permutations):
        unit = directions(rng.permuted(table, axis=0))
        for start in range(0, len(unit), _ROWS):
            part = unit[start : start + _ROWS] @ unit[start:].T
            # Each pair once: those right of the diagonal.
            upper = part[np.triu_indices(len(part), 1, part.shape[1])]
            histogram += np.bincount(_bin(upper), minlength=_BINS + 1)
    beyond = np.cumsum(histogram[::-1])[::-1]
    return np.asarray((beyond[_bin(cosines)] + 1) / (histogram.sum() + 1))


def _bin(cosines: NDArray[Any]) -> NDArray[np.int64]:
    """Bin of a cosine, from 0 for -1."""
    return np.clip(np.floor((cosines + 1) / 2 * _BINS), 0, _BINS).astype(np.int64)
