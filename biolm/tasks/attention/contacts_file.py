"""Contacts of a sequence file: a table or maps in a file, precision beside a structure, a picture.

Dimensions: ``s`` residues of a sequence.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Policy, Tally
from biolm.common_options import LETTERS, Device, Overwrite, Progress
from biolm.errors import ConfigError, InputError
from biolm.io.atomic import refuse_existing
from biolm.io.provenance import plain, stamp
from biolm.io.sequences import SequenceBlock
from biolm.jobs.job import Job, check_outputs
from biolm.jobs.merging import Merging
from biolm.jobs.settings import RunSettings
from biolm.jobs.spool import Parts
from biolm.options import Option, check_options
from biolm.progress import log
from biolm.report.picture import picture_format
from biolm.tasks.attention.contacts import (
    ContactMap,
    contact_model,
    contacts,
    fit_contacts,
    precision,
    protein_blocks,
    read_chains,
)
from biolm.tasks.attention.contacts_draw import draw_contacts

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["ContactSettings", "ContactSummary", "contacts_file", "merge_contacts"]

KIND = "contacts"
_RECORDS = 16  # proteins of a block
_FORMATS = ("tsv", "npz")


@dataclass(frozen=True, kw_only=True)
class ContactSettings(RunSettings):
    """Choices of a job, beside those of :class:`~biolm.jobs.settings.RunSettings`.

    Parameters
    ----------
    least
        Least probability of a pair in the table.
    structure
        ``FILE`` or ``FILE:CHAIN`` of the first sequence, to measure precision against.
    fit
        Structures to fit the weights of the heads on, in place of the checkpoint's.
    picture
        Where to draw the first sequence's contacts.
    device
        Where to compute.
    letters
        What is done with residues or bases that the model does not know.
    overwrite, progress
        Whether existing outputs may be replaced; whether to draw progress.

    Raises
    ------
    ConfigError
        If a value is out of range, or a shard is asked to look at the first sequence.
    """

    least: Annotated[float, Option(help="Least probability of a pair in the table.", min=0, max=1)] = 0.1
    structure: Annotated[
        str | None,
        Option(help="FILE or FILE:CHAIN of the first protein, for precision.", shown="none"),
    ] = None
    fit: Annotated[
        tuple[str, ...],
        Option(help="Structure to weigh the heads on; may be repeated.", shown="the model's own"),
    ] = ()
    picture: Annotated[
        Path | None, Option(help="Also draw the first: .png, .svg or .pdf.", shown="none", panel="Output")
    ] = None
    device: Device = "auto"
    letters: Annotated[Policy, replace(LETTERS, only=())] = "unknown"
    overwrite: Overwrite = False
    progress: Progress = False

    def __post_init__(self) -> None:
        check_options(self)
        self.check_run()
        if self.shard is not None and (self.structure is not None or self.picture is not None):
            raise ConfigError("structure and picture are of the whole job, not of a shard; leave them out")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactSummary:
    """What a job did.

    Parameters
    ----------
    output
        The file.
    sequences, pairs
        How many were read, and how many pairs of them are at least as probable as asked for.
    precision
        Of the first sequence, by :data:`~biolm.tasks.attention.contacts.RANGES`; empty without a structure.
    letters
        What was met in the sequences that is not simply read; see :meth:`Tally.facts`.
    """

    output: Path
    sequences: int
    pairs: int
    precision: dict[str, float] = field(default_factory=dict)
    letters: dict[str, Any] = field(default_factory=dict)


def contacts_file(
    path: str | Path, output: str | Path, model: str | Path | SequenceModel, settings: ContactSettings
) -> ContactSummary:
    """Write the contacts of the proteins of a file.

    Parameters
    ----------
    path
        A sequence file.
    output
        ``.tsv``: a row a pair, places from 1. ``.npz``: ``names`` and the maps ``map_0``, ``map_1`` ...
    model
        Name, folder or loaded model.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        If input, model, structure or output cannot be used; nothing half-written is left.
    """
    target = Path(output)
    form = "" if settings.shard else _form(target, settings.format)
    if settings.picture is not None:
        picture_format(settings.picture)
        refuse_existing(settings.picture, overwrite=settings.overwrite)
    check_outputs(target, (".tsv", ".npz") if settings.shard else (target.suffix,), settings)
    chain = read_chains([settings.structure])[0] if settings.structure else None
    reader = contact_model(model)
    weights = None
    if settings.fit:
        weights = fit_contacts(read_chains(settings.fit), model=reader, device=settings.device)
    tally, ends = Tally(), [0]
    for block in protein_blocks(path, reader, settings.letters, tally, _RECORDS):
        # One pass without the model: the letter policy decides how many proteins a job has.
        ends.append(ends[-1] + len(block))
    if sentence := tally.sentence():
        log.warning("%s", sentence)
    if not ends[-1]:
        raise InputError(
            f"every record of {path} was left out; read unknown residues or bases as such "
            "(`letters='unknown'`)"
        )
    work = _Work(path=path, model=reader, weights=weights, settings=settings)
    shares: dict[str, float] = {}

    def finish(parts: Parts, temporary: Path) -> None:
        first = next(_maps(parts))
        # Blocks of an earlier run count too.
        work.pairs = sum(1 for each in _maps(parts) for _ in each.pairs(settings.least))
        if chain is not None:
            shares.update(precision(first, chain))
        if settings.picture is not None:
            draw_contacts(first, settings.picture, chain, overwrite=settings.overwrite)
        _write(temporary, form, parts, settings.least)

    sequences = Job(
        kind=KIND,
        same={
            "input": {"stamp": stamp(Path(path)), "records": ends[-1]},
            "model": plain(reader.describe()),
            "options": {name: getattr(settings, name) for name in ("least", "fit", "device", "letters")},
        },
        inputs={"stamp": Path(path)},
        ends=np.array(ends, np.int64),
        blocks=work.blocks,
        compute=work.compute,
        finish=finish,
        label="reading contacts",
        unit="proteins",
    ).run(target, settings)
    return ContactSummary(
        output=target, sequences=sequences, pairs=work.pairs, precision=shares, letters=tally.as_dict()
    )


def merge_contacts(merging: Merging) -> int:
    """Write the contacts of all shards as the whole job would; how many proteins there are."""
    merging.refuse_data("contacts")
    form, least, parts = _form(merging.target, merging.form), merging.job["options"]["least"], merging.parts
    merging.write(lambda temporary: _write(temporary, form, parts, least))
    return sum(len(part["lengths"]) for part in parts)


def _form(target: Path, chosen: str | None) -> str:
    form = chosen or target.suffix.removeprefix(".").lower()
    if form not in _FORMATS:
        raise ConfigError(f"{target} names no format; use an ending among .{', .'.join(_FORMATS)}")
    return form


@dataclass(kw_only=True)
class _Work:
    """Reads the contacts of a file block by block."""

    path: str | Path
    model: SequenceModel
    weights: NDArray[np.float32] | None
    settings: ContactSettings
    pairs: int = 0

    def blocks(self, first: int, last: int) -> Iterator[SequenceBlock]:
        """The blocks ``first`` to ``last`` of proteins that are read."""
        whole = protein_blocks(self.path, self.model, self.settings.letters, Tally(), _RECORDS)
        yield from islice(whole, first, last)

    def compute(self, block: SequenceBlock) -> dict[str, NDArray[Any]]:
        """Maps of one block, end to end."""
        chosen: dict[str, Any] = {"weights": self.weights, "device": self.settings.device}
        maps = list(contacts(block, model=self.model, **chosen))
        self.pairs += sum(1 for each in maps for _ in each.pairs(self.settings.least))
        nothing = np.zeros(0, np.float32)
        return {
            "names": np.array([each.name for each in maps], str),
            "sequences": np.array([each.sequence for each in maps], str),
            "lengths": np.array([len(each.sequence) for each in maps], np.int64),
            "maps": np.concatenate([nothing, *(each.probabilities.ravel() for each in maps)]),
        }


def _maps(parts: Parts) -> Iterator[ContactMap]:
    for part in parts:
        ends = np.cumsum(part["lengths"] ** 2)
        for row, (name, text) in enumerate(zip(part["names"], part["sequences"], strict=True)):
            size = int(part["lengths"][row])
            # Maps lie end to end, each as large as its length squared.
            whole = part["maps"][ends[row] - size**2 : ends[row]]
            yield ContactMap(str(name), str(text), whole.reshape(size, size))


def _write(temporary: Path, form: str, parts: Parts, least: float) -> None:
    write = _write_table if form == "tsv" else _write_maps
    write(temporary, _maps(parts), least)


def _write_table(target: Path, maps: Iterable[ContactMap], least: float) -> None:
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["sequence", "first", "second", "residues", "probability"])
        for each in maps:
            for first, second, value in each.pairs(least):
                residues = each.sequence[first] + each.sequence[second]
                writer.writerow([each.name, first + 1, second + 1, residues, f"{value:.4f}"])


def _write_maps(target: Path, maps: Iterable[ContactMap], least: float) -> None:  # noqa: ARG001  # maps are whole
    names = []
    with zipfile.ZipFile(target, "w") as archive:
        for number, each in enumerate(maps):
            names.append(each.name)
            _put(archive, f"map_{number}", each.probabilities)
        _put(archive, "names", np.array(names, str))


def _put(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    # A fixed time, so that the same maps are the same bytes.
    with archive.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, values, allow_pickle=False)
