"""The torch-free half of a model of sequences: its name, its tokeniser, its longest input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from biolm.adapters.sequences import Policy, SequenceTokenizer, Tally, make_tokenizer
from biolm.batch import Tokens
from biolm.io.sequences import SequenceBlock
from biolm.vocab.residues import Kind

__all__ = ["SequencePreprocessor", "sequence_metadata", "sequence_preprocessor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencePreprocessor:
    """How a model reads sequences, without its weights.

    Parameters
    ----------
    name
        Names the model.
    tokenizer
        Turns blocks of sequences into tokens.
    max_length
        Most tokens of a sequence, special ones included; None where there is no limit.
    files
        What it was read from, for the checkpoint's hash.
    both_ways
        Whether a decoder was trained on sequences read backwards too, from its suffix to its prefix.
    stated
        What the user states of all sequences, such as the chain and species of antibodies.
    lineages
        Whether it was trained on lineages in front of sequences, see :func:`biolm.vocab.lineage.lineage_tag`.
    published
        Names of the system's submodules in its authors' code, as patterns, and in the core.
    """

    modality: ClassVar[str] = "sequences"
    n_genes: ClassVar[int | None] = None
    name: str
    tokenizer: SequenceTokenizer
    max_length: int | None = None
    files: tuple[Path, ...] = ()
    both_ways: bool = False
    stated: Mapping[str, str] = field(default_factory=dict)
    lineages: bool = False
    published: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> Kind:
        """``protein``, ``dna`` or ``text``."""
        return self.tokenizer.kind

    @property
    def instead(self) -> str:
        """What it reads instead of genes, in words."""
        most = "" if self.max_length is None else f", at most {self.max_length:,} of a sequence"
        return f"none; reads {self.kind} in {self.tokenizer.size:,} tokens{most}"

    @property
    def special(self) -> tuple[int, int]:
        """Special tokens before and after every sequence."""
        return len(self.tokenizer.special.prefix), len(self.tokenizer.special.suffix)

    def tokenize(
        self, block: SequenceBlock, *, policy: Policy = "unknown", tally: Tally | None = None
    ) -> Tokens:
        """Packed tokens of a block, record numbers in ``index``."""
        return self.tokenizer.tokenize(block, policy=policy, tally=tally)


def sequence_metadata(preprocessor: SequencePreprocessor) -> dict[str, Any]:
    """What :func:`sequence_preprocessor` reads, as plain values for ``preprocessing.json``."""
    return {"sequences": preprocessor.tokenizer.settings(), "max_length": preprocessor.max_length}


def sequence_preprocessor(
    metadata: Mapping[str, Any], name: str, files: tuple[Path, ...] = ()
) -> SequencePreprocessor:
    """A preprocessor from :func:`sequence_metadata`.

    Parameters
    ----------
    metadata
        From :func:`sequence_metadata`.
    name
        Names the model.
    files
        What it was read from.

    Raises
    ------
    KeyError
        If a fact is missing.
    ConfigError
        If there is no such tokeniser.
    """
    return SequencePreprocessor(
        name=name,
        tokenizer=make_tokenizer(metadata["sequences"]),
        max_length=metadata["max_length"],
        files=files,
    )
