"""A run on sequences before its first step: the tokeniser, the examples, what is held out."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import make_tokenizer
from biolm.adapters.sequences.clusters import cluster_sequences
from biolm.errors import ConfigError, InputError
from biolm.models.registry import load_tokenizer
from biolm.models.sequence_language import SequenceLanguage
from biolm.options import spelled
from biolm.training.config import RunConfig
from biolm.training.data.sequences import SequenceExamples
from biolm.training.data.vocabulary import Vocabulary, in_settings

__all__ = ["SequenceVocabulary", "read_groups", "sequence_examples", "sequence_groups", "sequence_vocabulary"]

_ADAPTERS: Mapping[str, dict[str, Any]] = {
    "protein": {"family": "letters", "alphabet": "esm"},
    "dna": {"family": "letters", "alphabet": "dna"},
    "kmers": {"family": "kmers"},
    "bpe": {"family": "bpe"},
    "evo2": {"family": "letters", "alphabet": "evo2"},
    "text": {"family": "letters", "alphabet": "byte"},
}


@dataclass(frozen=True)
class SequenceVocabulary(Vocabulary):
    """A tokeniser of sequences where a run on cells has genes.

    Parameters
    ----------
    sequences
        Tokeniser and longest example.
    """

    sequences: SequenceLanguage

    @classmethod
    def of(cls, sequences: SequenceLanguage) -> SequenceVocabulary:
        """The vocabulary of a tokeniser."""
        return cls(None, dict(sequences.tokenizer.vocabulary), sequences)

    @property
    def size(self) -> int:
        """Rows of the embedding."""
        return self.sequences.tokenizer.size

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that are never hidden or predicted: special tokens, and rows that no token has."""
        special = self.sequences.tokenizer.special
        named = {special.pad, special.mask, *special.prefix, *special.suffix, *special.others}
        unknown = next((token for token, number in self.tokens.items() if number == special.unknown), "")
        if len(unknown) > 1:
            named.add(special.unknown)
        letters = set(self.tokens.values()) - named
        return tuple(number for number in range(self.size) if number not in letters)

    @property
    def mask_id(self) -> int | None:
        """Id of the mask token, None where there is none."""
        return self.sequences.tokenizer.special.mask

    def core_settings(self) -> dict[str, Any]:
        """Fields of a core that suit sequences, beside the sizes."""
        return {
            "position": "rope",
            "head": "mlm",
            "max_length": self.sequences.max_length,
            "pad_id": self.sequences.tokenizer.special.pad,
        }


def sequence_vocabulary(config: RunConfig) -> SequenceVocabulary:
    """The tokeniser that ``model.adapter`` or ``data.vocabulary`` names.

    Raises
    ------
    ConfigError
        If the adapter reads no sequences, or a setting of the tokeniser is unknown.
    CheckpointError
        If ``data.vocabulary`` is no folder of a model of sequences.
    """
    if config.data.vocabulary is not None:
        language = load_tokenizer(config.data.vocabulary)
        if not isinstance(language, SequenceLanguage):
            raise ConfigError(
                f"{config.data.vocabulary} has no tokeniser of sequences; give a model that has"
            )
        longest = language.max_length or config.model.max_length
        return SequenceVocabulary.of(replace(language, max_length=longest))
    if config.model.adapter not in _ADAPTERS:
        raise ConfigError(
            f"data.paths names sequences, which model.adapter {config.model.adapter!r} does not read; "
            f"use one of {', '.join(_ADAPTERS)}"
        )
    tokenizer = make_tokenizer({**_ADAPTERS[config.model.adapter], **config.model.tokenizer})
    return SequenceVocabulary.of(
        SequenceLanguage(name=config.name, tokenizer=tokenizer, max_length=config.model.max_length)
    )


def sequence_examples(
    files: list[Path], vocabulary: SequenceVocabulary, config: RunConfig, folder: Path | None
) -> SequenceExamples:
    """The records of the data as examples.

    Raises
    ------
    InputError
        If a file cannot be read, or holds sequences of another kind than the tokeniser reads.
    """
    long = config.data.long
    if long == "auto":
        long = "crop" if vocabulary.sequences.tokenizer.kind == "protein" else "window"
    try:
        return SequenceExamples(
            files,
            vocabulary.sequences,
            None if folder is None else folder / "sequences",
            seed=config.seed,
            long=long,
            letters=config.data.letters,
        )
    except InputError as error:
        raise InputError(spelled(str(error), in_settings)) from error


def sequence_groups(
    examples: SequenceExamples, groups: str, identity: float | None = None
) -> NDArray[np.int64]:
    """``(n,)`` group of each example: by a table, or ``clusters`` of records of an identity.

    Raises
    ------
    InputError
        If the table cannot be read or names none of the records.
    """
    if groups == "clusters":
        store = examples.store
        every = np.arange(len(store.lengths))
        block = store.block(every, np.zeros_like(store.lengths), store.lengths)
        found = cluster_sequences(block, identity=identity)
    else:
        found = read_groups(Path(groups).expanduser(), examples.store.names)
    return np.asarray(found[examples.record])


def read_groups(path: Path, names: list[str]) -> NDArray[np.int64]:
    """The group of each record; records that the table does not name are groups of their own.

    Parameters
    ----------
    path
        A table by tabs, group then member, as MMseqs2 and :func:`~biolm.adapters.sequences.write_clusters`
        write it. Groups that share a name of a member are one.
    names
        ``m`` names of the records.

    Returns
    -------
    ``(m,)`` numbers of groups.

    Raises
    ------
    InputError
        If the table cannot be read or names none of the records.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    try:
        with path.open(newline="", encoding="utf-8") as file:
            pairs = [(row[0], row[1]) for row in csv.reader(file, delimiter="\t") if len(row) >= 2]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the groups {path} cannot be read; give a table by tabs: group, member") from error
    numbers: dict[str, int] = {}
    nodes = [numbers.setdefault(name, len(numbers)) for name in names]
    members = [(group, numbers[member]) for group, member in pairs if member in numbers]
    if not members:
        raise InputError(
            f"{path} names none of the {len(names)} records; its second column must be their names"
        )
    groups = {group: len(numbers) + place for place, group in enumerate(dict.fromkeys(g for g, _ in members))}
    edges = np.array([(groups[group], member) for group, member in members], np.int64)
    size = len(numbers) + len(groups)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    found: NDArray[np.int64] = labels[np.array(nodes)].astype(np.int64)
    return found
