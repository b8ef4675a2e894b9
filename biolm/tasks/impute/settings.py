"""Choices of imputing, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from biolm.jobs.settings import CellSettings, RunSettings

__all__ = ["ImputeSettings"]


@dataclass(frozen=True, kw_only=True)
class ImputeSettings(CellSettings, RunSettings):
    """Choices of imputing, beside those of the classes that it is made of.

    Nothing is drawn and no tokens are read, so the options of such models are none of its own.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    unused: ClassVar[dict[str, tuple[str, ...]]] = {
        "*": ("seed", "pool", "hidden_state", "precision", "device", "batch_tokens", "compile", "match")
    }

    def __post_init__(self) -> None:
        CellSettings.__post_init__(self)
        self.check_run()
