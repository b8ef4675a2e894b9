"""Shards of a job: one of ``n`` runs of blocks, worked on by itself and merged to the whole result.

A shard is a folder with ``shard.json`` and the results of a run of the job's blocks. Blocks are the same in
every run, so that every row is in the batch that it has in the whole job. The same batch gives the same
bytes, on one kind of processor and with as many threads; another gives them to rounding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biolm.errors import ConfigError, InputError
from biolm.io.digests import check_facts, sealed

__all__ = ["RECORD", "Shard", "ShardRecord", "check_same_input", "read_shard", "read_shards", "write_record"]

RECORD = "shard.json"
_VERSION = 1
_SEAL = "record_sha256"


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of a job: the ``number``-th of ``count``, from 1.

    Examples
    --------
    >>> [Shard(number, 3).blocks(10) for number in (1, 2, 3)]
    [(0, 3), (3, 6), (6, 10)]
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From what the user writes, such as ``2/7``.

        Raises
        ------
        ConfigError
            If it is not a number of a shard and how many there are.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(f"shard {text!r} is not a number and how many there are, such as 2/7")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def blocks(self, count: int) -> tuple[int, int]:
        """First block and end of this shard of ``count`` blocks; it may be empty."""
        # Whole blocks, so that shards compute what the whole job would and merge to its bytes.
        first, last = (count * number // self.count for number in (self.number - 1, self.number))
        return first, last


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """What ``shard.json`` says.

    Parameters
    ----------
    path
        The shard's folder.
    shard
        Which part.
    kind
        What it holds: ``vectors``, ``tokens``, ``calls`` (names of cells) ...
    job
        What is the same for all shards of one job.
    facts
        What merging needs beside it.
    digests
        SHA-256 of each file of results, in order of the blocks.
    """

    path: Path
    shard: Shard
    kind: str
    job: dict[str, Any]
    facts: dict[str, Any]
    digests: dict[str, str]


def write_record(record: ShardRecord) -> None:
    """Write ``shard.json`` into the folder of the shard."""
    content = {
        "biolm_shard": _VERSION,
        "shard": [record.shard.number, record.shard.count],
        "kind": record.kind,
        "job": record.job,
        "facts": record.facts,
        "sha256": record.digests,
    }
    text = json.dumps(sealed(content, _SEAL), indent=1) + "\n"
    (record.path / RECORD).write_text(text, encoding="utf-8")


def read_shards(paths: Sequence[str | Path]) -> list[ShardRecord]:
    """All shards of one job, in order.

    Raises
    ------
    InputError
        If one is missing, given twice, of another job, or no shard at all.
    """
    records = [read_shard(Path(path)) for path in paths]
    if not records:
        raise InputError("there are no shards to merge; name their folders")
    first = records[0]
    by_number: dict[int, ShardRecord] = {}
    for record in records:
        differs = [name for name, value in first.job.items() if record.job.get(name) != value]
        # Two tasks may agree in every option.
        if record.kind != first.kind:
            differs = ["kind"]
        if differs:
            raise InputError(
                f"{record.path} is a shard of another job than {first.path} ({' and '.join(differs)} "
                "differ); merge the shards of one job"
            )
        if record.shard.count != first.shard.count:
            raise InputError(
                f"{record.path} is shard {record.shard} but {first.path} is {first.shard}; "
                "merge shards of one number of parts"
            )
        number = record.shard.number
        if number in by_number:
            raise InputError(
                f"shard {record.shard} is given twice ({by_number[number].path} and {record.path}); "
                "leave one out"
            )
        by_number[number] = record
    missing = [
        str(Shard(n, first.shard.count)) for n in range(1, first.shard.count + 1) if n not in by_number
    ]
    if missing:
        raise InputError(f"missing: shard {', '.join(missing)}; make it with `shard='{missing[0]}'`")
    return [by_number[number] for number in sorted(by_number)]


def read_shard(path: Path) -> ShardRecord:
    """What the folder of one shard says.

    Raises
    ------
    InputError
        If it is no finished shard.
    """
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        record = check_facts(record, path / RECORD, advice="make the shard again", key=_SEAL)
        version, numbers = record["biolm_shard"], record["shard"]
        shard_record = ShardRecord(
            path=path,
            shard=Shard(int(numbers[0]), int(numbers[1])),
            kind=record["kind"],
            job=record["job"],
            facts=record["facts"],
            digests=dict(record["sha256"]),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError) as error:
        unfinished = path.with_name(f"{path.name}.partial").exists()
        more = "it is not finished: run it again with `resume=True`" if unfinished else "make it with `shard`"
        raise InputError(f"{path} is no finished shard; {more}") from error
    if version > _VERSION:
        raise InputError(f"{path} was written by a later biolm; update biolm to merge it")
    return shard_record


def check_same_input(now: dict[str, Any], job: dict[str, Any], path: Path | None) -> None:
    """Refuse another input than the shards were made from; it may have been copied.

    Parameters
    ----------
    now
        What distinguishes the input at hand from others.
    job
        The same of the shards.
    path
        Names the input at hand.

    Raises
    ------
    InputError
        If they differ in more than place and time.
    """
    # A table that was written from a section's folder holds its places as vectors, not as its own.
    differs = [name for name, value in job.items() if name != "stamp" and now.get(name, value) != value]
    if differs:
        raise InputError(
            f"{path} is not what the shards were made from ({' and '.join(differs)} differ); "
            "name the right file with `data`"
        )
