"""Kinds of data that a run trains on: how files are recognised, and what becomes of them.

A kind is one entry: a vocabulary and examples. Other packages add theirs with the entry point group
``biolm.modalities``: the :class:`~biolm.jobs.modality.Modality` that it names has a :class:`Kind` as its
``training``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from biolm.errors import ConfigError, InputError
from biolm.options import spelled
from biolm.progress import log
from biolm.training.config import DataConfig, RunConfig
from biolm.training.data.cell_files import CellFiles, in_settings
from biolm.training.data.cells import CellExamples
from biolm.training.data.examples import Examples
from biolm.training.data.gene_vocabulary import match_files, vocabulary_of_data
from biolm.training.data.sequences import SequenceExamples, sequence_vocabulary
from biolm.training.data.sources import holds_sequences, holds_tokens
from biolm.training.data.stored import StoredExamples, check_tokens
from biolm.training.data.vocabulary import Vocabulary, preprocessor_of_folder

__all__ = ["Kind", "OpenData", "kind_of"]


class OpenData(Protocol):
    """Open files of one kind."""

    def vocabulary(self, checkpoint: Path | None) -> Vocabulary:
        """What makes tokens of the data.

        It comes from ``data.vocabulary``, the last checkpoint of a run that goes on, or the data themselves.
        """
        ...

    def examples(self, vocabulary: Vocabulary, folder: Path | None) -> Examples:
        """The data as examples; ``folder`` is that of the run, None to plan only.

        Parameters
        ----------
        vocabulary
            Of the model that is trained.
        folder
            Of the run; None to plan only.
        """
        ...

    def close(self) -> None:
        """Close the files, of a run that did not come about."""
        ...


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of data.

    Parameters
    ----------
    name
        What it is called.
    reads
        Which vocabularies fit, see :class:`~biolm.training.data.vocabulary.Vocabulary`.
    recognises
        Whether a file is of this kind.
    open
        Opens files for a config.
    """

    name: str
    reads: str
    recognises: Callable[[Path], bool]
    open: Callable[[list[Path], RunConfig], OpenData]


class _Cells:
    def __init__(self, files: list[Path], config: RunConfig) -> None:
        data = config.data
        self.config = config
        self.files = CellFiles(files, matrix=data.layer, counts=not data.allow_normalised)

    def vocabulary(self, checkpoint: Path | None) -> Vocabulary:
        config = self.config
        if config.data.vocabulary is not None:
            return preprocessor_of_folder(config.data.vocabulary, config.model.tokenizer)
        if checkpoint is not None:
            return preprocessor_of_folder(str(checkpoint))
        return vocabulary_of_data(self.files, config.data, config.model, config.name)

    def examples(self, vocabulary: Vocabulary, folder: Path | None) -> CellExamples:  # noqa: ARG002
        data = self.config.data
        assert vocabulary.genes is not None
        matches = match_files(self.files, vocabulary.genes.vocabulary, data)
        for path, match in zip(self.files.paths, matches, strict=True):
            report = match.report
            log.info("%s: %s of %s genes have a token", path, f"{report.matched:,}", f"{report.total:,}")
        return CellExamples(
            self.files,
            matches,
            vocabulary.genes,
            seed=self.config.seed,
            downsample=data.downsample,
            zeros=data.zeros,
        )

    def close(self) -> None:
        self.files.close()


class _Sequences:
    def __init__(self, files: list[Path], config: RunConfig) -> None:
        _refuse_cell_settings(config.data, "sequences")
        self.files, self.config = files, config

    def vocabulary(self, checkpoint: Path | None) -> Vocabulary:  # noqa: ARG002  # the config says all
        return sequence_vocabulary(self.config)

    def examples(self, vocabulary: Vocabulary, folder: Path | None) -> SequenceExamples:
        assert vocabulary.alphabet is not None
        long = self.config.data.long
        if long == "auto":
            # Proteins are wholes, of which a part is shown; a chromosome is only read through in windows.
            long = "crop" if vocabulary.alphabet.tokenizer.kind == "protein" else "window"
        try:
            return SequenceExamples(
                self.files,
                vocabulary.alphabet,
                None if folder is None else folder / "sequences",
                seed=self.config.seed,
                long=long,
                letters=self.config.data.letters,
            )
        except InputError as error:
            raise InputError(spelled(str(error), in_settings)) from error

    def close(self) -> None:
        pass


class _Stored:
    def __init__(self, files: list[Path], config: RunConfig) -> None:
        if config.data.vocabulary is None and config.model.start is None:
            raise ConfigError(
                "stored tokens need data.vocabulary or model.start: the folder of the model they were made "
                "with"
            )
        self.files, self.config = files, config

    def vocabulary(self, checkpoint: Path | None) -> Vocabulary:  # noqa: ARG002  # the config says all
        return preprocessor_of_folder(str(self.config.data.vocabulary), self.config.model.tokenizer)

    def examples(self, vocabulary: Vocabulary, folder: Path | None) -> StoredExamples:
        _refuse_cell_settings(self.config.data, "stored tokens")
        check_tokens(self.files, vocabulary)
        return StoredExamples(self.files, None if folder is None else folder / "tokens")

    def close(self) -> None:
        pass


def _refuse_cell_settings(data: DataConfig, kind: str) -> None:
    """Refuse what only cells have."""
    if data.downsample is not None:
        raise ConfigError(f"data.downsample reduces the counts of cells, which {kind} lack; leave it out")
    if data.zeros:
        raise ConfigError(f"data.zeros is for cells; leave it out for {kind}")


_SEQUENCES = Kind(name="sequences", reads="sequences", recognises=holds_sequences, open=_Sequences)
_STORED = Kind(name="stored tokens", reads="cells", recognises=holds_tokens, open=_Stored)
# Their readers say what can be read, so that they refuse what nobody recognises.
_CELLS = Kind(name="cells", reads="cells", recognises=lambda path: True, open=_Cells)  # noqa: ARG005


def kind_of(files: list[Path]) -> Kind:
    """The kind of the files of a run.

    Raises
    ------
    ConfigError
        If they are of several kinds.
    """
    entries = (point.load() for point in entry_points(group="biolm.modalities"))
    registered: list[Kind] = [entry.training for entry in entries if getattr(entry, "training", None)]
    # Stores are asked first: tokens may lie in a zarr folder, which readers of cells would try to open.
    known = [_SEQUENCES, _STORED, *registered, _CELLS]
    of_files = [next(kind for kind in known if kind.recognises(path)) for path in files]
    kinds = [kind for kind in known if kind in of_files]
    if len(kinds) > 1:
        names = " with ".join(kind.name for kind in kinds)
        raise ConfigError(f"data.paths mixes {names}; train on one kind")
    return kinds[0]
