"""The file formats of stored tokens: Arrow's two (Parquet, IPC) and zarr.

Dimensions: ``n`` examples of a block · ``t`` tokens of a block.

Arrays go from numpy into Arrow and back as buffers; no Python list of tokens is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.io.cells.rows import lost_chunks
from biolm.io.contained import open_zarr

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Block", "Names", "Sink", "Source", "open_sink", "open_source"]

CHECKSUM = "crc32"
KEY = "biolm"  # where the header stands in the metadata of a file
CHUNK_TOKENS, CHUNK_ROWS = 1 << 20, 1 << 13  # of the zarr arrays: 4 MB of ids each

Names = NDArray[np.str_]
Block = tuple[Names, NDArray[np.int32], NDArray[Any] | None, NDArray[np.int64]]
"""Names ``(n,)``, ids ``(t,)``, values ``(t,)`` or None, offsets ``(n + 1,)`` from 0."""


class Sink(Protocol):
    """An open file that takes blocks."""

    def append(self, tokens: Tokens, names: Names) -> None:
        """Write a block after those before it.

        Parameters
        ----------
        tokens
            Packed tokens of a block.
        names
            ``(n,)`` of its rows.
        """
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class Source(Protocol):
    """An open file that gives blocks; ``header`` is the JSON text of its metadata."""

    header: str

    def blocks(self, rows: int) -> Iterator[Block]:
        """The examples in order, at most ``rows`` at a time."""
        ...


def open_sink(format: str, path: Path, header: str, values: np.dtype[Any] | None) -> Sink:  # noqa: A002
    """Start a file of ``format`` whose values are of type ``values``; None where there are none.

    Parameters
    ----------
    format
        Name of the format.
    path
        Of the file.
    header
        Metadata, as text.
    values
        Type of the values, None where tokens have none.
    """
    return ZarrSink(path, header, values) if format == "zarr" else ArrowSink(format, path, header, values)


def open_source(format: str, path: Path) -> Source:  # noqa: A002
    """Open a file of ``format`` for reading; raises KeyError or OSError if it is none.

    Parameters
    ----------
    format
        Name of the format.
    path
        Of the file.
    """
    return ZarrSource(path) if format == "zarr" else ArrowSource(format, path)


class ArrowSink:
    """Parquet or Arrow IPC file; a block is a row group or a record batch."""

    def __init__(self, format: str, path: Path, header: str, values: np.dtype[Any] | None) -> None:  # noqa: A002
        import pyarrow as pa

        fields = [("name", pa.string()), ("ids", pa.list_(pa.int32()))]
        if values is not None:
            fields.append(("values", pa.list_(pa.from_numpy_dtype(values))))
        self._schema = pa.schema([*fields, ("length", pa.int32())], metadata={KEY: header})
        if format == "parquet":
            from pyarrow.parquet import ParquetWriter

            # Splitting numbers into streams of bytes lets zstd find the empty high ones: half the size of
            # plain pages and less time than dictionaries (benchmarks/tokenize_cells.py).
            split = [f"{field.name}.list.element" for field in self._schema if pa.types.is_list(field.type)]
            self._writer = ParquetWriter(
                path,
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=False,
                use_byte_stream_split=split,
                write_page_checksum=True,
            )
        else:
            # Not compressed: seven times faster to write, and read back by mapping the file.
            self._writer = pa.ipc.new_file(str(path), self._schema)
        self._checked = format == "arrow"

    def append(self, tokens: Tokens, names: Names) -> None:
        """Write a block as one row group or record batch."""
        import pyarrow as pa

        start, stop = int(tokens.offsets[0]), int(tokens.offsets[-1])
        offsets = _column((tokens.offsets - start).astype(np.int32))
        lists = [pa.ListArray.from_arrays(offsets, _column(tokens.ids[start:stop]))]
        if tokens.values is not None:
            lists.append(pa.ListArray.from_arrays(offsets, _column(tokens.values[start:stop])))
        columns = [_strings(names), *lists, _column(tokens.lengths.astype(np.int32))]
        batch = pa.record_batch(columns, schema=self._schema)
        if self._checked:
            self._writer.write_batch(batch, custom_metadata={CHECKSUM: _checksum(batch).decode()})
        else:
            self._writer.write_batch(batch)

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


def _column(values: NDArray[Any]) -> pa.Array:
    """Numbers as they lie in memory; ``pyarrow.array`` would load pandas to look for its types."""
    import pyarrow as pa

    kind, data = pa.from_numpy_dtype(values.dtype), pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, data])


def _strings(names: Names) -> pa.Array:
    """Names as UTF-8, end to end."""
    import pyarrow as pa

    encoded = [name.encode() for name in names.tolist()]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(name) for name in encoded], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


class ArrowSource:
    """Parquet or Arrow IPC file."""

    def __init__(self, format: str, path: Path) -> None:  # noqa: A002
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        self._file: Any = (
            ParquetFile(path, page_checksum_verification=True)
            if format == "parquet"
            else pa.ipc.open_file(pa.memory_map(str(path)))
        )
        schema = self._file.schema_arrow if format == "parquet" else self._file.schema
        self.header = (schema.metadata or {})[KEY.encode()].decode()
        self._is_parquet = format == "parquet"

    def blocks(self, rows: int) -> Iterator[Block]:
        """The examples in order; a block never spans two record batches of an IPC file."""
        if self._is_parquet:
            batches = self._file.iter_batches(batch_size=rows)
        else:
            batches = map(self._whole_batch, range(self._file.num_record_batches))
        for batch in batches:
            # Arrow trusts offsets of a file; damaged ones would read beyond a buffer.
            batch.validate(full=True)
            for start in range(0, batch.num_rows, rows):
                yield _unpacked(batch.slice(start, rows))

    def _whole_batch(self, number: int) -> pa.RecordBatch:
        batch, noted = self._file.get_batch_with_custom_metadata(number)
        if noted is not None and noted[CHECKSUM.encode()] != _checksum(batch):
            raise ValueError(f"batch {number} is not what was written")
        return batch


def _checksum(batch: pa.RecordBatch) -> bytes:
    """CRC-32 of the values of a batch, which Arrow's own format lacks."""
    checksum = 0
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None:
                checksum = zlib.crc32(buffer, checksum)
    return str(checksum).encode()


def _unpacked(batch: pa.RecordBatch) -> Block:
    """Numpy arrays of a record batch."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    ids, values = columns["ids"], columns.get("values")
    offsets = ids.offsets.to_numpy().astype(np.int64)
    return (
        np.array(columns["name"].to_pylist(), np.str_),
        ids.flatten().to_numpy(),
        None if values is None else values.flatten().to_numpy(),
        offsets - offsets[0],
    )


def _summed(column: NDArray[Any], before: int) -> int:
    """CRC-32 of a column behind what went before; of texts, each with a line end."""
    if column.dtype.kind in "OTU":
        return zlib.crc32("".join(f"{text}\n" for text in column.tolist()).encode(), before)
    return zlib.crc32(np.ascontiguousarray(column).data, before)


class ZarrSink:
    """Zarr group of flat arrays that grow block by block."""

    def __init__(self, path: Path, header: str, values: np.dtype[Any] | None) -> None:
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        group: Any = zarr.open_group(path, mode="w", attributes={KEY: header})
        sizes: dict[str, tuple[Any, int]] = {"ids": (np.int32, CHUNK_TOKENS)}
        if values is not None:
            sizes["values"] = (values, CHUNK_TOKENS)
        sizes |= {"length": (np.int32, CHUNK_ROWS), "name": (str, CHUNK_ROWS)}
        # The checksum stands around the compressed bytes of each piece; a piece of zeros is stored like any.
        packed = [ZstdCodec(), Crc32cCodec()]
        settings: dict[str, Any] = {"compressors": packed, "config": {"write_empty_chunks": True}}
        self._arrays = {
            name: group.create_array(name, shape=(0,), chunks=(chunk,), dtype=kind, **settings)
            for name, (kind, chunk) in {**sizes, "offsets": (np.int64, CHUNK_ROWS)}.items()
        }
        self._grow("offsets", np.zeros(1, np.int64))
        self._tokens = 0
        self._group = group
        self._sums = dict.fromkeys(self._arrays, 0)

    def append(self, tokens: Tokens, names: Names) -> None:
        """Grow every array by the block."""
        start, stop = int(tokens.offsets[0]), int(tokens.offsets[-1])
        columns = {
            "ids": tokens.ids[start:stop],
            "length": tokens.lengths.astype(np.int32),
            "name": names,
            "offsets": tokens.offsets[1:] - start + self._tokens,
        }
        if tokens.values is not None:
            columns["values"] = tokens.values[start:stop]
        for name, column in columns.items():
            self._grow(name, column)
            self._sums[name] = _summed(column, self._sums[name])
        self._tokens += stop - start

    def _grow(self, name: str, column: NDArray[Any]) -> None:
        array = self._arrays[name]
        at = array.shape[0]
        array.resize((at + len(column),))
        array[at:] = column

    def close(self) -> None:
        """Note the checksum of each array: those of its pieces do not tell which array they are of."""
        self._group.attrs[CHECKSUM] = self._sums


class ZarrSource:
    """Zarr group of flat arrays."""

    def __init__(self, path: Path) -> None:
        self._group: Any = open_zarr(path)[0]
        self.header = str(self._group.attrs[KEY])
        # Tokens of earlier versions have none.
        self._sums: dict[str, int] = dict(self._group.attrs.get(CHECKSUM, {}))

    def blocks(self, rows: int) -> Iterator[Block]:
        """The examples in order; behind the last it shows whether they are those that were written."""
        offsets = self._group["offsets"][...]
        sizes = (self._group["ids"].shape[0], self._group["name"].shape[0])
        ends = (int(offsets[-1]), len(offsets) - 1)
        if offsets[0] != 0 or ends != sizes or (np.diff(offsets) < 0).any():
            raise ValueError("its offsets do not part its tokens")
        lost = [name for name in self._group.array_keys() if lost_chunks(self._group[name])]
        if self._group["ids"].dtype != np.int32 or lost:
            raise ValueError("pieces of its arrays are missing")
        sums = {"offsets": _summed(offsets[1:], 0), "name": 0, "ids": 0, "values": 0}
        for start in range(0, len(offsets) - 1, rows):
            part = offsets[start : start + rows + 1]
            span = slice(int(part[0]), int(part[-1]))
            block = {
                "name": np.array(self._group["name"][start : start + rows].tolist(), np.str_),
                "ids": self._group["ids"][span],
                "values": self._group["values"][span] if "values" in self._group else None,
            }
            for name, column in block.items():
                if column is not None:
                    sums[name] = _summed(column, sums[name])
            yield block["name"], block["ids"], block["values"], part - part[0]
        if self._sums and any(self._sums.get(name, 0) != checksum for name, checksum in sums.items()):
            raise ValueError("it does not hold what was written")
