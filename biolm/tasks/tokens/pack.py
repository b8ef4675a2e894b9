"""Pack files of cells, or stored tokens, into one folder of mapped arrays, to be read again and again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.adapters.cells.counts import check_counts, watch_counts
from biolm.adapters.sequences.kind import check_one_kind
from biolm.common_options import CELLS, Duplicates, Resume
from biolm.errors import ConfigError, GeneMatchError, InputError, OutputError
from biolm.io.atomic import discard, install, refuse_existing, remove, writing
from biolm.io.cells import CellSource, open_cells
from biolm.io.cells.readers.store import KIND
from biolm.io.cells.write_store import NAME, column_kinds, packed_rows, write_cells, write_genes
from biolm.io.locks import owning
from biolm.io.provenance import stamp
from biolm.io.sequences import SequenceStore, build_store, holds_store, opened
from biolm.io.store import StoreWriter
from biolm.io.token_store import write_tokens
from biolm.jobs.settings import ReadingSettings
from biolm.options import Option, read_options, refuse_unused
from biolm.progress import log, progress
from biolm.training.data.sources import expand, holds_sequences, holds_tokens
from biolm.vocab.union import GeneUnion

__all__ = ["PackSettings", "PackSummary", "pack", "pack_files"]

_FILE = "file"  # column that tells which file a cell came from
_ROWS = 2048
_JOB = "job.json"


@dataclass(frozen=True, kw_only=True)
class PackSettings(ReadingSettings):
    """Choices of packing, beside those of :class:`~biolm.jobs.settings.ReadingSettings`.

    Parameters
    ----------
    obs
        Columns of the cell tables to keep, such as labels and batches; None keeps what all files have.
    resume
        Go on with a job that was interrupted.
    duplicates
        Of sequences: ``error`` refuses names that repeat, ``keep`` stores the records as they come; none of
        these can then be read by its name.
    """

    # Nothing is drawn, and without a model there is no published rule.
    unused: ClassVar[dict[str, tuple[str, ...]]] = {"*": ("match", "seed")}

    obs: Annotated[
        tuple[str, ...] | None,
        Option(
            help="Column of the cell tables to keep; repeatable.",
            shown="those all files have",
            panel="Cells",
            only=CELLS,
        ),
    ] = None
    resume: Resume = False
    duplicates: Duplicates = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSummary:
    """What was packed.

    Parameters
    ----------
    output, kind
        The store; ``cells``, ``tokens`` or ``sequences``.
    files, rows, values, genes
        Files read; cells and stored values, examples and tokens, or records and letters; genes of the store,
        0 for tokens and sequences.
    """

    output: Path
    kind: str
    files: int
    rows: int
    values: int
    genes: int


def pack(data: str | Path | Iterable[str | Path], output: str | Path, **options: Any) -> Path:
    """Write cells of any number of files into one store that training reads in any order.

    Parameters
    ----------
    data
        Files, folders, globs or ``.txt`` lists of cells in any format, of ``biolm tokenize``'s outputs, or of
        sequences (FASTA, FASTQ, GenBank): a genome is then read by window in microseconds.
    output
        Folder of the store; :func:`biolm.io.cells.open_cells` opens it like any other table of cells.
    options
        See :class:`PackSettings`.

    Returns
    -------
    The folder.

    Raises
    ------
    BiolmError
        If data or output cannot be used, with the reason and what to do.

    Examples
    --------
    >>> pack("data/cells/pbmc68k_reduced_counts_700.h5ad", "pbmc.store").name  # doctest: +SKIP
    'pbmc.store'
    """
    paths = [data] if isinstance(data, str | Path) else list(data)
    return pack_files(paths, output, read_options(PackSettings, options, "pack")).output


def pack_files(paths: Iterable[str | Path], output: str | Path, settings: PackSettings) -> PackSummary:
    """Pack files; memory is bounded by a block and by the names and labels of one file.

    Parameters
    ----------
    paths
        Cells, sequences or stored tokens.
    output
        Store to write.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        As :func:`pack`; nothing half-written is left, unless the job was killed.
    """
    target = Path(output)
    refuse_existing(target, overwrite=settings.overwrite)
    files = expand(paths)
    if any(holds_sequences(path) for path in files):
        refuse_unused(settings, "sequences")
        return _pack_sequences(files, target, settings)
    tokens = [holds_tokens(path) for path in files]
    # Rows of a store are of one kind, or training could not number them.
    if any(tokens) != all(tokens):
        raise ConfigError("the input mixes cells and stored tokens; pack one kind")
    refuse_unused(settings, "tokens" if tokens[0] else "cells")
    if tokens[0]:
        return _pack_tokens(files, target, settings)
    job = _Cells(files, settings)
    with _unfinished(target, job.facts(), settings) as folder:
        writer = StoreWriter(folder, {"counts": np.uint16, "columns": np.uint16})
        job.write(writer)
        job.finish(writer)
        (folder / _JOB).unlink()
        install(folder, target)
    return PackSummary(
        output=target,
        kind="cells",
        files=len(files),
        rows=writer.rows,
        values=writer.values,
        genes=job.n_genes,
    )


class _Cells:
    """A look at all files before any work: their numbers, genes and labels."""

    def __init__(self, files: list[Path], settings: PackSettings) -> None:
        self.files, self.settings = files, settings
        self.sizes: list[int] = []
        union = GeneUnion(
            column=settings.gene_column, minimum=settings.minimum_match, species=settings.species
        )
        offered: list[list[str]] = []
        for path in files:
            with open_cells(path, matrix=settings.matrix) as source:
                check_counts(source, allow_normalised=settings.allow_normalised)
                for note in source.notes:
                    log.warning("%s", note)
                try:
                    union.add(source.gene_columns())
                except GeneMatchError as error:
                    raise GeneMatchError(f"{path} does not fit the files before it: {error}") from error
                self.sizes.append(source.n_cells)
                offered.append(source.obs_columns())
        self.targets, self.genes = union.targets(), union.table()
        self.n_genes = len(next(iter(self.genes.values())))
        self.labels = self._labels(offered)

    def _labels(self, offered: list[list[str]]) -> list[str]:
        chosen = self.settings.obs
        if chosen is None:
            return [name for name in offered[0] if all(name in some for some in offered) and name != NAME]
        for path, some in zip(self.files, offered, strict=True):
            for name in chosen:
                if name not in some:
                    known = ", ".join(some) or "none"
                    raise InputError(f"{path} has no obs column {name!r}; its columns: {known}")
        return list(chosen)

    def facts(self) -> dict[str, Any]:
        """What makes two jobs the same."""
        chosen = self.settings
        options = {"matrix": chosen.matrix, "labels": self.labels, "normalised": chosen.allow_normalised}
        genes = {name: column.tolist() for name, column in self.genes.items()}
        return {"input": [stamp(path) for path in self.files], "options": options, "genes": genes}

    def write(self, writer: StoreWriter) -> None:
        """Append the cells that are not there yet."""
        whole = not self.settings.allow_normalised
        if writer.rows:
            log.info("going on after %s of %s cells", f"{writer.rows:,}", f"{sum(self.sizes):,}")
        with progress("packing", sum(self.sizes), start=writer.rows, show=self.settings.progress) as advance:
            first = 0
            for path, size, target in zip(self.files, self.sizes, self.targets, strict=True):
                # A resumed run skips the cells that are there, which may end in the middle of a file.
                done = min(max(writer.rows - first, 0), size)
                first += size
                for lengths, columns in self._rows(path, done, target, whole=whole):
                    writer.append(lengths, columns)
                    advance(len(lengths))

    def _rows(
        self, path: Path, start: int, target: NDArray[np.int32], *, whole: bool
    ) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        with open_cells(path, matrix=self.settings.matrix) as source:
            if whole:
                watch_counts(source)
            for block in source.blocks(_ROWS, start):
                try:
                    yield packed_rows(block, target, self.n_genes, whole=whole)
                except InputError as error:
                    raise InputError(f"{path}: {error}") from error

    def finish(self, writer: StoreWriter) -> None:
        """Write the tables, and name the arrays."""
        names = [NAME, *(name for name in self.labels if name != _FILE), _FILE]
        # All files once before writing: a column is text for all if it is for one.
        kinds = column_kinds(self._tables(names))
        write_cells(writer.folder / "cells.parquet", self._tables(names), kinds)
        write_genes(writer.folder / "genes.parquet", self.genes)
        metadata = {
            "biolm_version": biolm.__version__,
            "matrix": self.settings.matrix,
            "files": [path.name for path in self.files],
            "cells_of_files": self.sizes,
            "genes": self.n_genes,
            "counts": not self.settings.allow_normalised,
        }
        writer.finish(KIND, {"provenance": metadata})

    def _tables(self, names: list[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """Names and labels, file by file."""
        for path in self.files:
            with open_cells(path, matrix=self.settings.matrix) as source:
                yield {name: self._column(source, name) for name in names}

    def _column(self, source: CellSource, name: str) -> NDArray[Any]:
        if name == NAME:
            return source.cell_names()
        if name == _FILE and name not in self.labels:
            return np.full(source.n_cells, "" if source.path is None else source.path.name)
        return source.obs_column(name)


def _pack_sequences(files: list[Path], target: Path, settings: PackSettings) -> PackSummary:
    for path in files:
        if not holds_sequences(path):
            raise ConfigError("the input mixes sequences with cells or tokens; pack one kind")
        if holds_store(path):
            raise ConfigError(f"{path} is a store of sequences already; give the files it was made of")
    check_one_kind(files)
    with writing(target):
        build_store(
            opened(files), target, overwrite=settings.overwrite, repeats=settings.duplicates == "keep"
        )
    store = SequenceStore(target)
    if store.repeated:
        log.warning("%d names repeat; records are kept in input order", len(store.repeated))
    return PackSummary(
        output=target,
        kind="sequences",
        files=len(files),
        rows=len(store),
        values=int(store.offsets[-1]),
        genes=0,
    )


def _pack_tokens(files: list[Path], target: Path, settings: PackSettings) -> PackSummary:
    metadata = {"input": [stamp(path) for path in files]}
    with _unfinished(target, metadata, settings, anew=True) as folder:
        rows, values = write_tokens(files, folder)
        (folder / _JOB).unlink()
        install(folder, target)
    return PackSummary(output=target, kind="tokens", files=len(files), rows=rows, values=values, genes=0)


@contextmanager
def _unfinished(
    target: Path, metadata: dict[str, Any], settings: PackSettings, *, anew: bool = False
) -> Iterator[Path]:
    """The folder ``OUTPUT.partial``: what is done so far, and of which job; no other process works in it.

    A job that is killed or interrupted leaves it behind; one that fails removes it, unless it was resuming.
    What cannot be gone on with is made ``anew``.
    """
    folder = target.with_name(f"{target.name}.partial")
    # As it will be read back: tuples become lists.
    metadata = json.loads(json.dumps(metadata))
    with writing(target), owning(folder) as existed:
        if existed and not (settings.resume or settings.overwrite):
            raise OutputError(
                f"{folder} holds an unfinished run; go on (`resume=True`) or start again (`overwrite=True`)"
            )
        before = _job_of(folder) if settings.resume and not anew else None
        # Cells of another matrix or file would follow those that are there already.
        if before is not None and before != metadata:
            raise OutputError(
                f"{folder} belongs to another job (its input or options differ); "
                "start again with `overwrite=True` or choose another output"
            )
        for path in () if before is not None else list(folder.iterdir()):
            remove(path)
        fresh = folder / f".{_JOB}.new"
        try:
            fresh.write_text(json.dumps(metadata), encoding="utf-8")
            # In one step: a kill between two writes would leave a folder that no run may go on with.
            fresh.replace(folder / _JOB)
            yield folder
        except Exception:
            if before is None:
                discard(folder, target)
            raise


def _job_of(folder: Path) -> Any:
    """What an unfinished folder says of its job; None where it was killed before it said so."""
    try:
        return json.loads((folder / _JOB).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
