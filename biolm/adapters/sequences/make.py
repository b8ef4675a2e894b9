"""Tokenisers by name, and from the settings that a saved model holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.adapters.sequences.base import SequenceTokenizer
from biolm.adapters.sequences.letters import LetterTokenizer
from biolm.errors import ConfigError
from biolm.vocab.residues import ALPHABETS

__all__ = ["NAMES", "make_tokenizer"]

NAMES = tuple(ALPHABETS)
"""Tokenisers that need no file."""


def make_tokenizer(name: str | Mapping[str, Any]) -> SequenceTokenizer:
    """The tokeniser of a name, or of what :meth:`SequenceTokenizer.settings` returned.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    wanted = name if isinstance(name, str) else str(name.get("alphabet"))
    if wanted not in ALPHABETS:
        raise ConfigError(f"there is no tokeniser {wanted!r}; use one of {', '.join(NAMES)}")
    return LetterTokenizer(ALPHABETS[wanted])
