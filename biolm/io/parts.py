"""A file that was cut into parts, read as one without joining them on disk."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from biolm.errors import CheckpointError

__all__ = ["JoinedFile", "find_parts"]

_PART = re.compile(r"(?P<name>.+)\.part(?P<number>\d+)")


def find_parts(folder: Path) -> dict[str, list[Path]]:
    """Parts ``NAME.part0``, ``NAME.part1`` ... of a folder in their order, by ``NAME``.

    Raises
    ------
    CheckpointError
        If one in between is missing.
    """
    numbered: dict[str, dict[int, Path]] = {}
    for path in folder.iterdir():
        if match := _PART.fullmatch(path.name):
            numbered.setdefault(match["name"], {})[int(match["number"])] = path
    for name, parts in numbered.items():
        for number in range(max(parts) + 1):
            if number not in parts:
                raise CheckpointError(f"{folder} lacks {name}.part{number}; fetch the missing part")
    return {name: [parts[number] for number in sorted(parts)] for name, parts in sorted(numbered.items())}


class JoinedFile(io.RawIOBase):
    """Files end to end, byte for byte.

    Parameters
    ----------
    paths
        The parts in their order.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> paths = [folder / "x.part0", folder / "x.part1"]
    >>> _ = paths[0].write_bytes(b"ACG"), paths[1].write_bytes(b"TT")
    >>> JoinedFile(paths).read()
    b'ACGTT'
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._starts = [0, *accumulate(path.stat().st_size for path in paths)]
        self._place = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, as :meth:`io.IOBase.seek`.

        Parameters
        ----------
        offset
            In bytes.
        whence
            From the beginning (0), the place now (1) or the end (2).
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Fill a buffer, up to the end of the part that holds the next byte."""
        if self._place >= self._starts[-1]:
            return 0
        part = bisect_right(self._starts, self._place) - 1
        # Up to the end of the part only: whoever wants more reads again.
        view = memoryview(buffer).cast("B")[: self._starts[part + 1] - self._place]
        self._files[part].seek(self._place - self._starts[part])
        count = self._files[part].readinto(view)
        self._place += count
        return count

    def close(self) -> None:
        """Close the parts."""
        for file in self._files:
            file.close()
        super().close()
