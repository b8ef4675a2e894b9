"""A file task cut into blocks: progress, resuming, shards, a lock, and an output that appears whole.

Dimensions: ``k`` blocks of the whole job.

A task says what is done with one block and how the results of all blocks become a file. The whole job and the
merging of shards end in the same function over the same block results, so that both write the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.atomic import install, install_all, refuse_existing, tidy, writing
from biolm.io.free_space import check_free_space
from biolm.io.provenance import stamp
from biolm.jobs.shards import Shard, ShardRecord, read_shard, write_record
from biolm.jobs.spool import MADE, OUTPUT, Arrays, Parts, Spool, was_named
from biolm.progress import progress

__all__ = [
    "Job",
    "RunChoices",
    "block_ends",
    "check_outputs",
    "made_from",
    "shard_parts",
    "watched",
    "write_whole",
]


class RunChoices(Protocol):
    """The settings of a task that its runner reads."""

    @property
    def overwrite(self) -> bool:
        """Whether an existing output may be replaced."""
        ...

    @property
    def resume(self) -> bool:
        """Whether to go on with an unfinished run."""
        ...

    @property
    def shard(self) -> str | None:
        """Which part to do, such as ``2/7``; None for all."""
        ...

    @property
    def progress(self) -> bool:
        """Whether to draw progress."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a task does with the blocks of a source.

    Parameters
    ----------
    kind
        Names what a block gives, for merging: ``vectors``, ``tokens``, ``calls`` ...
    same
        What makes two jobs the same: input, model, options. Shards of one job agree in it, and a job is
        resumed only where it agrees in all but ``provenance``, which follows from the rest.
    ends
        ``(k + 1,)`` rows at which the blocks begin and end, the same in every run.
    blocks
        The blocks ``first`` to ``last`` (not included) of the source, in order.
    compute
        Results of one block: arrays of numbers or texts by name.
    finish
        Writes the whole output, from the results of all blocks, to a path that does not exist yet; files
        that belong beside it have its name with another ending added.
    facts
        What merging needs beside ``same``, such as the path of the input.
    inputs
        Files that were read, by the name of their stamp (:func:`biolm.io.provenance.stamp`) in
        ``same["input"]``; they must be at the end what they were at the beginning.
    size
        Bytes that the job writes, about.
    label, unit
        What is being done and what is counted, for progress.

    Examples
    --------
    >>> import tempfile
    >>> job = Job(
    ...     kind="squares", same={}, ends=block_ends(5, 2), label="squaring", unit="numbers",
    ...     blocks=lambda first, last: (np.arange(5)[2 * k : 2 * k + 2] for k in range(first, last)),
    ...     compute=lambda block: {"square": block**2},
    ...     finish=lambda parts, path: np.savetxt(path, parts.joined("square"), fmt="%d"),
    ... )
    >>> from types import SimpleNamespace
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = job.run(
    ...         Path(folder) / "squares.txt",
    ...         SimpleNamespace(overwrite=False, resume=False, shard=None, progress=False),
    ...     )
    ...     (Path(folder) / "squares.txt").read_text().split()
    ['0', '1', '4', '9', '16']
    """

    kind: str
    same: Mapping[str, Any]
    ends: NDArray[np.int64]
    blocks: Callable[[int, int], Iterator[Any]]
    compute: Callable[[Any], Arrays]
    finish: Callable[[Parts, Path], Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    size: int = 0
    label: str = "working"
    unit: str = "rows"

    def run(self, output: Path, choices: RunChoices) -> int:
        """Do the whole job, or the shard that the choices name, into ``output``.

        Parameters
        ----------
        output
            The file to write; a folder for a shard.
        choices
            Whether to replace an output, to go on with an unfinished run, which shard, and progress.

        Returns
        -------
        How many rows were worked on.

        Raises
        ------
        BiolmError
            If the output cannot be written or the work fails; nothing half-written is left.
        """
        count = len(self.ends) - 1
        shard = None if choices.shard is None else Shard.parse(choices.shard)
        first, last = (0, count) if shard is None else shard.blocks(count)
        tidy(output)
        # Provenance holds the version of biolm: an update in between need not end a job that was killed.
        same = {name: value for name, value in self.same.items() if name != "provenance"}
        spool = Spool(output, {**same, "shard": str(shard or "")}, first, last)
        # A job that was killed once its output had its name writes that again, and so reports what it is.
        if not spool.settle(resume=choices.resume):
            refuse_existing(output, overwrite=choices.overwrite)
        with spool.open(resume=choices.resume, overwrite=choices.overwrite):
            check_free_space(
                output, self.size if shard is None else self.size * (last - first) // max(count, 1)
            )
            self._work(spool, show=choices.progress)
            rows = int(self.ends[last] - self.ends[first])
            # Before the output gets its name: nobody would look for a fault in a result that is whole.
            self._check_inputs()
            if shard is None:
                write_whole(spool.folder, output, lambda output_file: self.finish(spool.parts(), output_file))
                return rows
            record = ShardRecord(
                path=spool.folder,
                shard=shard,
                kind=self.kind,
                job=dict(self.same),
                facts={**self.facts, "blocks": count},
                digests=spool.digests(),
            )
            with writing(output):
                write_record(record)
                # It says how far an unfinished job is; a finished shard has its record instead.
                (spool.folder / "job.json").unlink()
                install(spool.folder, output)
            return rows

    def _check_inputs(self) -> None:
        """Refuse results of an input that was replaced, cut or written to while it was read."""
        for name, path in self.inputs.items():
            if stamp(path) != self.same["input"][name]:
                raise InputError(f"{path} changed while it was read; run the job again on a file that stays")

    def _work(self, spool: Spool, *, show: bool) -> None:
        start, total = (
            int(self.ends[number] - self.ends[spool.first]) for number in (spool.next, spool.last)
        )
        with progress(self.label, total, start=start, show=show, unit=self.unit) as advance:
            for block in self.blocks(spool.next, spool.last):
                number = spool.next
                spool.put(self.compute(block))
                advance(int(self.ends[number + 1] - self.ends[number]))


def block_ends(rows: int, step: int) -> NDArray[np.int64]:
    """``(k + 1,)`` ends of blocks of ``step`` rows, the last one shorter.

    Parameters
    ----------
    rows
        Of the source.
    step
        Rows of a block.

    Examples
    --------
    >>> block_ends(5, 2).tolist()
    [0, 2, 4, 5]
    """
    return np.append(np.arange(0, rows, step), rows).astype(np.int64)


def watched(source: Any) -> dict[str, Path]:
    """The file of a source, which must not change while it is read, by the name of its stamp."""
    return {} if source.path is None else {"stamp": Path(source.path)}


def made_from(given: Any) -> str:
    """Where merging finds what a job was given: the whole path; empty for what is in memory."""
    return str(Path(given).resolve()) if isinstance(given, str | Path) else ""


def shard_parts(folder: Path) -> Parts:
    """The results of a finished shard alone."""
    return Parts.of_shards([(folder, read_shard(folder).digests)], folder)


def check_outputs(output: Path, endings: tuple[str, ...], choices: RunChoices) -> None:
    """Refuse, before any work, an output that exists or is not what the choices name.

    Parameters
    ----------
    output
        What the user named.
    endings
        Endings of all files of the whole job, such as ``(".npy", ".npy.json")``; no shard has one of them.
    choices
        As for :meth:`Job.run`.

    Raises
    ------
    OutputError
        If a file exists already.
    ConfigError
        If a shard is named like a file.
    """
    tidy(output)
    if choices.resume and was_named(output):
        return
    if choices.shard is None:
        for ending in endings:
            refuse_existing(output.with_suffix(ending), overwrite=choices.overwrite)
        return
    # A folder called x.h5ad would be taken for the result by every later command.
    if output.suffix and output.suffix in endings:
        raise ConfigError(f"a shard is a folder, not a {output.suffix} file; merging writes that")
    refuse_existing(output, overwrite=choices.overwrite)


def write_whole(folder: Path, output: Path, write: Callable[[Path], Any]) -> None:
    """Write an output and what belongs beside it in ``folder``, then give all its files their names.

    Parameters
    ----------
    folder
        On the disk of the output.
    output
        The final path.
    write
        Writes to the path it is given; files beside it have the same name with another ending added.
    """
    output_file = folder / OUTPUT
    with writing(output):
        output_file.mkdir()
        write(output_file / output.name)
        # Between the two steps: with it a killed job knows that its output is whole and only lacks its name.
        (folder / MADE).touch()
        install_all(output_file, output)
