"""Stored tokens in flat arrays behind a memory map: a store of ``biolm pack`` made from ``biolm tokenize``.

Dimensions: ``n`` examples · ``t`` tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import InputError
from biolm.io.cells.block import gather
from biolm.io.store import StoreWriter, read_facts, read_offsets, store_kind
from biolm.io.tokens import read_tokens, token_metadata
from biolm.io.whole import check_whole

__all__ = [
    "KIND",
    "VOCABULARY",
    "TokenStore",
    "is_token_store",
    "token_blocks",
    "token_facts",
    "write_tokens",
]

KIND = "biolm-tokens"
VOCABULARY = "vocabulary_sha256"
"""Key of the provenance of tokens: hash of which gene has which token."""


def is_token_store(path: Path) -> bool:
    """Whether the folder is a store of tokens."""
    return path.is_dir() and store_kind(path) == KIND


def write_tokens(files: Iterable[Path], folder: Path) -> tuple[int, int]:
    """Copy tokens of files, numbered through, into the arrays of a store; examples and tokens written.

    Parameters
    ----------
    files
        Stored tokens.
    folder
        That does not exist.

    Raises
    ------
    InputError
        If a file cannot be read, or files were made with different models.
    """
    origin: dict[str, Any] = {}
    writer: StoreWriter | None = None
    for path in files:
        metadata = token_facts(path)
        for key in ("model", VOCABULARY):
            # Tokens of earlier versions do not tell their genes.
            if len({metadata.get(key), origin.get(key)} - {None}) > 1:
                other = "the same model with other genes" if key == VOCABULARY else origin.get("model")
                raise InputError(
                    f"{path} holds tokens of {metadata.get('model')}, the files before it those of {other}; "
                    "pack the tokens of one model"
                )
        origin = {**metadata, **origin}
        for tokens in token_blocks([path]):
            columns: dict[str, NDArray[Any]] = {"ids": tokens.ids}
            if tokens.values is not None:
                columns["values"] = tokens.values
            if writer is None:
                writer = StoreWriter(folder, {name: column.dtype for name, column in columns.items()})
            writer.append(tokens.lengths, columns)
    if writer is None:
        raise InputError("the files hold no tokens")
    writer.finish(KIND, {"provenance": origin})
    return writer.rows, writer.values


def token_facts(path: Path) -> dict[str, Any]:
    """Provenance of stored tokens of any kind."""
    metadata: dict[str, Any] = (
        read_facts(path)["provenance"] if is_token_store(path) else token_metadata(path)
    )
    return metadata


def token_blocks(files: Iterable[Path]) -> Iterator[Tokens]:
    """Stored tokens of any kind of file in blocks, file after file; ``index`` counts within a file."""
    for path in files:
        if is_token_store(path):
            yield from TokenStore(path).blocks()
        else:
            for _, tokens in read_tokens(path):
                yield tokens


class TokenStore:
    """An open store of tokens; it may be sent to other processes, each maps the files for itself.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    InputError
        If it is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts = read_facts(path)
        self._open()

    def _open(self) -> None:
        size = int(self.facts["values"])
        # Plain arrays over the maps: slicing np.memmap itself takes several times longer.
        self._columns = {
            name: np.asarray(np.memmap(self.path / f"{name}.bin", kind, "r", shape=(size,)))
            if size
            else np.empty(0, kind)
            for name, kind in self.facts["columns"].items()
        }
        self._offsets = read_offsets(self.path, int(self.facts["rows"]), size)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "facts": self.facts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the examples ``rows``, in the order asked; ``index`` holds their numbers."""
        for name, column in self._columns.items():
            check_whole(self.path / f"{name}.bin", column.nbytes)
        ids = self._columns["ids"]
        values = self._columns.get("values")
        taken, others, offsets = gather(ids, ids if values is None else values, self._offsets, rows)
        return Tokens(ids=taken, offsets=offsets, index=rows, values=None if values is None else others)

    def blocks(self, rows: int = 8192) -> Iterator[Tokens]:
        """All examples in order."""
        for start in range(0, len(self), rows):
            yield self.read(np.arange(start, min(start + rows, len(self))))
