"""What sequences begin with or leave open: prompts and templates, read and checked against the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally, check_kind, cleaned
from biolm.adapters.sequences.base import MASKED
from biolm.adapters.sequences.kmers import KmerTokenizer
from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock, concatenate_blocks, open_sequences
from biolm.progress import log

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["OPEN", "Prompt", "letter_tokens", "read_prompts", "usable_prompts"]

OPEN = MASKED
"""Stands for a residue that the model is to choose."""

_PLAIN = {"protein": "ACDEFGHIKLMNPQRSTVWY", "dna": "ACGT"}
_WORDS = {"protein": "proteins", "dna": "DNA", "text": "text"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """Letters to begin with, or with open places, and the ``name`` that results are called after."""

    name: str
    letters: str

    @property
    def places(self) -> list[int]:
        """Open places."""
        return [place for place, letter in enumerate(self.letters) if letter == OPEN]


def read_prompts(given: str | Path | Sequence[str] | SequenceBlock | None) -> list[Prompt]:
    """Prompts from letters, a list of them, a sequence file or records in memory.

    Parameters
    ----------
    given
        A path, or text that names a file, is read; other text is letters. None is one empty prompt.

    Raises
    ------
    InputError
        If the file cannot be read, or two prompts have the same name.

    Examples
    --------
    >>> read_prompts(["MKT", "AG"])
    [Prompt(name='prompt1', letters='MKT'), Prompt(name='prompt2', letters='AG')]
    """
    if given is None:
        return [Prompt("generated", "")]
    if isinstance(given, Path) or (isinstance(given, str) and given and _is_file(given)):
        with open_sequences(given) as source:
            block = concatenate_blocks(list(source.blocks()))
    elif isinstance(given, SequenceBlock):
        block = given
    else:
        texts = [given] if isinstance(given, str) else list(given)
        return [Prompt(f"prompt{number}", text.upper()) for number, text in enumerate(texts, 1)]
    # Results are named by their prompt.
    if len(set(block.names)) < len(block):
        twice = next(name for name in block.names if block.names.count(name) > 1)
        raise InputError(f"two prompts are named {twice!r}; rename one")
    return [Prompt(name, block.text(row).upper()) for row, name in enumerate(block.names)]


def usable_prompts(
    prompts: Sequence[Prompt], reader: SequenceModel, letters: str = "error", tally: Tally | None = None
) -> list[Prompt]:
    """Prompts as the model is to read them: without gaps, final stops and marks of its tokeniser.

    Parameters
    ----------
    prompts
        As :func:`read_prompts` gives them.
    reader
        The model.
    letters
        ``error`` or ``skip``, for prompts with residues or bases that the model does not know.
    tally
        Counts what is taken out and left out.

    Raises
    ------
    InputError
        If there is none or none is left, one is of the other kind of sequence, or holds a letter that the
        model does not know.
    """
    if not prompts:
        raise InputError("there is no prompt; give one or leave prompts out")
    tally = Tally() if tally is None else tally
    cleaner = [_cleaned(prompt, reader, tally) if prompt.letters else prompt for prompt in prompts]
    usable = [prompt for prompt in cleaner if _known(prompt, reader, letters, tally)]
    if sentence := tally.sentence():
        log.warning("prompts: %s", sentence)
    if not usable:
        raise InputError(
            "every prompt was left out for residues or bases that the model does not know; correct them"
        )
    return usable


def _known(prompt: Prompt, reader: SequenceModel, letters: str, tally: Tally) -> bool:
    """Whether the model knows every letter of a prompt."""
    # Open places are no letters, and would make any template unreadable.
    bare = SequenceBlock.of([prompt.letters.replace(OPEN, "")], [prompt.name])
    check_kind(bare, reader.kind, name=f"prompt {prompt.name!r}")
    unknown = Tally()
    reader.tokenize(bare, policy="unknown", tally=unknown)
    if not unknown.letters:
        return True
    if letters == "error":
        named = ", ".join(repr(letter) for letter in sorted(unknown.letters)[:6])
        raise InputError(
            f"prompt {prompt.name!r} holds residues or bases that model {reader.name}, which reads "
            f"{_WORDS[reader.kind]}, does not know ({named}); correct it or leave it out (`letters='skip'`)"
        )
    # Tokenised again for the count of what is left out, which the report shows.
    reader.tokenize(bare, policy="skip", tally=tally)
    return False


def _cleaned(prompt: Prompt, reader: SequenceModel, tally: Tally) -> Prompt:
    block = cleaned(SequenceBlock.of([prompt.letters], [prompt.name]), reader.tokenizer, tally)
    return Prompt(prompt.name, block.text(0))


def letter_tokens(reader: SequenceModel, *, ambiguous: bool) -> NDArray[np.int64]:
    """Ids of the tokens that stand for letters and nothing else, in increasing order.

    Parameters
    ----------
    reader
        The model.
    ambiguous
        Whether every letter counts, or the 20 residues and 4 bases alone.

    Raises
    ------
    ConfigError
        If tokens of the model overlap, so that they cannot be chosen one by one.
    """
    tokenizer = reader.tokenizer
    if isinstance(tokenizer, KmerTokenizer) and tokenizer.overlapping:
        raise ConfigError(
            f"model {reader.name} reads k-mers that overlap, which cannot be written; use another"
        )
    plain = set(_PLAIN.get(reader.kind, ""))
    special = tokenizer.special
    hidden = {*special.prefix, *special.suffix, *special.others, special.pad, special.mask}

    def fits(token: str) -> bool:
        letters = token.isascii() and token.isalpha()
        return letters and (ambiguous or not plain or set(token) <= plain)

    numbers = [
        number for token, number in tokenizer.vocabulary.items() if fits(token) and number not in hidden
    ]
    return np.array(sorted(numbers), np.int64)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a long prompt is no path at all
        return False
