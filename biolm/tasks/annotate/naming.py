"""Names of the rows of a query, and how they enter the table of them.

Dimensions: ``n`` rows · ``c`` classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.anndata.columns import CellAdditions, Coded
from biolm.io.anndata.result import STORES, format_of
from biolm.jobs.merging import Merging
from biolm.jobs.modality import Embedding, Modality, available
from biolm.jobs.precision import decided
from biolm.jobs.shards import check_same_input
from biolm.jobs.spool import Arrays, Parts
from biolm.progress import log
from biolm.tasks.annotate.align import SAMPLE, QueryCells, align
from biolm.tasks.annotate.annotator import Annotator, Head
from biolm.tasks.annotate.calls import HeadOutputs, additions, keys
from biolm.tasks.annotate.labelled import ChosenCells
from biolm.tasks.annotate.settings import PredictSettings
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.tasks.annotate.factor_space import FactorSpace

__all__ = ["RowPrediction", "digest_of", "merge_calls", "store_format"]


@dataclass(frozen=True, kw_only=True)
class RowPrediction:
    """Rows and an annotator that fit each other.

    Parameters
    ----------
    modality
        Kind of the data.
    source
        The open rows.
    job
        Rows and model.
    annotator
        What names them.
    settings
        The user's choices.
    columns
        What the table of rows holds already.
    coarse
        Coarse names of the classes of the first head.
    match
        Where the query's genes lie among those of the training cells; None where they are not read.
    heads
        The annotator's heads, made to do with what is known of the query.
    space
        Factor space for the query; None where no head asks for it or the query cannot be placed there.
    alignment
        What :func:`~biolm.tasks.annotate.align.align` found for each head; empty where it was not asked.
    """

    modality: Modality
    source: Any
    job: Embedding
    annotator: Annotator
    settings: PredictSettings
    columns: Sequence[str]
    coarse: Mapping[str, str]
    match: GeneMatch | None
    heads: Sequence[Head]
    space: FactorSpace | None = None
    alignment: Sequence[Mapping[str, Any] | None] = ()
    kind: str = "calls"

    @property
    def key(self) -> str:
        """Name of the first result."""
        return keys(self.annotator, self.settings)[0]

    @property
    def ends(self) -> NDArray[np.int64]:
        """``(k + 1,)`` rows at which blocks begin and end."""
        return self.job.ends

    def blocks(self, first: int, last: int) -> Iterator[Any]:
        """The blocks ``first`` to ``last``."""
        return self.job.blocks(first, last)

    def compute(self, block: Any) -> Arrays:
        """Of one block: calibrated probabilities of every head, distances from training, empty rows."""
        computed: dict[str, NDArray[Any]] = dict(self.job.compute(block))
        vectors = computed.pop("vectors")
        table = self._table(block)
        # A cell without counts has a vector of zeros.
        empty = ~np.asarray(vectors.any(1), bool)
        for number, head in enumerate(self.heads):
            probabilities = head.frozen.probabilities(vectors, table).astype(np.float32)
            probabilities[empty] = np.nan  # what a head makes of nothing is no measurement
            computed[f"head{number}"] = probabilities
        computed["empty"] = empty
        factors = None if self.space is None else self.space.place(block, vectors)
        far = [head.frozen.far(vectors, table).astype(np.float32) for head in self.heads]
        near = [head.frozen.near(factors, len(vectors)) for head in self.heads]
        return {**computed, "far": np.stack(far, axis=1), "near": np.stack(near, axis=1)}

    def aligned(self) -> RowPrediction:
        """With the shift of the query's laboratory taken off the distances of every head.

        It is looked for in cells evenly spaced over the whole query, whatever shard or block is done.
        """
        if not self.settings.align or self.space is None:
            return self
        whole: Any = self.job  # of cells, the only rows with a factor space
        count = whole.source.n_cells
        rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(np.int64))
        job = replace(whole, source=ChosenCells(whole.source, rows))
        seen = []
        for block in job.blocks(0, len(job.ends) - 1):
            vectors = job.compute(block)["vectors"]
            full, table = vectors.any(1), self._table(block)
            placed = self.space.place(block, vectors)
            seen.append((vectors[full], None if table is None else table[full], placed[full]))
        cells = QueryCells(*(_stacked(parts) for parts in zip(*seen, strict=True)))
        pairs = [align(head.frozen, cells) for head in self.heads]
        heads = [replace(head, frozen=frozen) for head, (frozen, _) in zip(self.heads, pairs, strict=True)]
        if any(facts is not None and facts["shift_removed"] for _, facts in pairs):
            log.info(
                "the types of the query differ from the training types by a shift that they share, as of "
                "another laboratory; it is taken off before novelty is scored"
            )
        return replace(self, heads=heads, alignment=[facts for _, facts in pairs])

    def _table(self, block: Any) -> Any:
        """Sparse ``(n, m)`` expression in the genes of the training cells; None where it is not read."""
        if self.match is None or self.annotator.space is None:
            return None
        return self.annotator.space.table(block, self.match)

    def check(self, target: Path | None) -> None:
        """Protect columns of a file that biolm did not write; those in memory are looked at later."""
        if target is not None:
            # Of no rows the names of columns are the same, so that clashes are noticed before the work.
            nothing = self._additions(())
            nothing.check_free(dict.fromkeys(self.columns), {}, overwrite=self.settings.overwrite)

    def same(self) -> dict[str, Any]:
        """What makes two jobs the same: what was read, how, and what is said of it."""
        names = ("device", "precision", "seed", "gene_column", "match", "species", "layer")
        options = {name: getattr(self.settings, name) for name in names} | decided(
            getattr(self.job, "choice", None)
        )
        step = self.settings.block_rows or self.job.model.block_rows
        chosen = {name: getattr(self.settings, name) for name in ("reject", "align")}
        own = chosen | {"coarse": dict(self.coarse), "block_rows": step}
        return {"input": self.job.same()["input"], "options": own | options}

    def facts(self) -> dict[str, Any]:
        """What was found of the query as a whole."""
        return {"alignment": list(self.alignment)}

    def write(self, parts: Parts, temporary: Path, form: str) -> dict[str, Any]:
        """Write a table with the names; by key, rows of each class.

        Parameters
        ----------
        parts
            Arrays of consecutive blocks; they can be read again.
        temporary
            The file to write, put in the place of the result when it is whole.
        form
            Format of the table.
        """
        added = self._additions(parts)
        self.modality.writer.write(temporary, form, added, parts, self.source)
        return {name: _counts(each) for name, each in added.columns.items() if isinstance(each, Coded)}

    def table(self, parts: Iterable[Arrays], given: AnnData | None, *, copy: bool) -> AnnData:
        """The table in memory with the names."""
        added = self._additions(parts)
        adata = self.modality.writer.table(self.source, CellAdditions(), parts) if given is None else given
        added.check_free(adata.obs, adata.uns.get("biolm", {}), overwrite=self.settings.overwrite)
        # After the check: a refused key must not cost a copy, nor leave half of the columns.
        adata = adata.copy() if copy else adata
        added.attach(adata)
        return adata

    def _additions(self, parts: Iterable[Arrays]) -> CellAdditions:
        outputs = HeadOutputs.of_parts(self.annotator, parts)
        return additions(self.annotator, self.settings, outputs, self.coarse, self.alignment)


def _stacked(parts: Sequence[Any]) -> Any:
    """Tables or arrays of consecutive blocks as one; None where there are none."""
    if parts[0] is None:
        return None
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    from scipy.sparse import vstack

    return vstack(parts).tocsr()


def digest_of(folder: Path) -> str:
    """What tells one annotator from another: the bytes of its files but the page."""
    # The page holds a drawing of the same numbers; drawn anew it must not make another annotator.
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    whole = hashlib.sha256()
    for path in files:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def store_format(target: Path, chosen: str | None) -> str:
    """``h5ad`` or ``zarr``.

    Parameters
    ----------
    target
        The output.
    chosen
        What the user asked for.

    Raises
    ------
    ConfigError
        If the ending or the choice names another format.
    """
    form = format_of(target, chosen)
    if form not in STORES:
        raise ConfigError(f"names of cells are written as h5ad or zarr, not as {form}")
    return form


def merge_calls(merging: Merging) -> int:
    """Write the names of all rows as the whole job would; how many rows there are.

    Raises
    ------
    InputError
        If the annotator or the rows changed.
    """
    from biolm.tasks.annotate.annotator import load_annotator

    job, facts, parts = merging.job, merging.facts, merging.parts
    form = store_format(merging.target, merging.form)
    folder, modality = Path(facts["annotator"]), available()[facts.get("modality", "cells")]
    annotator = load_annotator(folder, facts["model"])
    # Shards hold probabilities alone: cut-offs and names come from the folder, which must be the same one.
    if digest_of(folder) != job["annotator"]:
        raise InputError(f"the annotator {folder} changed since the shards were made; make the shards again")
    settings = PredictSettings(key=job["key"], reject=job["options"]["reject"])
    outputs = HeadOutputs.of_parts(annotator, parts)
    added = additions(annotator, settings, outputs, job["options"]["coarse"], facts.get("alignment", ()))
    writer = modality.writer
    if not writer.needs_source:
        merging.write(lambda temporary: writer.write(temporary, form, added, parts, None))
        return len(outputs.empty)
    # The matrix that the shards read, so that the copy of the data is of the same cells.
    reading = SimpleNamespace(matrix=job["input"]["matrix"], transpose=False)
    with modality.open(merging.place, reading) as source:
        check_same_input(writer.identity(source), job["input"], source.path)
        merging.write(lambda temporary: writer.write(temporary, form, added, parts, source))
    return len(outputs.empty)


def _counts(column: Coded) -> dict[str, int]:
    """Rows of each category."""
    sizes = np.bincount(column.codes, minlength=len(column.categories))
    return {str(name): int(size) for name, size in zip(column.categories, sizes, strict=True)}
