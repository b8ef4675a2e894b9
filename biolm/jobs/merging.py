"""All shards of a job, to be written as the whole job would have been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biolm.errors import ConfigError
from biolm.jobs.job import write_whole
from biolm.jobs.shards import ShardRecord
from biolm.jobs.spool import Parts

__all__ = ["Merging"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """What a task's function in :mod:`biolm.tasks.merge` writes; it returns how many rows there are.

    Parameters
    ----------
    records
        All shards, in order.
    parts
        Their results.
    target
        The output.
    data
        The input of the job, if it was moved since.
    form
        Format of the output; by its ending where it is None.
    """

    records: Sequence[ShardRecord]
    parts: Parts
    target: Path
    data: str | Path | None
    form: str | None

    @property
    def job(self) -> dict[str, Any]:
        """What is the same for all shards."""
        return self.records[0].job

    @property
    def facts(self) -> dict[str, Any]:
        """What the job noted for merging."""
        return self.records[0].facts

    @property
    def place(self) -> Any:
        """Where the input of the job is."""
        return self.facts.get("input") if self.data is None else self.data

    def refuse_data(self, what: str) -> None:
        """Refuse an input where the shards hold all that is written.

        Raises
        ------
        ConfigError
            If one is named.
        """
        if self.data is not None:
            raise ConfigError(f"shards of {what} hold all that is written; leave the input out")

    def refuse_form(self, what: str = "a table is written by the ending of the output") -> None:
        """Refuse a format where there is no choice.

        Raises
        ------
        ConfigError
            If one is named.
        """
        if self.form is not None:
            raise ConfigError(f"{what}; leave the format out")

    def write(self, write: Callable[[Path], Any]) -> None:
        """Write the output, whole or not at all; ``write`` gets a path that does not exist yet."""
        write_whole(self.parts.folder, self.target, write)
