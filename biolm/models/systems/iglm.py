"""IgLM (Shuai et al. 2023) as a model of antibodies: GPT-2, chain and species before the sequence.

Source of the layout: ``iglm/model/IgLM.py`` of github.com/Graylab/IgLM. Its ``vocab.txt`` lies beside the
weights or one folder up. Sequences are read as human heavy chains unless :func:`load` is given another
(``biolm.load(folder, chain="light", species="mouse")``; ``--chain``, ``--species``).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from biolm.adapters.sequences import LetterTokenizer, SequenceTokenizer
from biolm.errors import CheckpointError, ConfigError
from biolm.models.systems.sequence_system import Config, SequenceSystem, entry, read_vocabulary_lines
from biolm.vocab.residues import Alphabet, SpecialTokens

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel
    from biolm.models.sequence_preprocessor import SequencePreprocessor

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]

_PREFIX = ("[HEAVY]", "[HUMAN]")


def _words(folder: Path) -> dict[str, int]:
    # The published archive has one vocabulary above the folders of its models.
    for place in (folder, folder.parent):
        words = read_vocabulary_lines(place)
        if words is not None and all(token in words for token in _PREFIX):
            return words
    return {}


def _fits(config: Config, folder: Path) -> bool:
    return config.get("model_type") == "gpt2" and bool(_words(folder))


def _tokenizer(
    config: Config,  # noqa: ARG001  # the words tell all
    folder: Path,
    marks: tuple[str, ...] = _PREFIX,
) -> SequenceTokenizer:
    words = _words(folder)
    for mark in marks:
        if mark not in words:
            known = ", ".join(token.strip("[]").lower() for token in words if len(token) > 1)
            raise ConfigError(f"this IgLM knows no {mark.strip('[]').lower()!r}; its words are {known}")
    try:
        special = SpecialTokens(
            pad=words["[PAD]"],
            mask=words["[MASK]"],
            unknown=words["[UNK]"],
            prefix=tuple(words[token] for token in marks),
            suffix=(words["[SEP]"],),
            others=tuple(number for token, number in words.items() if len(token) > 1),
        )
    except KeyError as error:
        raise CheckpointError(f"the vocab.txt of {folder} lacks {error}; copy it again") from error
    return LetterTokenizer(Alphabet(name="iglm", kind="protein", tokens=words, special=special))


SYSTEM = SequenceSystem(
    name="iglm",
    fits=_fits,
    tokenizer=_tokenizer,
    max_length=entry("n_positions"),
    tokenizer_files=("vocab.txt",),
)
recognises = SYSTEM.recognises


def load(folder: Path, *, chain: str = "heavy", species: str = "human") -> SequenceModel:
    """Load a folder, strictly.

    Parameters
    ----------
    folder
        The checkpoint.
    chain, species
        What sequences are read as: ``heavy`` or ``light``; ``human``, ``mouse``, ``rat`` and others of its
        ``vocab.txt``.

    Raises
    ------
    ConfigError
        If the vocabulary lacks the chain or species.
    CheckpointError
        As :meth:`SequenceSystem.load`.
    """
    return _as(chain, species).load(folder)


def load_tokenizer(folder: Path, *, chain: str = "heavy", species: str = "human") -> SequencePreprocessor:
    """Tokeniser and limits of a folder, without its weights; see :func:`load`.

    Parameters
    ----------
    folder
        Of the checkpoint.
    chain, species
        What the antibodies are.
    """
    return _as(chain, species).load_tokenizer(folder)


def _as(chain: str, species: str) -> SequenceSystem:
    marks = (f"[{chain.upper()}]", f"[{species.upper()}]")
    tags = {"chain": chain.lower(), "species": species.lower()}
    return replace(SYSTEM, tokenizer=partial(_tokenizer, marks=marks), stated=tags)
