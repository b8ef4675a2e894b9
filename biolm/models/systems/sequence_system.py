"""A published model of sequences: which folders hold it, how it writes sequences, and how it pools.

One instance of :class:`SequenceSystem` is a whole system: a family of the core, a tokeniser, a pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.adapters.sequences import SequenceTokenizer, make_tokenizer
from biolm.errors import BiolmError, CheckpointError
from biolm.io.json_file import read_json
from biolm.models.sequence_preprocessor import SequencePreprocessor

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["Config", "SequenceSystem", "entry", "only_file", "read_vocabulary_lines"]

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSystem:
    """What tells one published system from another.

    Parameters
    ----------
    name
        Names the result: ``obsm["X_<name>"]``.
    fits
        Whether a folder with this ``config.json`` holds the system.
    tokenizer
        Makes the tokeniser from the ``config.json`` and the folder; or the name of an alphabet.
    max_length
        Most tokens of one input, special ones included, by the ``config.json``; None for no limit.
    pool, hidden_state
        How the system makes a sequence's vector.
    tokenizer_files
        Names of the files that the tokeniser is read from, for the checkpoint's hash.
    both_ways, stated
        As of :class:`~biolm.models.sequence_preprocessor.SequencePreprocessor`.
    """

    name: str
    fits: Callable[[Config, Path], bool]
    tokenizer: Callable[[Config, Path], SequenceTokenizer] | str
    max_length: Callable[[Config], int | None]
    pool: str = "mean"
    hidden_state: int = -1
    tokenizer_files: tuple[str, ...] = ()
    both_ways: bool = False
    stated: Mapping[str, str] = field(default_factory=dict)

    def recognises(self, folder: Path) -> bool:
        """Whether a folder holds a checkpoint of this system."""
        try:
            return self.fits(read_json(folder / "config.json"), folder)
        # Asked of every folder that a user names, most of which are of other systems.
        except BiolmError:
            return False

    def load_tokenizer(self, folder: Path) -> SequencePreprocessor:
        """Tokeniser and limits of a folder; the weights are not touched and torch is not imported.

        Raises
        ------
        CheckpointError
            If a file is missing or damaged, or the config lacks a field.
        """
        config = read_json(folder / "config.json")
        try:
            longest = self.max_length(config)
        except KeyError as error:
            raise CheckpointError(f"{folder / 'config.json'} lacks the field {error}") from error
        files = [folder / name for name in self.tokenizer_files]
        own = self.tokenizer
        return SequencePreprocessor(
            name=self.name,
            tokenizer=make_tokenizer(own) if isinstance(own, str) else own(config, folder),
            max_length=longest,
            # Alphabets are known here without a file; where one lies beside, it still is a part of the
            # checkpoint.
            files=tuple(path for path in files if path.is_file()),
            both_ways=self.both_ways,
            stated=self.stated,
        )

    def load(self, folder: Path) -> SequenceModel:
        """Load a folder, strictly.

        Raises
        ------
        CheckpointError, ConfigError
            If a file or weight is missing, extra, mis-shaped or unsafe.
        """
        from biolm.core.checkpoint import find_weights
        from biolm.models.families.hf import from_hf
        from biolm.models.sequence_model import SequenceModel

        preprocessor = self.load_tokenizer(folder)
        return SequenceModel(
            preprocessor,
            from_hf(folder),
            pool=self.pool,
            hidden_state=self.hidden_state,
            files=find_weights(folder),
        )


def entry(name: str, default: int | None = None) -> Callable[[Config], int]:
    """The entry of a ``config.json`` that is a system's longest input.

    Parameters
    ----------
    name
        Of the entry.
    default
        Where the file lacks it; without one, it must be there.
    """
    return lambda config: int(config[name] if default is None else config.get(name, default))


def only_file(path: Path, files: list[Path]) -> Path:
    """The one file of a model.

    Parameters
    ----------
    path
        What the user gave, for the message.
    files
        Those that may be meant.

    Raises
    ------
    CheckpointError
        If there are none or several.
    """
    if len(files) != 1:
        names = ", ".join(one.name for one in files)
        raise CheckpointError(f"{path} holds several models ({names}); give the file of one of them")
    return files[0]


def read_vocabulary_lines(folder: Path) -> dict[str, int] | None:
    """Token to id of a ``vocab.txt`` with one token a line; None where there is none."""
    path = folder / "vocab.txt"
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.strip(): number for number, line in enumerate(lines) if line.strip()}
