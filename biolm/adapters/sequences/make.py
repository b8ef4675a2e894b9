"""Tokenisers by name, and from the settings that a saved model holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from biolm.adapters.sequences.base import SequenceTokenizer
from biolm.adapters.sequences.bpe import BpeTokenizer, read_bpe
from biolm.adapters.sequences.kmers import KmerTokenizer
from biolm.adapters.sequences.letters import LetterTokenizer
from biolm.errors import ConfigError
from biolm.vocab.kmers import LAYOUTS, KmerVocabulary
from biolm.vocab.residues import ALPHABETS, Alphabet, Kind, SpecialTokens

__all__ = ["NAMES", "make_tokenizer"]

NAMES = (*ALPHABETS, "nt-v1", "nt-v2", "dnabert-3", "dnabert-4", "dnabert-5", "dnabert-6")
"""Tokenisers that need no file."""


def make_tokenizer(name: str | Mapping[str, Any]) -> SequenceTokenizer:
    """The tokeniser of a name, or of what :meth:`SequenceTokenizer.settings` returned.

    Parameters
    ----------
    name
        One of :data:`NAMES`; or settings: ``family`` (``letters``, ``kmers``, ``bpe``) and what that family
        takes: ``alphabet`` (a name, or all of one); ``layout``, ``k``, ``overlapping``; ``file`` or
        ``content``, ``kind``, ``gap_runs``, ``edge``.

    Raises
    ------
    ConfigError
        If there is none of that name, or a setting is unknown or impossible.

    Examples
    --------
    >>> make_tokenizer("nt-v2").size
    4107
    """
    settings = _of_name(name) if isinstance(name, str) else dict(name)
    family = settings.pop("family", "letters")
    if family not in _FAMILIES:
        raise ConfigError(f"there is no family of tokenisers {family!r}; use one of {', '.join(_FAMILIES)}")
    make = _FAMILIES[family]
    known = list(inspect.signature(make).parameters)
    for key in settings:
        if key not in known:
            raise ConfigError(f"tokenisers of {family} have no setting {key!r}; they have {', '.join(known)}")
    return make(**settings)


def _of_name(name: str) -> dict[str, Any]:
    if name in ALPHABETS:
        return {"family": "letters", "alphabet": name}
    if name not in NAMES:
        raise ConfigError(f"there is no tokeniser {name!r}; use one of {', '.join(NAMES)}")
    if name in LAYOUTS:
        return {"family": "kmers", "layout": name}
    return {"family": "kmers", "layout": "dnabert", "k": int(name[-1]), "overlapping": True}


def _letters(alphabet: str | Mapping[str, Any]) -> SequenceTokenizer:
    if not isinstance(alphabet, str):
        return LetterTokenizer(_alphabet(alphabet))
    if alphabet not in ALPHABETS:
        raise ConfigError(f"there is no alphabet {alphabet!r}; use one of {', '.join(ALPHABETS)}")
    return LetterTokenizer(ALPHABETS[alphabet])


def _alphabet(stored: Mapping[str, Any]) -> Alphabet:
    """An alphabet from what :meth:`LetterTokenizer.settings` said."""
    try:
        marks = stored["special"].items()
        given: dict[str, Any] = {role: tuple(ids) if isinstance(ids, list) else ids for role, ids in marks}
        return Alphabet(**{**stored, "special": SpecialTokens(**given)})
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"the settings hold no whole alphabet ({error}); save the model again") from error


def _kmers(layout: str = "nt-v2", k: int = 6, overlapping: bool = False) -> SequenceTokenizer:
    if layout == "dnabert" and not overlapping:
        raise ConfigError("the layout dnabert has no single bases, so its k-mers must be overlapping")
    return KmerTokenizer(KmerVocabulary(layout=layout, k=k), overlapping)


def _bpe(
    file: str | None = None, content: str | None = None, kind: Kind = "dna", gap_runs: int = 0, edge: int = 0
) -> SequenceTokenizer:
    chosen: dict[str, Any] = {"kind": kind, "gap_runs": gap_runs, "edge": edge}
    if (file is None) == (content is None):
        raise ConfigError("byte pairs need one of file (a tokenizer.json) and content (its text)")
    return read_bpe(file, **chosen) if file is not None else BpeTokenizer(str(content), **chosen)


_FAMILIES: Mapping[str, Callable[..., SequenceTokenizer]] = {
    "letters": _letters,
    "kmers": _kmers,
    "bpe": _bpe,
}
