"""What a reader under test is: how a whole file is made, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["SHARED", "Case"]

SHARED = Path(__file__).resolve().parents[3] / "shared"
"""Where some whole files come from; cases that need it are left out where it is absent."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One reader.

    Parameters
    ----------
    file
        Name of what is read.
    make
        Writes the whole file or folder of that name.
    read
        Reads all of it, as values that can be compared.
    own
        Whether biolm wrote it: a mutant is then refused or reads as before, never as something else.
    part
        The file or folder in the file's place that is changed; the file itself where empty.
    """

    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    own: bool = False
    part: str = ""

    @property
    def mutated(self) -> str:
        """What is changed, beside the place of the file."""
        return self.part or self.file
