"""IgLM (Shuai et al. 2023) as a model of antibodies: GPT-2, chain and species before the sequence.

Source of the layout: ``iglm/model/IgLM.py`` of github.com/Graylab/IgLM. Its ``vocab.txt`` lies beside the
weights or one folder up. Sequences are read as human heavy chains.
"""

from __future__ import annotations

from pathlib import Path

from biolm.adapters.sequences import LetterTokenizer, SequenceTokenizer
from biolm.errors import CheckpointError
from biolm.models.sequence_system import Config, SequenceSystem, read_vocabulary_lines
from biolm.vocab.residues import Alphabet, SpecialTokens

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]

_PREFIX = ("[HEAVY]", "[HUMAN]")


def _words(folder: Path) -> dict[str, int]:
    for place in (folder, folder.parent):
        words = read_vocabulary_lines(place)
        if words is not None and all(token in words for token in _PREFIX):
            return words
    return {}


def _fits(config: Config, folder: Path) -> bool:
    return config.get("model_type") == "gpt2" and bool(_words(folder))


def _tokenizer(config: Config, folder: Path) -> SequenceTokenizer:  # noqa: ARG001  # the words tell all
    words = _words(folder)
    try:
        special = SpecialTokens(
            pad=words["[PAD]"],
            mask=words["[MASK]"],
            unknown=words["[UNK]"],
            prefix=tuple(words[token] for token in _PREFIX),
            suffix=(words["[SEP]"],),
            others=tuple(number for token, number in words.items() if len(token) > 1),
        )
    except KeyError as error:
        raise CheckpointError(f"the vocab.txt of {folder} lacks {error}; copy it again") from error
    return LetterTokenizer(Alphabet(name="iglm", kind="protein", tokens=words, special=special))


def _max_length(config: Config) -> int:
    return int(config["n_positions"])


SYSTEM = SequenceSystem(
    name="iglm",
    fits=_fits,
    tokenizer=_tokenizer,
    max_length=_max_length,
    tokenizer_files=("vocab.txt",),
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
