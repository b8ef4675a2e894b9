"""Tokens on disk: Parquet, Arrow (IPC file) or zarr, written and read block by block.

Dimensions: ``n`` examples of a block · ``t`` tokens of a block.

One row an example, in input order: ``name`` string, ``ids`` list<int32>, ``values`` list<int16 or float32>
where the model reads values, ``length`` int32. The schema version and where the tokens came from stand in
the file's metadata as JSON under ``biolm``. The zarr store holds the same columns as flat arrays: ``ids``,
``values``, ``offsets (n + 1,)``, ``length``, ``name``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from biolm.batch import Tokens
from biolm.errors import BiolmError, ConfigError, InputError
from biolm.io.atomic import replacing, writing
from biolm.io.damage import each_named
from biolm.io.provenance import plain
from biolm.io.token_formats import Names, Sink, Source, open_sink, open_source

__all__ = ["FORMATS", "SCHEMA_VERSION", "TokenWriter", "read_tokens", "token_format", "token_metadata"]

SCHEMA_VERSION = 1
FORMATS = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow", ".zarr": "zarr"}


class TokenWriter:
    """Write blocks of tokens; the output appears when the ``with`` block ends without an error.

    Parameters
    ----------
    path
        Ends in ``.parquet``, ``.arrow``, ``.feather`` or ``.zarr``, unless ``format`` says what to write.
    metadata
        Where the tokens come from: plain values and dictionaries.
    format
        ``parquet``, ``arrow`` or ``zarr``; by the ending of the path if None.
    overwrite
        Whether an existing output may be replaced.

    Raises
    ------
    ConfigError
        If the format is not known.
    OutputError
        If the output exists, or it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> tokens = Tokens(ids=np.array([5, 6, 7], np.int32), offsets=np.array([0, 1, 3]),
    ...                 index=np.array([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "x.parquet"
    ...     with TokenWriter(path, metadata={"model": "geneformer"}) as writer:
    ...         writer.write(tokens, np.array(["cell_a", "cell_b"]))
    ...     [(names.tolist(), part.lengths.tolist()) for names, part in read_tokens(path)]
    [(['cell_a', 'cell_b'], [1, 2])]
    """

    def __init__(
        self,
        path: str | Path,
        *,
        metadata: Mapping[str, Any],
        format: str | None = None,  # noqa: A002 - the word users know from every writer
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.format = token_format(self.path, format)
        self._header = json.dumps({"schema_version": SCHEMA_VERSION} | plain(metadata), sort_keys=True)
        self._overwrite = overwrite
        self._sink: Sink | None = None
        self._has_values: bool | None = None

    def __enter__(self) -> TokenWriter:
        with ExitStack() as stack:
            self._temporary = stack.enter_context(replacing(self.path, overwrite=self._overwrite))
            # Entered last, so the file is closed before it is renamed, and a failure to close removes it.
            stack.push(self._finish)
            self._exit = stack.pop_all().__exit__
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._exit(*error)

    def write(self, tokens: Tokens, names: Names) -> None:
        """Append a block.

        Parameters
        ----------
        tokens
            ``n`` examples; all blocks have values or none has.
        names
            ``(n,)`` name of each example.

        Raises
        ------
        OutputError
            If the disk is full.
        ValueError
            If names and examples differ in number, or only some blocks have values.
        """
        if len(names) != len(tokens):
            raise ValueError(f"{len(names)} names for {len(tokens)} examples")
        has_values = tokens.values is not None
        if self._sink is None:
            self._sink = self._open(None if tokens.values is None else tokens.values.dtype)
            self._has_values = has_values
        if has_values != self._has_values:
            raise ValueError("either every block of tokens has values or none has")
        with writing(self.path):
            self._sink.append(tokens, names)

    def _finish(self, kind: Any, _error: Any, _trace: Any) -> None:
        """Close the file; without a block it holds no rows."""
        try:
            sink = self._sink or self._open(None)
            sink.close()
        except OSError:
            # After a failure the first error is the one to report: closing on a full disk fails again.
            if kind is None:
                raise

    def _open(self, values: np.dtype[Any] | None) -> Sink:
        """Start the file, once it is known what kind of values it holds."""
        return open_sink(self.format, self._temporary, self._header, values)


def token_format(path: Path, asked: str | None) -> str:
    """The format to write or read.

    Parameters
    ----------
    path
        Of the file.
    asked
        What the user chose.
    """
    chosen = FORMATS.get(path.suffix, "") if asked is None else asked
    if chosen not in FORMATS.values():
        raise ConfigError(
            f"{path} names no format for tokens; use an ending among {', '.join(FORMATS)}"
            if asked is None
            else f"{asked} is no format for tokens; use parquet, arrow or zarr"
        )
    return chosen


def _source(path: str | Path) -> Source:
    """Open stored tokens.

    Raises
    ------
    InputError
        If they are missing, damaged, or were not written by biolm.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if path.suffix not in FORMATS:
        raise InputError(f"{path} is no token file; its name should end in one of {', '.join(FORMATS)}")
    try:
        source = open_source(FORMATS[path.suffix], path)
        version = int(json.loads(source.header)["schema_version"])
    except BiolmError:
        raise
    except Exception as error:  # Arrow and zarr fail in many ways
        raise InputError(f"{path} holds no tokens written by biolm, or is damaged; tokenize again") from error
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has token schema {version} but this biolm reads up to {SCHEMA_VERSION}; update biolm"
        )
    return source


def token_metadata(path: str | Path) -> dict[str, Any]:
    """Schema version and provenance of stored tokens.

    Raises
    ------
    InputError
        If they are missing, damaged, or were not written by biolm.
    """
    record: dict[str, Any] = json.loads(_source(path).header)
    return record


def read_tokens(path: str | Path, rows: int = 8192) -> Iterator[tuple[Names, Tokens]]:
    """Stored tokens in blocks of at most ``rows`` examples, in order.

    Parameters
    ----------
    path
        Of the file.
    rows
        Most examples of a block.

    Yields
    ------
    Names ``(n,)`` and tokens; ``index`` counts the rows of the file.

    Raises
    ------
    InputError
        If they are missing, damaged, or were not written by biolm.
    """
    start = 0
    blocks = each_named(_source(path).blocks(rows), path, "its tokens", advice="tokenize again")
    for names, ids, values, offsets in blocks:
        index = np.arange(start, start + len(names))
        yield names, Tokens(ids=ids, offsets=offsets, index=index, values=values)
        start += len(names)
