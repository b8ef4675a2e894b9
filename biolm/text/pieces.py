"""Texts as word pieces with their places in the text; nothing is cut, no text is read as a control token.

Dimensions: ``p`` pieces of a text, special ones left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, ConfigError
from biolm.io.damage import naming_damage
from biolm.io.json_file import read_json
from biolm.io.text.document import Span

__all__ = ["PieceTokenizer", "Pieces", "first_pieces", "load_pieces"]


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of one text.

    Parameters
    ----------
    ids
        ``(p,)`` token ids.
    spans
        ``(p, 2)`` places in code points of the text, blanks around a piece left out.
    """

    ids: NDArray[np.int64]
    spans: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class PieceTokenizer:
    """A fast tokenizer without truncation, padding or control words.

    Parameters
    ----------
    engine
        A ``tokenizers.Tokenizer``; it is changed.
    longest
        Most tokens that the model reads, special ones included.
    name
        What messages call it.

    Attributes
    ----------
    prefix, suffix
        Special tokens before and behind a text, as the tokenizer's own template puts them.
    """

    def __init__(self, engine: Any, longest: int, name: str) -> None:
        engine.no_truncation()
        engine.no_padding()
        # "[SEP]" in a document is five characters of text.
        engine.encode_special_tokens = True
        self.engine, self.longest, self.name = engine, longest, name
        self.size: int = engine.get_vocab_size(with_added_tokens=True)
        bare = engine.encode("a", add_special_tokens=False).ids
        framed = engine.encode("a", add_special_tokens=True).ids
        # Frames are learnt from an example, since tokenizers store them in too many ways to read.
        at = next((n for n in range(len(framed)) if framed[n : n + len(bare)] == bare), 0)
        self.prefix: tuple[int, ...] = tuple(framed[:at])
        self.suffix: tuple[int, ...] = tuple(framed[at + len(bare) :])
        self._pair = engine.encode("a", "a", add_special_tokens=True)
        self._bare = bare

    @property
    def room(self) -> int:
        """Pieces of text that fit into one window."""
        return self.longest - len(self.prefix) - len(self.suffix)

    @property
    def frame_of_pairs(self) -> tuple[list[int], list[int], list[int]]:
        """Special tokens before, between and behind two texts."""
        ids, size = self._pair.ids, len(self._bare)
        first = len(self.prefix)
        second = next(n for n in range(first + size, len(ids)) if ids[n : n + size] == self._bare)
        return ids[:first], ids[first + size : second], ids[second + size :]

    @property
    def second_segment(self) -> int:
        """Token type of the second of two texts."""
        return int(self._pair.type_ids[len(self._pair.ids) - 1])

    def __call__(self, text: str) -> Pieces:
        """Pieces of a whole text, of any length."""
        return self.many([text])[0]

    def many(self, texts: Sequence[str]) -> list[Pieces]:
        """Pieces of many texts."""
        # Special tokens come later, around each window and not around the whole text.
        encoded = self.engine.encode_batch(list(texts), add_special_tokens=False)
        return [_pieces(pieces, text) for pieces, text in zip(encoded, texts, strict=True)]

    def framed(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids with the special tokens around them."""
        return np.concatenate([np.array(self.prefix, np.int64), ids, np.array(self.suffix, np.int64)])

    def token(self, number: int) -> str:
        """The piece of an id."""
        return str(self.engine.id_to_token(int(number)))

    def number(self, token: str) -> int | None:
        """The id of a piece; None where there is none."""
        token_id: int | None = self.engine.token_to_id(token)
        return token_id

    def text_of(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self.engine.decode([int(token) for token in ids], skip_special_tokens=True))


def _pieces(encoded: Any, text: str) -> Pieces:
    ids = np.array(encoded.ids, np.int64)
    spans = np.array(encoded.offsets, np.int64).reshape(-1, 2)
    # Byte-level pieces take the blank before a word with them; a mention never begins with one.
    for row, (start, end) in enumerate(spans.tolist()):
        if start < end and text[start].isspace():
            while start < end - 1 and text[start].isspace():
                start += 1
            spans[row, 0] = start
    return Pieces(ids, spans)


def first_pieces(pieces: Pieces, words: Sequence[Span]) -> NDArray[np.int64]:
    """Row of the first piece of each word, -1 for a word without a piece (U+200B, U+00AD ...).

    Parameters
    ----------
    pieces
        Of a text.
    words
        Places of its words.

    Examples
    --------
    >>> pieces = Pieces(np.arange(3), np.array([[0, 2], [2, 4], [6, 8]]))
    >>> first_pieces(pieces, [(0, 4), (5, 6), (6, 8)]).tolist()
    [0, -1, 2]
    """
    if not len(words) or not len(pieces):
        return np.full(len(words), -1, np.int64)
    starts = pieces.spans[:, 0]
    low = np.array([start for start, _ in words])
    high = np.array([end for _, end in words])
    rows = np.searchsorted(starts, low, side="left")
    known = rows < len(starts)
    inside = np.zeros(len(words), bool)
    inside[known] = starts[rows[known]] < high[known]
    return np.where(inside, rows, -1)


@lru_cache(maxsize=8)
def load_pieces(folder: Path) -> PieceTokenizer:
    """The tokenizer of a model's folder, loaded once.

    Raises
    ------
    CheckpointError
        If there is none, it gives no offsets, or it does not belong to the model.
    """
    config = read_json(folder / "config.json")
    engine = _engine(folder)
    longest = int(config.get("max_position_embeddings") or config.get("n_positions") or 512)
    # They count positions from behind the padding id, so that the rows before are never used.
    if config.get("model_type") in ("roberta", "camembert", "xlm-roberta"):
        longest -= int(config.get("pad_token_id") or 0) + 1
    tokenizer = PieceTokenizer(engine, longest, str(folder))
    size = int(config.get("vocab_size", tokenizer.size))
    if tokenizer.size > size:
        raise CheckpointError(
            f"the tokenizer in {folder} has {tokenizer.size:,} tokens but the model {size:,}; "
            "they do not belong together: copy both from one source"
        )
    return tokenizer


def _engine(folder: Path) -> Any:
    from tokenizers import ByteLevelBPETokenizer, Tokenizer

    with naming_damage(folder, "the tokenizer", CheckpointError):
        if (folder / "tokenizer.json").is_file():
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        if (folder / "vocab.txt").is_file():
            return _word_pieces(folder)
        if (folder / "merges.txt").is_file() and (folder / "vocab.json").is_file():
            backend = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
            return backend._tokenizer
    return _from_transformers(folder)


def _word_pieces(folder: Path) -> Any:
    """A BERT tokenizer from ``vocab.txt`` alone, as BioBERT is published."""
    from tokenizers import BertWordPieceTokenizer

    settings_file = folder / "tokenizer_config.json"
    settings = read_json(settings_file) if settings_file.is_file() else {}
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    # Without a setting, a vocabulary that holds capitals is a cased one.
    cased = sum(word[:1].isupper() for word in words if not word.startswith("[")) > 100
    lower = bool(settings.get("do_lower_case", not cased))
    backend = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lower)
    return backend._tokenizer


def _from_transformers(folder: Path) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ConfigError(
            f"the tokenizer in {folder} needs transformers: pip install transformers"
        ) from error
    advice = "copy the tokenizer of the model there"
    with naming_damage(folder, "its tokenizer", CheckpointError, advice):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"the tokenizer in {folder} is a slow one, which gives no places in the text; "
            "save a fast one beside it (tokenizer.json)"
        )
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        # transformers makes an empty tokenizer, which reads every word as unknown, where files are missing.
        raise CheckpointError(f"{folder} holds no tokenizer; {advice}")
    return tokenizer.backend_tokenizer
