"""Sequences as training examples: cut to length, tokenised where they are read.

Dimensions: ``n`` examples · ``m`` records · ``t`` tokens.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.adapters.sequences import Policy, Tally, check_kind, make_tokenizer
from biolm.adapters.sequences.clusters import cluster_sequences
from biolm.adapters.sequences.kind import check_one_kind
from biolm.adapters.sequences.reading import kept_letters
from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError
from biolm.io.copied import copied
from biolm.io.label_table import read_label_table
from biolm.io.sequences import SequenceStore, build_store, holds_store, opened
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.objectives.draws import example_seeds, uniform
from biolm.training.config import DataConfig, LabelConfig, RunConfig
from biolm.training.data.examples import Examples
from biolm.training.data.groups import read_groups
from biolm.training.data.sequence_letters import known_records, pieces, read_lengths
from biolm.training.data.vocabulary import Vocabulary, tokeniser_of

__all__ = ["SequenceExamples", "sequence_vocabulary"]

log = logging.getLogger("biolm")

_CROP_STREAM = 11  # keeps the draws of crops apart from those of masks
_BLOCK = 4096
_ADAPTERS: Mapping[str, dict[str, Any]] = {
    "protein": {"family": "letters", "alphabet": "esm"},
    "dna": {"family": "letters", "alphabet": "dna"},
    "kmers": {"family": "kmers"},
    "bpe": {"family": "bpe"},
    "evo2": {"family": "letters", "alphabet": "evo2"},
    "text": {"family": "letters", "alphabet": "byte"},
}


class SequenceExamples(Examples):
    """Records of sequence files, or windows of them, numbered through; tokenised when they are read.

    Parameters
    ----------
    files
        Sequence files, or one store.
    preprocessor
        Tokeniser and longest example.
    folder
        Where letters are copied to be mapped; None for a temporary place.
    seed
        Of the run.
    long
        What becomes of a record longer than the model: ``crop`` takes another piece of it in each epoch,
        chosen by a hash of (seed, epoch, example); ``window`` makes an example of each of its pieces.
    letters
        What becomes of records with residues or bases that the model does not know.

    Raises
    ------
    InputError
        If a file cannot be read or holds another kind of sequences, for an unknown letter if that is an
        error, or if all records are left out.
    """

    def __init__(
        self,
        files: list[Path],
        preprocessor: SequencePreprocessor,
        folder: Path | None,
        *,
        seed: int,
        long: Literal["crop", "window"],
        letters: Policy = "unknown",
    ) -> None:
        self.preprocessor, self.seed, self.long = preprocessor, seed, long
        self.drawn = long == "crop"
        self.store = SequenceStore(_stored(self, files, folder))
        assert preprocessor.max_length is not None
        self.longest = preprocessor.max_length
        self.width = (self.longest - sum(preprocessor.special)) * preprocessor.tokenizer.stride
        # What is found in whole records; blocks() counts the rest where it is read.
        self._found = Tally()
        tokenizer = preprocessor.tokenizer
        self.lengths = read_lengths(self.store, tokenizer, self._found)
        if long == "crop":
            self.record = np.arange(len(self.lengths))
            self.begin = np.zeros(len(self.lengths), np.int64)
        else:
            self.record, self.begin = pieces(self.lengths, self.width)
        self._check(files[0])
        if letters != "unknown":
            known = known_records(self.store, self.lengths, self.width, tokenizer, letters, self._found)
            kept = known[self.record]
            self.record, self.begin = self.record[kept], self.begin[kept]
        self.tally = Tally()

    def _check(self, path: Path) -> None:
        first = np.arange(min(len(self.record), 256))
        check_kind(self._letters(first), self.preprocessor.tokenizer.kind, name=str(path))

    def __len__(self) -> int:
        return len(self.record)

    def _letters(self, rows: NDArray[np.int64]) -> Any:
        record, begin = self.record[rows], self.begin[rows]
        lengths = self.lengths[record]
        if self.long == "crop":
            slack = (lengths - self.width).clip(0)
            keys = torch.from_numpy(rows.astype(np.int64))
            chance = uniform(example_seeds(keys, self.epoch or 0, self.seed, _CROP_STREAM), 0).numpy()
            # slack + 1 places: the last crop ends with the sequence.
            begin = (chance * (slack + 1)).astype(np.int64)
        return self.store.block(record, begin, np.minimum(begin + self.width, lengths))

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the examples ``rows`` (ascending)."""
        return self._tokens(rows, None)

    def _tokens(self, rows: NDArray[np.int64], tally: Tally | None) -> Tokens:
        block = self._letters(rows)
        # A piece of a chromosome may be all gap; it keeps its special tokens.
        block = block.keep(kept_letters(block, self.preprocessor.tokenizer, tally, whole=False))
        tokens = self.preprocessor.tokenizer.tokenize(block, tally=tally)
        return _shortened(tokens, rows, self.longest, self.preprocessor.special[1])

    def blocks(self) -> Iterator[Tokens]:
        """All examples in order; residues or bases that have no token are counted in ``tally``."""
        self.tally = replace(self._found, letters=Counter(self._found.letters))
        for start in range(0, len(self.record), _BLOCK):
            yield self._tokens(np.arange(start, min(start + _BLOCK, len(self.record))), self.tally)
        if sentence := self.tally.sentence():
            log.warning("%s", sentence)

    def column(self, name: str, chosen: LabelConfig) -> NDArray[Any]:
        """``(n,)`` values of a column of the table of records that ``data.labels`` names."""
        if chosen.table is None:
            raise InputError(f"sequences have no column {name!r}; name a table (data.labels.{name}.table)")
        table = read_label_table(chosen.table, self.store.names)
        return table.column(chosen.column or name)[self.record]

    def groups(self, data: DataConfig) -> NDArray[np.int64]:
        """``(n,)`` group of each example: by a table, or ``clusters`` of records of an identity."""
        if data.groups == "clusters":
            every = np.arange(len(self.store.lengths))
            block = self.store.block(every, np.zeros_like(self.store.lengths), self.store.lengths)
            # By whole records: windows of one sequence are never torn apart.
            of_records = cluster_sequences(block, identity=data.identity)
        else:
            of_records = read_groups(Path(str(data.groups)).expanduser(), self.store.names)
        return np.asarray(of_records[self.record])


def sequence_vocabulary(config: RunConfig) -> Vocabulary:
    """The tokeniser that ``model.adapter`` or ``data.vocabulary`` names.

    Raises
    ------
    ConfigError
        If the adapter reads no sequences, or a setting of the tokeniser is unknown.
    CheckpointError
        If ``data.vocabulary`` is no folder of a model of sequences.
    """
    if config.data.vocabulary is not None:
        preprocessor = tokeniser_of(config.data.vocabulary, SequencePreprocessor)
        longest = preprocessor.max_length or config.model.max_length
        return Vocabulary.of_alphabet(replace(preprocessor, max_length=longest))
    if config.model.adapter not in _ADAPTERS:
        raise ConfigError(
            f"data.paths names sequences, which model.adapter {config.model.adapter!r} does not read; "
            f"use one of {', '.join(_ADAPTERS)}"
        )
    tokenizer = make_tokenizer({**_ADAPTERS[config.model.adapter], **config.model.tokenizer})
    return Vocabulary.of_alphabet(
        SequencePreprocessor(name=config.name, tokenizer=tokenizer, max_length=config.model.max_length)
    )


def _stored(owner: SequenceExamples, files: list[Path], folder: Path | None) -> Path:
    """The store that holds the files' letters."""
    if len(files) == 1 and holds_store(files[0]):
        return files[0]
    if folder is None:
        place = Path(tempfile.mkdtemp(prefix="biolm-"))
        # A plan without a folder leaves nothing behind, also where it fails.
        weakref.finalize(owner, shutil.rmtree, place, ignore_errors=True)
        folder = place / "sequences"
    return copied(files, folder, lambda place: _build(files, place))


def _build(files: list[Path], place: Path) -> None:
    check_one_kind(files)
    build_store(opened(files), place)


def _shortened(tokens: Tokens, rows: NDArray[np.int64], limit: int, suffix: int) -> Tokens:
    """At most ``limit`` tokens an example, its closing special tokens kept."""
    lengths = tokens.lengths
    if (lengths <= limit).all():
        return Tokens(ids=tokens.ids, offsets=tokens.offsets, index=rows)
    place = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], lengths)
    whole = np.repeat(lengths, lengths)
    # The end token says that a sequence is over, and a model that never sees it writes without end.
    keep = (whole <= limit) | (place < limit - suffix) | (place >= whole - suffix)
    offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, limit))]).astype(np.int64)
    return Tokens(ids=tokens.ids[keep], offsets=offsets, index=rows)
