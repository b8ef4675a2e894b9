"""Results of a job's blocks in a folder, a file each: what a killed job goes on from and shards consist of.

Dimensions: ``k`` blocks of the whole job · ``n`` rows of one block.

A file appears under its number when it is whole, so that whatever the folder holds at any moment is true.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError, OutputError
from biolm.io.atomic import discard, remove, writing
from biolm.io.locks import owning
from biolm.io.provenance import plain
from biolm.jobs.block_file import Arrays, is_whole, read_block, write_block
from biolm.progress import log

__all__ = ["MADE", "OUTPUT", "Arrays", "Parts", "Spool", "was_named"]

_ENDING = ".block"
OUTPUT = "output"  # folder in which the whole output is written
MADE = "made"  # stands in the folder from when the whole output is written until it is cleared up
# Results up to this many bytes are joined in memory, larger ones in a file.
_IN_MEMORY = 1 << 26


class Spool:
    """The folder ``OUTPUT.partial``: finished blocks, and what job they belong to.

    A job that is killed leaves it behind, and the same job can go on from it. A job that fails removes it,
    unless it was itself resuming one.

    Parameters
    ----------
    output
        The output of the job.
    facts
        What makes two jobs the same: input, model, options.
    first, last
        Numbers of the blocks ``first`` to ``last`` (not included) that are worked on here.
    """

    def __init__(self, output: Path, facts: Mapping[str, Any], first: int, last: int) -> None:
        self.folder = output.with_name(f"{output.name}.partial")
        self.first, self.last = first, last
        self.next = first
        self._output = output
        self._facts = plain(facts)
        self._keep = self._refused = False

    @contextmanager
    def open(self, *, resume: bool, overwrite: bool) -> Iterator[Spool]:
        """Start, or find out how far an earlier run came; nobody else works in the folder meanwhile.

        Parameters
        ----------
        resume
            Go on with an unfinished run, if there is one.
        overwrite
            Start again where there is one.

        Raises
        ------
        OutputError
            If there is an unfinished run and neither is set, if it was another job, or if another process
            works on it.
        """
        with writing(self._output), owning(self.folder) as existed:
            try:
                if existed:
                    self._continue(resume=resume, overwrite=overwrite)
                self._put("job.json", self._write_facts)
                yield self
            except BaseException as error:
                # Ctrl-C and signals keep the blocks; a failure of the first run keeps none, since it would
                # fail again.
                interrupted = not isinstance(error, Exception)
                self._close(keep=self._refused or (self.next > self.first and (interrupted or self._keep)))
                raise
            self._close(keep=False)

    def settle(self, *, resume: bool) -> bool:
        """Whether this job was killed once its output had its name; what is left of another is cleared up."""
        if not was_named(self._output):
            return False
        with suppress(OutputError):
            if resume and self._belongs():
                return True
        discard(self.folder, self._output)
        return False

    def _continue(self, *, resume: bool, overwrite: bool) -> None:
        # What another job left stays until it is known that this one may go on there.
        self._refused = True
        if not resume:
            if not overwrite:
                raise OutputError(
                    f"{self.folder} holds an unfinished run; go on with it (`resume=True`) "
                    "or start again (`overwrite=True`)"
                )
        elif self._belongs():
            self._keep = True
            # The last block may have been cut by the kill; what stands behind it is made again.
            while self.next < self.last and is_whole(self._file(self.next)):
                self.next += 1
            log.info("going on after %s of %s blocks", self.next - self.first, self.last - self.first)
        self._refused = False
        kept = {self._file(number) for number in range(self.first, self.next)}
        for path in self.folder.iterdir():
            if path not in kept:
                remove(path)

    def _belongs(self) -> bool:
        """Whether the folder is of this job; one that was killed before it said so is begun again."""
        try:
            before = json.loads((self.folder / "job.json").read_bytes())
        except FileNotFoundError:
            return False
        except (OSError, ValueError, RecursionError):
            before = {}
        names = [name for name, value in self._facts.items() if before.get(name) != value]
        if names:
            raise OutputError(
                f"{self.folder} belongs to another job ({' and '.join(names)} differ); "
                "start again with `overwrite=True` or choose another output"
            )
        return True

    def put(self, arrays: Arrays) -> None:
        """Keep the results of the next block."""
        with writing(self._output):
            self._put(self._file(self.next).name, partial(write_block, arrays=arrays))
        self.next += 1

    def parts(self) -> Parts:
        """All results, in order."""
        return Parts([self._file(number) for number in range(self.first, self.next)], self.folder)

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file of a block."""
        return {
            self._file(number).name: _sha256(self._file(number)) for number in range(self.first, self.next)
        }

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:07d}{_ENDING}"

    def _write_facts(self, path: Path) -> None:
        path.write_text(json.dumps(self._facts, indent=1, sort_keys=True), encoding="utf-8")

    def _put(self, name: str, write: Callable[[Path], None]) -> None:
        temporary = self.folder / f".{name}.new"
        write(temporary)
        # A block has its name only when it is whole.
        temporary.replace(self.folder / name)

    def _close(self, *, keep: bool) -> None:
        if not keep:
            discard(self.folder, self._output)
            return
        # Of the output itself nothing half-written stays, nor of a block.
        for path in (self.folder / OUTPUT, *self.folder.glob(".*.new"), *self.folder.glob("*.joined")):
            remove(path)


def was_named(output: Path) -> bool:
    """Whether an output has its name while its folder is still there: its job was killed in between."""
    folder = output.with_name(f"{output.name}.partial")
    return output.exists() and (folder / MADE).exists() and not (folder / OUTPUT).exists()


class Parts:
    """Results of consecutive blocks, from one folder or from several shards.

    Parameters
    ----------
    files
        The blocks, in order.
    beside
        Folder in which large results are joined.
    """

    def __init__(self, files: Sequence[Path], beside: Path) -> None:
        self.folder = beside
        self._files = list(files)

    @classmethod
    def of_shards(cls, shards: Sequence[tuple[Path, Mapping[str, str]]], beside: Path) -> Parts:
        """The blocks of all shards, in order of the shards; each is compared with its digest.

        Parameters
        ----------
        shards
            Folder of each shard and the digests that it recorded.
        beside
            As above.

        Raises
        ------
        InputError
            If a block is missing or not as it was written.
        """
        files = []
        for folder, digests in shards:
            for name, digest in digests.items():
                # The name alone: a record of somebody else must not lead out of the folder.
                file = folder / Path(name).name
                if not file.is_file() or _sha256(file) != digest:
                    raise InputError(f"{file} is missing or damaged; make the shard {folder} again")
                files.append(file)
        return cls(files, beside)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for file in self._files:
            yield read_block(file)

    def joined(self, name: str) -> NDArray[Any]:
        """One array of all blocks, end to end; a large one is mapped from a file beside them."""
        if sum(file.stat().st_size for file in self._files) <= _IN_MEMORY:
            return np.concatenate([part[name] for part in self])
        place = self.folder / f"{name}.joined"
        rows, like = 0, None
        with place.open("wb") as file:
            for part in self:
                like = part[name]
                rows += len(like)
                file.write(np.ascontiguousarray(like).data)
        if like is None or not rows * like[:0].itemsize * int(np.prod(like.shape[1:])):
            return np.concatenate([part[name] for part in self])
        return np.memmap(place, like.dtype, mode="r", shape=(rows, *like.shape[1:]))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
