"""Choices of a job that embeds sequences, told from those for cells; and which files hold sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from biolm.adapters.sequences import Policy, check_policy
from biolm.errors import ConfigError
from biolm.io.sequences import named_as_sequences
from biolm.jobs.embed_settings import EmbedKeywords, EmbedSettings, check_embed_values

__all__ = ["SequenceSettings", "cell_options", "is_sequence_file", "sequence_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSettings:
    """Choices of a job that embeds sequences; those of cells that mean the same have the same names.

    Parameters
    ----------
    key, pool, hidden_state, precision, compile, batch_tokens, device, block_rows, resume, format
        As of :class:`~biolm.jobs.embed_settings.EmbedSettings`.
    overwrite, progress
        As of :class:`~biolm.jobs.settings.ReadingSettings`.
    letters
        What is done with letters that the model does not know: ``error`` stops, ``unknown`` reads them as
        its unknown token, ``skip`` leaves the record out.
    duplicates
        ``error`` refuses names that repeat, ``keep`` takes the records as they come.
    windows
        Read sequences longer than the model in overlapping windows.
    window, overlap
        Most tokens of a window, special ones included, and least tokens that two share; the model's own
        length and a quarter of it by default.
    per_residue
        A row for each residue, base or token instead of one for each sequence.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    key: str | None = None
    pool: str | None = None
    hidden_state: int | None = None
    precision: str = "float32"
    compile: bool = False
    batch_tokens: int = 16_384
    device: str = "auto"
    block_rows: int | None = None
    resume: bool = False
    format: str | None = None
    overwrite: bool = False
    progress: bool = False
    letters: Policy = "unknown"
    duplicates: str = "error"
    windows: bool = True
    window: int | None = None
    overlap: int | None = None
    per_residue: bool = False

    def __post_init__(self) -> None:
        check_embed_values(self)
        check_policy(self.letters)
        if self.duplicates not in ("error", "keep"):
            raise ConfigError(f"duplicates must be error or keep, not {self.duplicates!r}")
        if self.per_residue and self.pool is not None:
            raise ConfigError("per_residue gives every token its vector, so it takes no pool; choose one")


def sequence_settings(options: Mapping[str, Any]) -> SequenceSettings:
    """Settings from options of ``embed``, some of which are for cells alone.

    Raises
    ------
    ConfigError
        If one of those was chosen.
    """
    names = {entry.name for entry in fields(SequenceSettings)}
    cells = {entry.name: entry.default for entry in fields(EmbedSettings)}
    for name, value in options.items():
        if name not in names and value != cells.get(name, value) and name != "seed":
            raise ConfigError(f"{name} is for tables of cells and means nothing for sequences; leave it out")
    return SequenceSettings(**{name: value for name, value in options.items() if name in names})


def cell_options(options: Mapping[str, Any]) -> EmbedKeywords:
    """Options of ``embed`` for cells, some of which are for sequences alone.

    Raises
    ------
    ConfigError
        If one of those was chosen.
    """
    ours = {entry.name: entry.default for entry in fields(SequenceSettings)}
    alone = ours.keys() - EmbedKeywords.__annotations__.keys() - {"key"}
    for name in sorted(alone & options.keys()):
        if options[name] != ours[name]:
            raise ConfigError(f"{name} is for sequences and means nothing for tables of cells; leave it out")
    left = {name: value for name, value in options.items() if name not in alone}
    return cast(EmbedKeywords, left)


def is_sequence_file(path: str | Path) -> bool:
    """Whether a path names sequences: by its ending, by ``>`` at its beginning, or ``-`` for stdin.

    Examples
    --------
    >>> is_sequence_file("proteins.fasta.gz"), is_sequence_file("cells.h5ad")
    (True, False)
    """
    place = Path(path)
    if str(path) == "-" or named_as_sequences(place):
        return True
    if not place.is_file():
        return False
    with place.open("rb") as file:
        return file.read(1) == b">"
