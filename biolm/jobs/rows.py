"""What a kind of data has that brings no embedding and no writer of its own: rows with names and columns.

Dimensions: ``n`` rows · ``k`` blocks · ``d`` width of the embedding.

The model of such a kind offers ``name``, ``modality``, ``width``, ``pools``, ``block_rows``,
``bind(source, settings)``, ``embed(block, binding, options)`` and ``describe()``. What a binding names as its
``facts`` enters the provenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.anndata.rows import Rows, rows_to_anndata, write_new
from biolm.io.anndata.vectors import Addition, CellVectors
from biolm.io.provenance import digest, plain, stamp
from biolm.jobs.embedding import check_pool, embed_options, embedding_options, model_parameters, provenance_of
from biolm.jobs.job import block_ends
from biolm.jobs.modality import Source
from biolm.jobs.precision import Choice, check_precision, decided
from biolm.jobs.settings import EmbedSettings
from biolm.jobs.spool import Arrays, Parts

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["RowEmbedding", "RowWriter"]

_COLUMN = "column:"


class RowEmbedding:
    """Rows and a model that fit each other; see :class:`~biolm.jobs.modality.Embedding`.

    Parameters
    ----------
    source
        The open rows.
    model
        The loaded model.
    settings
        The user's choices.
    reopen
        Not used.

    Raises
    ------
    ConfigError
        If the model has no such pool.
    """

    def __init__(self, source: Source, model: Any, settings: EmbedSettings, reopen: Any = None) -> None:  # noqa: ARG002
        check_pool(model, settings)
        check_precision(model, settings)
        self.choice: Choice | None = None
        self.source, self.model, self.settings = source, model, settings
        self.facts: dict[str, Any] = plain(model.describe())
        self.binding = model.bind(source, settings)
        self._columns = source.columns()
        self._names = source.names()

    def with_settings(self, settings: EmbedSettings, choice: Choice | None = None) -> RowEmbedding:
        """The same rows and model with other choices."""
        # A shallow copy: the open source is shared.
        other = copy(self)
        other.settings, other.choice = settings, choice
        return other

    @property
    def ends(self) -> NDArray[np.int64]:
        """``(k + 1,)`` rows at which blocks begin and end."""
        return block_ends(len(self.source), self.settings.block_rows or self.model.block_rows)

    def blocks(self, first: int, last: int) -> Iterator[Any]:
        """The blocks ``first`` to ``last``, each with the number of its first row."""
        ends = self.ends
        step = self.settings.block_rows or self.model.block_rows
        blocks = self.source.blocks(step, int(ends[first]), int(ends[last])) if last > first else iter(())
        yield from zip(ends[first:last].tolist(), blocks, strict=True)

    def compute(self, block: tuple[int, Any]) -> dict[str, NDArray[Any]]:
        """``vectors`` ``(n, d)`` of one block, and the names and columns of its rows.

        Raises
        ------
        InputError
            If the model gives values that are not finite.
        """
        start, rows = block
        embedded = self.model.embed(rows, self.binding, embed_options(self.settings))
        vectors = np.asarray(embedded, np.float32)
        if not np.isfinite(vectors).all():
            raise InputError(
                f"model {self.model.name} gave values that are not finite from row {start} on; "
                "check the checkpoint"
            )
        # By place and not by count: a resumed job begins in the middle.
        span = slice(start, start + len(vectors))
        columns = {_COLUMN + name: values[span] for name, values in self._columns.items()}
        return {"vectors": vectors, "names": self._names[span], **columns}

    def same(self) -> dict[str, Any]:
        """What makes two jobs the same: what was read, how."""
        return {
            "input": {
                "stamp": stamp(self.source.path),
                "rows": len(self.source),
                "names": digest({"names": self._names}),
            },
            "options": {
                **embedding_options(self.settings),
                "block_rows": self.settings.block_rows,
                **decided(self.choice),
            },
        }

    def provenance(self) -> dict[str, Any]:
        """Plain facts that tell how the vectors are made; no date and no path."""
        chosen = model_parameters(self.model, self.settings, **decided(self.choice))
        more = {"seed": self.settings.seed, "rows": len(self.source), **getattr(self.binding, "facts", {})}
        return provenance_of(self.model, self.facts, chosen, **more)


class RowWriter:
    """Writes a new table with a row each; see :class:`~biolm.jobs.modality.Writer`."""

    formats: tuple[str, ...] = ("h5ad", "zarr", "parquet", "npy")
    needs_source = False

    def rows(self, parts: Iterable[Arrays]) -> Rows:
        """What the rows of the result are."""
        return _rows(parts)

    def identity(self, source: Any) -> dict[str, Any]:  # noqa: ARG002  # the contract of writers
        """Not needed: the shards hold all that is written."""
        return {}

    def result(
        self,
        vectors: NDArray[np.float32],
        key: str,
        provenance: dict[str, Any],
        *,
        centre: bool,  # noqa: ARG002  # refused
    ) -> CellVectors:
        """All vectors with their provenance."""
        return CellVectors(
            key=key, vectors=vectors, empty=np.zeros(len(vectors), bool), provenance=provenance
        )

    def check(self, source: Any, form: str, key: str, *, overwrite: bool) -> None:
        """A new table takes anything."""

    def size(self, source: Any, form: str) -> int:  # noqa: ARG002  # the contract of writers
        """Nothing is copied."""
        return 0

    def write(
        self,
        target: Path,
        form: str,
        result: Addition,
        parts: Parts,
        source: Any,  # noqa: ARG002
    ) -> None:
        """Write a new table."""
        write_new(target, form, self.rows(parts), result)

    def table(
        self,
        source: Any,  # noqa: ARG002
        result: Addition,
        parts: Iterable[Arrays],
    ) -> AnnData:
        """A new table in memory."""
        return rows_to_anndata(self.rows(parts), result)


def _rows(parts: Iterable[Arrays]) -> Rows:
    columns: dict[str, list[NDArray[Any]]] = {}
    for part in parts:
        for name, values in part.items():
            if name != "vectors":
                columns.setdefault(name, []).append(values)
    whole = {name: np.concatenate(values) for name, values in columns.items()}
    # Blocks hold texts as objects; tables want one width.
    plain_text = {name: v.astype(str) if v.dtype.kind == "O" else v for name, v in whole.items()}
    return Rows(
        index=plain_text["names"],
        columns={
            name.removeprefix(_COLUMN): values
            for name, values in plain_text.items()
            if name.startswith(_COLUMN)
        },
    )
