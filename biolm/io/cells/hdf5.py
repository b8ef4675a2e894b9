"""Opening HDF5 files, and saying why one cannot be opened."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.errors import InputError
from biolm.io.contained import check_hdf5

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["is_hdf5", "open_hdf5", "why_not_hdf5", "writing_hdf5"]

MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as HDF5 files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_hdf5(path: Path, mode: str = "r") -> Any:
    """Open a file that leads to no other.

    Parameters
    ----------
    path
        Of the file.
    mode
        As of ``h5py.File``.

    Raises
    ------
    InputError
        If it is truncated or damaged, or holds what is stored outside it (:func:`check_hdf5`).
    """
    import h5py

    file = None
    try:
        # Looked at before it is opened for writing: HDF5 follows links out of the file also when it writes.
        file = h5py.File(path, "r")
        check_hdf5(file, path)
        if mode != "r":
            file.close()
            file = h5py.File(path, mode)
        return file
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, OSError | RuntimeError | KeyError | ValueError):
            raise InputError(why_not_hdf5(path)) from error
        raise


@contextmanager
def writing_hdf5(path: Path, mode: str = "w") -> Iterator[Any]:
    """Write an HDF5 file of which the disk may become full, which the library itself does not survive.

    After a write that failed it ends the process with a signal when it closes the file. So it is told that
    all went well, and the failure is raised once the file is closed.

    Parameters
    ----------
    path
        The file.
    mode
        ``w`` for a new one, ``r+`` to add to one that is there.

    Raises
    ------
    OSError
        If something could not be written.
    """
    import h5py

    with _Patient(path, "w+" if mode == "w" else mode) as file:
        try:
            with h5py.File(file, mode) as root:
                yield root
        except Exception as error:
            if file.failure is None:
                raise
            raise file.failure from error
        if file.failure is not None:
            raise file.failure


class _Patient(io.FileIO):
    """A file that keeps its first failure to itself, and from then on takes nothing more."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """Write all of it, unless something failed before."""
        view = memoryview(data).cast("B")
        place, done = self.tell(), 0
        while self.failure is None and done < len(view):
            try:
                done += super().write(view[done:])
            except OSError as error:
                self.failure = error
        self.seek(place + len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, unless something failed before."""
        if self.failure is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.failure = error
        return self.tell() if size is None else size

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read; zeros stand for what could not be written."""
        view = memoryview(buffer).cast("B")
        done = super().readinto(view) or 0
        view[done:] = bytes(len(view) - done)
        return len(view)


def why_not_hdf5(path: Path) -> str:
    """One sentence on a file that cannot be read as HDF5."""
    if is_hdf5(path):
        return f"{path} is truncated or damaged: its HDF5 content ends early; copy or download it again"
    return f"{path} is not an HDF5 file, whatever its name says; check how it was made or downloaded"
