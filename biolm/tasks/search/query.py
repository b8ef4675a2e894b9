"""Search the cells of a file in an index: neighbours, transferred labels, and what is out of reference.

Dimensions: ``q`` query cells · ``k`` neighbours · ``c`` labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.errors import ConfigError, InputError
from biolm.io.anndata.columns import CellAdditions, Coded
from biolm.io.cell_tables import open_table
from biolm.io.provenance import plain
from biolm.jobs.bind import loaded
from biolm.jobs.cells import CellEmbedding, prepare
from biolm.jobs.precision import settled
from biolm.jobs.settings import CellSettings, RunSettings
from biolm.models.model import CellModel
from biolm.options import read_options
from biolm.tasks.search.index import Index, load

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Neighbours", "QuerySettings", "check_model", "query", "query_provenance", "reader", "transfer"]


@dataclass(frozen=True, kw_only=True)
class QuerySettings(CellSettings, RunSettings):
    """How cells are read, embedded and searched for."""

    def __post_init__(self) -> None:
        CellSettings.__post_init__(self)
        self.check_run()


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """What was found for every query cell.

    Parameters
    ----------
    rows
        ``(q, k)`` rows of the index, nearest first; -1 for none.
    distances
        ``(q, k)``; infinity for none.
    distance
        ``(q,)`` mean distance, what ``outside`` is decided by.
    outside
        ``(q,)`` whether a cell lies farther from the reference than nearly all of its own cells do.
    labels
        The transferred label; None for an index without labels.
    confidence
        ``(q,)`` fraction of all neighbours that have it, those without a label included; not a calibrated
        probability.
    provenance
        Provenance.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    distance: NDArray[np.float64]
    outside: NDArray[np.bool_]
    labels: Coded | None
    confidence: NDArray[np.float64] | None
    provenance: dict[str, Any]

    def additions(self, key: str, label: str | None) -> CellAdditions:
        """Columns ``KEY_distance``, ``KEY_out_of_reference``, ``KEY_LABEL`` and its confidence.

        Parameters
        ----------
        key
            Begins the names.
        label
            Column that is transferred; None for none.
        """
        columns: dict[str, Any] = {
            f"{key}_distance": self.distance.astype(np.float32),
            f"{key}_out_of_reference": self.outside,
        }
        if self.labels is not None and self.confidence is not None:
            columns[f"{key}_{label}"] = self.labels
            columns[f"{key}_{label}_confidence"] = self.confidence.astype(np.float32)
        added: dict[str, NDArray[Any]] = {
            f"{key}_neighbours": self.rows,
            f"{key}_distances": self.distances.astype(np.float32),
        }
        return CellAdditions(columns=columns, matrices=added, records={key: self.provenance})


def query(
    data: str | Path | AnnData,
    index: str | Path | Index,
    *,
    k: int = 10,
    model: str | Path | CellModel | None = None,
    inside: float = 0.99,
    output: str | Path | None = None,
    key: str = "search",
    layer: str | None = None,
    **options: Any,
) -> Neighbours:
    """Find the most similar reference cells of every cell.

    Parameters
    ----------
    data
        An AnnData, or the path of an h5ad, zarr, loom, 10x or csv table.
    index
        Folder of an index, or an open one.
    k
        Neighbours.
    model
        The model of the index; needed where the index does not say how to load it.
    inside
        A query cell is out of reference if its mean distance to its neighbours is larger than that of
        this fraction of the reference's own cells.
    output
        Also write: ``.parquet``, ``.tsv`` or ``.csv`` (a row a neighbour), ``.h5ad`` or ``.zarr`` (a copy
        of the input with columns).
    key
        Begins the names of what is written into an AnnData.
    layer
        Matrix to read: ``X``, the name of a layer, or ``raw``.
    options
        See :class:`QuerySettings`: those of :func:`biolm.embed`; ``resume`` and ``shard`` with an output. Of
        a shard the neighbours of its own cells are returned.

    Raises
    ------
    ConfigError
        If ``k`` or ``inside`` is out of range.
    InputError
        If the model is not that of the index.

    Examples
    --------
    >>> import biolm
    >>> cells = "data/cells/pbmc68k_reduced_counts_700.h5ad"
    >>> found = query(cells, biolm.search.build(cells, label="cell_type"), k=3)
    >>> found.rows.shape, float(found.distances[:, 0].max())
    ((700, 3), 0.0)
    """
    opened = index if isinstance(index, Index) else load(index)
    if not 0 < inside <= 1:
        raise ConfigError(f"inside is a share above 0 and at most 1, not {inside}")
    if not 1 <= k <= len(opened):
        raise ConfigError(f"k must lie between 1 and the {len(opened):,} cells of the index, not {k}")
    settings = _settings(opened, layer, options)
    if output is None:
        settings.check_in_memory()
        with open_table(data, matrix=settings.matrix) as source:
            job = prepare(source, reader(opened, model), settings, lambda name: open_table(data, matrix=name))
            check_model(opened, job)
            job = settled(job)
            parts = [opened.search(part, k) for part in job.vectors()]
            rows = np.concatenate([part[0] for part in parts])
            distances = np.concatenate([part[1] for part in parts])
            return transfer(
                opened, rows, distances, inside=inside, provenance=query_provenance(opened, job, k, inside)
            )
    from biolm.tasks.search.query_file import Asked, query_file

    return query_file(data, opened, Path(output), settings, Asked(index, model, k, inside, key))


def transfer(
    index: Index,
    rows: NDArray[np.int64],
    distances: NDArray[np.float64],
    *,
    inside: float = 0.99,
    provenance: dict[str, Any] | None = None,
) -> Neighbours:
    """Labels and the out-of-reference flag from neighbours found by :meth:`Index.search`.

    The commonest label among the ``k`` neighbours wins; of equally common ones, that of the nearer cells.
    Neighbours without a label do not vote, but the confidence is a fraction of all: where most are unlabelled
    it is low.

    Parameters
    ----------
    index
        Where they were found.
    rows, distances
        ``(q, k)``.
    inside
        As for :func:`biolm.search.query`.
    provenance
        Provenance.
    """
    k = rows.shape[1]
    distance = index.calibration.statistic(distances)
    limit = index.calibration.threshold(k, inside)
    # Written so that NaN, a cell without neighbours, is outside.
    outside = ~(distance <= limit)
    about = {**(provenance or {}), "threshold": limit}
    labels, confidence = None, None
    if index.cells.labels is not None:
        categories, codes = np.unique(index.cells.labels, return_inverse=True)
        named = np.where(rows >= 0, codes[np.maximum(rows, 0)], -1)
        if categories[0] == "":
            # Cells without a label do not vote.
            categories, named = categories[1:], np.where(named > 0, named - 1, -1)
        votes, weight = (np.zeros((len(rows), len(categories))) for _ in range(2))
        cells = np.arange(len(rows))
        for place in range(k):
            voting = named[:, place] >= 0
            votes[cells[voting], named[voting, place]] += 1
            # In all less than one vote, so that it decides between equals alone.
            weight[cells[voting], named[voting, place]] += 1 / (2 + place) / (k + 1)
        best = (votes + weight).argmax(1)
        labelled = votes.any(1)
        confidence = votes[cells, best] / np.maximum((rows >= 0).sum(1), 1)
        labels = Coded(np.where(labelled, best, -1), categories)
    return Neighbours(rows, distances, distance, outside, labels, confidence, about)


def _settings(index: Index, layer: str | None, options: dict[str, Any]) -> QuerySettings:
    """Settings of the query: pooled as the reference was."""
    about = index.metadata.get("model", {})
    given: dict[str, Any] = {
        "pool": about.get("pool") or None,
        "hidden_state": about.get("hidden_state"),
        # Vectors of another precision would lie a little beside those of the index.
        "precision": about.get("precision", "float32"),
        "match": about.get("match", "resolve"),
    }
    given.update(options)
    settings: QuerySettings = read_options(QuerySettings, {"layer": layer, **given}, "search query")
    return settings


def reader(index: Index, model: str | Path | CellModel | None) -> CellModel:
    """The model of the index.

    Parameters
    ----------
    index
        That is asked.
    model
        What the user named; None for the index's own.

    Raises
    ------
    ConfigError
        If neither names a model.
    InputError
        If the index was built by a model of another name.
    """
    if model is None:
        model = index.metadata.get("model", {}).get("source") or None
    if model is None:
        raise ConfigError("the index does not say how to load its model; name it (`model`)")
    named = loaded(model)
    # Before the options of the index are asked of a model that need not have them.
    if named.name != index.metadata.get("model", {}).get("name", named.name):
        raise _another_model(index, named)
    return named


def check_model(index: Index, job: CellEmbedding) -> None:
    """Refuse vectors of another model, or pooled in another way.

    Parameters
    ----------
    index
        That is asked.
    job
        The cells and the model.
    """
    recorded = index.metadata.get("model", {})
    if recorded.get("checkpoint") != job.facts:
        raise _another_model(index, job.model)
    if recorded.get("match", "resolve") != job.settings.match:
        raise InputError(
            f"the index was built with `match={recorded.get('match', 'resolve')}`; query with the same"
        )
    pool = job.settings.pool or (job.model.pools[0] if job.model.pools else "")
    if (recorded.get("pool"), recorded.get("hidden_state")) != (pool, job.settings.hidden_state):
        raise InputError(
            f"the index was built with pool '{recorded.get('pool')}' and hidden state "
            f"{recorded.get('hidden_state')}; query with the same"
        )


def _another_model(index: Index, model: CellModel) -> InputError:
    return InputError(
        f"the index was built by another model ({index.metadata['model'].get('name')}, not {model.name}, or "
        "another checkpoint of it); query with the model of the index or build the index again"
    )


def query_provenance(index: Index, job: CellEmbedding, k: int, inside: float) -> dict[str, Any]:
    """How neighbours were found: the index, the model, ``k``.

    Parameters
    ----------
    index
        That was asked.
    job
        The cells and the model.
    k
        Neighbours.
    inside
        Fraction of the reference's own cells within the limit.
    """
    metadata: dict[str, Any] = plain(
        {
            "biolm_version": biolm.__version__,
            "model": job.model.name,
            "checkpoint": job.facts,
            "genes": job.match.report.as_dict(),
            "matrix": job.source.matrix,
            "index": {
                name: index.metadata.get(name) for name in ("cells", "metric", "index", "recall", "label")
            },
            "k": k,
            "inside": inside,
            "seed": job.settings.seed,
        }
    )
    return metadata
