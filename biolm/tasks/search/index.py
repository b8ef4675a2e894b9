"""The saved reference: vectors of cells, who they are, and how near neighbours use to be.

Dimensions: ``n`` reference cells · ``q`` query cells · ``d`` width · ``k`` neighbours.

A folder holds ``index.json`` (model, settings, provenance), ``vectors.npy``, ``cells.parquet`` (name, source,
row, label), ``calibration.npy`` and, for an approximate index, ``graph.faiss``. Nothing in it is executed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.io.damage import naming_damage
from biolm.io.digests import check_digests, check_facts, digests_of, sealed
from biolm.io.json_file import read_json
from biolm.io.whole import check_whole
from biolm.tasks.search.approximate import candidates, read_graph, write_graph
from biolm.tasks.search.calibrate import Calibration
from biolm.tasks.search.exact import directions, exact_neighbours, refine

__all__ = ["CellTable", "Index", "load", "save"]

SCHEMA = "biolm.index/1"
_ADVICE = "build the index again"
_COPY_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class CellTable:
    """Who the reference cells are; every column ``(n,)``.

    Parameters
    ----------
    names, sources, rows
        Name, file and row in that file.
    labels
        '' where missing; None for an index without labels.
    """

    names: NDArray[np.str_]
    sources: NDArray[np.str_]
    rows: NDArray[np.int64]
    labels: NDArray[np.str_] | None = None

    def take(self, chosen: NDArray[np.intp]) -> CellTable:
        """The cells at ``chosen``, in that order."""
        labels = None if self.labels is None else self.labels[chosen]
        return CellTable(self.names[chosen], self.sources[chosen], self.rows[chosen], labels)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Index:
    """A reference to search in; made by :func:`biolm.search.build`, opened by :func:`biolm.search.load`.

    Parameters
    ----------
    vectors
        ``(n, d)`` float32, of length 1 for the cosine; in memory or mapped from the file.
    cells
        Who they are.
    calibration
        Leave-one-out distances.
    metadata
        Metric, kind, model, provenance: what ``index.json`` holds.
    graph
        The faiss index of an approximate one.
    """

    vectors: NDArray[np.float32]
    cells: CellTable
    calibration: Calibration
    metadata: dict[str, Any]
    graph: Any = None

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Index({len(self):,} cells, model={self.metadata.get('model')!r}, metric={self.metric!r})"

    @property
    def metric(self) -> str:
        """``cosine`` or ``euclidean``."""
        return str(self.metadata["metric"])

    @property
    def label(self) -> str | None:
        """Name of the column of labels."""
        return self.metadata.get("label")

    def _check(self) -> None:
        """A mapped file may have become shorter since."""
        if isinstance(self.vectors, np.memmap):
            file = self.vectors
            check_whole(str(file.filename), file.offset + file.nbytes)

    def search(
        self, vectors: NDArray[np.float32], k: int = 10
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Nearest reference cells of vectors made by the same model.

        Parameters
        ----------
        vectors
            ``(q, d)``. Rows of zeros (cells without counts) find nothing.
        k
            Neighbours.

        Returns
        -------
        Rows of the index ``(q, k)``, -1 for none, and distances ``(q, k)``, nearest first.

        Raises
        ------
        ConfigError
            If ``k`` is not in 1 to ``n``.
        InputError
            If the width differs, or a value is not a finite number.
        """
        if not 1 <= k <= len(self):
            raise ConfigError(f"k must lie between 1 and the {len(self):,} cells of the index, not {k}")
        queries = np.asarray(vectors, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"the vectors have shape {queries.shape} but the index has width {self.vectors.shape[1]}; "
                "embed the query with the model of the index"
            )
        broken = ~np.isfinite(queries).all(1)
        if broken.any():
            raise InputError(
                f"{int(broken.sum())} query vectors hold values that are not finite, first row "
                f"{int(np.argmax(broken))}; embed the cells again or leave those out"
            )
        self._check()
        queries = directions(queries) if self.metric == "cosine" else queries
        if self.graph is None:
            rows, distances = exact_neighbours(queries, self.vectors, k, metric=self.metric)
        else:
            named = candidates(self.graph, queries, k)
            rows, distances = refine(queries, self.vectors, named, k, metric=self.metric)
        # A cell without counts is as far from all, whatever the product says.
        nothing = ~queries.any(1)
        rows[nothing], distances[nothing] = -1, np.inf
        return rows, distances


def save(index: Index, folder: Path) -> None:
    """Write the files of an index; the folder must exist.

    Parameters
    ----------
    index
        To save.
    folder
        That is there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shape = index.vectors.shape
    with (folder / "vectors.npy").open("wb") as file:
        # Block by block: the vectors may be a mapped file that is larger than the memory.
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], _COPY_ROWS):
            part = index.vectors[start : start + _COPY_ROWS]
            file.write(np.ascontiguousarray(part, "<f4").data)
    np.save(folder / "calibration.npy", index.calibration.distances)
    cells = index.cells
    columns = {"name": cells.names, "source": cells.sources, "row": cells.rows}
    if cells.labels is not None:
        columns["label"] = cells.labels
    pq.write_table(
        pa.table({name: pa.array(values) for name, values in columns.items()}), folder / "cells.parquet"
    )
    if index.graph is not None:
        write_graph(index.graph, folder / "graph.faiss")
    # After all other files, so that a folder without index.json is no index.
    files = [path.name for path in folder.iterdir() if path.name != "index.json"]
    metadata = sealed({"schema": SCHEMA, **index.metadata, "digests": digests_of(folder, files)})
    text = json.dumps(metadata, indent=1, sort_keys=True)
    (folder / "index.json").write_text(text + "\n", encoding="utf-8")


def load(folder: str | Path) -> Index:
    """Open a saved index; its vectors stay on disk and are mapped.

    Raises
    ------
    InputError
        If there is no index in the folder.
    CheckpointError
        If a file is missing or damaged, or was written by a later version.
    """
    place = Path(folder)
    if not (place / "index.json").is_file():
        raise InputError(f"{place} holds no index; make one with biolm search build")
    metadata = check_facts(read_json(place / "index.json"), place / "index.json", CheckpointError, _ADVICE)
    check_digests(place, metadata.pop("digests", None), CheckpointError, _ADVICE)
    if metadata.pop("schema", None) != SCHEMA:
        raise CheckpointError(f"{place} was not written by this version of biolm; build the index again")
    with naming_damage(place, "the index", CheckpointError, _ADVICE):
        vectors = np.load(place / "vectors.npy", mmap_mode="r", allow_pickle=False)
        calibration = Calibration(np.load(place / "calibration.npy", allow_pickle=False))
        cells = _read_cells(place / "cells.parquet")
        if vectors.dtype != np.float32 or vectors.ndim != 2 or np.isnan(calibration.distances).any():
            raise ValueError("vectors of another kind")
    if not len(vectors) == len(cells.names) == metadata.get("cells"):
        raise CheckpointError(f"the files of the index in {place} do not fit together; build it again")
    graph = None if metadata["index"] == "exact" else read_graph(place / "graph.faiss")
    return Index(vectors, cells, calibration, metadata, graph)


def _read_cells(path: Path) -> CellTable:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    text = {name: np.array(table[name].to_pylist(), np.str_) for name in table.column_names if name != "row"}
    return CellTable(text["name"], text["source"], table["row"].to_numpy(), text.get("label"))
