"""Contacts of a sequence file: a table or maps in a file, precision beside a structure, a picture.

Dimensions: ``s`` residues of a sequence.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Policy, Tally
from biolm.errors import ConfigError, InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.structures import Chain
from biolm.progress import log
from biolm.tasks.attention import picture_format
from biolm.tasks.contacts.contacts import ContactMap, contacts, fit_contacts, precision, read_chains

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["ContactSettings", "ContactSummary", "contacts_file", "draw_contacts"]

_FORMATS = ("tsv", "npz")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactSettings:
    """Choices of a job.

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
        What is done with letters that the model does not know.
    overwrite
        Whether existing outputs may be replaced.
    """

    least: float = 0.1
    structure: str | None = None
    fit: tuple[str, ...] = ()
    picture: Path | None = None
    device: str = "auto"
    letters: Policy = "unknown"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise ConfigError(f"the least probability lies from 0 to 1, not at {self.least}")


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
        Of the first sequence, by :data:`~biolm.tasks.contacts.contacts.RANGES`; empty without a structure.
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
    form = target.suffix.removeprefix(".").lower()
    if form not in _FORMATS:
        raise ConfigError(f"{target} names no format; use an ending among .{', .'.join(_FORMATS)}")
    if settings.picture is not None:
        picture_format(settings.picture)
    for place in (target, settings.picture):
        if place is not None:
            refuse_existing(place, overwrite=settings.overwrite)
    chain = read_chains([settings.structure])[0] if settings.structure else None
    weights = None
    if settings.fit:
        weights = fit_contacts(read_chains(settings.fit), model=model, device=settings.device)
    shares: dict[str, float] = {}
    counts = {"sequences": 0, "pairs": 0}

    tally = Tally()

    def looked_at() -> Iterator[ContactMap]:
        chosen: dict[str, Any] = {"weights": weights, "device": settings.device, "letters": settings.letters}
        for found in contacts(path, model=model, tally=tally, **chosen):
            if not counts["sequences"]:
                if chain is not None:
                    shares.update(precision(found, chain))
                if settings.picture is not None:
                    draw_contacts(found, settings.picture, chain, overwrite=settings.overwrite)
            counts["sequences"] += 1
            counts["pairs"] += sum(1 for _ in found.pairs(settings.least))
            yield found
        if not counts["sequences"]:
            raise InputError(
                f"every record of {path} was left out; read their letters as unknown (--letters unknown)"
            )

    with replacing(target, overwrite=settings.overwrite) as temporary:
        write = _write_table if form == "tsv" else _write_maps
        write(temporary, looked_at(), settings.least)
    if sentence := tally.sentence():
        log.warning("%s", sentence)
    return ContactSummary(output=target, precision=shares, letters=tally.facts(), **counts)


def _write_table(target: Path, maps: Iterable[ContactMap], least: float) -> None:
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["sequence", "first", "second", "residues", "probability"])
        for found in maps:
            for first, second, value in found.pairs(least):
                residues = found.sequence[first] + found.sequence[second]
                writer.writerow([found.name, first + 1, second + 1, residues, f"{value:.4f}"])


def _write_maps(target: Path, maps: Iterable[ContactMap], least: float) -> None:  # noqa: ARG001  # maps are whole
    names = []
    with zipfile.ZipFile(target, "w") as archive:
        for number, found in enumerate(maps):
            names.append(found.name)
            _put(archive, f"map_{number}", found.probabilities)
        _put(archive, "names", np.array(names, str))


def _put(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    # A fixed time, so that the same maps are the same bytes.
    with archive.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, values, allow_pickle=False)


def draw_contacts(
    found: ContactMap, output: str | Path, chain: Chain | None = None, *, overwrite: bool = False
) -> None:
    """Draw a contact map: probabilities above the diagonal; below it those of the structure, where given.

    Raises
    ------
    ConfigError
        If the ending is not one of a picture.
    InputError
        If the structure is of another protein.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from biolm.tasks.contacts.contacts import align_chain

    target = Path(output)
    kind = picture_format(target)
    length = len(found.sequence)
    shown = found.probabilities.copy()
    title = found.name
    if chain is not None:
        place = align_chain(found, chain)
        held = np.flatnonzero(place >= 0)
        known = np.full((length, length), np.nan, np.float32)
        known[np.ix_(held, held)] = chain.contacts[np.ix_(place[held], place[held])]
        below = np.tril_indices(length, -1)
        shown[below] = known[below]
        title = f"{found.name} (above) and {chain.name} (below)"
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(
        shown,
        cmap="Blues",
        vmin=0,
        vmax=1,
        extent=(0.5, length + 0.5, length + 0.5, 0.5),
        interpolation="none",
    )
    axes.set(xlabel="residue", ylabel="residue")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, label="probability of contact", shrink=0.8)
    with replacing(target, overwrite=overwrite) as temporary:
        figure.savefig(
            temporary, format=kind, dpi=150, metadata={"Software": None} if kind == "png" else None
        )
