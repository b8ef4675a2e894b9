"""Documents as windows of pieces with the words they begin.

Dimensions: ``n`` words of a document · ``p`` pieces · ``k`` labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.io.text.document import Document, Span
from biolm.io.text.tags import encode_tags
from biolm.io.text.words import split_words
from biolm.text.ner.labels import LabelSet
from biolm.text.pieces import PieceTokenizer, first_pieces
from biolm.text.windows import best_windows, window_starts

__all__ = ["ReadDocument", "Window", "read_document", "word_tags"]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a document as the encoder reads it.

    ``ids`` with special tokens; ``rows`` places in ``ids`` of the words ``words`` that are read here.
    """

    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    words: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """Words of a document and the windows that hold their first pieces.

    A word without a piece is in no window; it keeps its place among the words.
    """

    words: tuple[Span, ...]
    windows: tuple[Window, ...]
    pieces: int


def read_document(document: Document, tokenizer: PieceTokenizer, overlap: int) -> ReadDocument:
    """Cut a document into windows, each word in the window where its first piece has most context.

    Parameters
    ----------
    document
        To tag.
    tokenizer
        Of the encoder.
    overlap
        Pieces that windows share.
    """
    words = document.words or tuple(split_words(document.text))
    pieces = tokenizer(document.text)
    firsts = first_pieces(pieces, words)
    width = tokenizer.room
    starts = window_starts(len(pieces), width, overlap)
    owner = best_windows(len(pieces), width, starts)
    starts_word = np.flatnonzero(firsts >= 0)
    windows = []
    for number, start in enumerate(starts):
        # By the word's first piece: that one is labelled, as in BERT's own recipe.
        mine = starts_word[owner[firsts[starts_word]] == number]
        ids = tokenizer.framed(pieces.ids[start : start + width])
        windows.append(Window(ids, firsts[mine] - start + len(tokenizer.prefix), mine))
    return ReadDocument(words, tuple(windows), len(pieces))


def word_tags(document: Document, words: Sequence[Span], labels: LabelSet) -> tuple[list[str], int]:
    """The tag of each word, and how many mentions one tag a word cannot hold.

    A word belongs to a mention if they share a character; where mentions overlap the longest is taken.

    Parameters
    ----------
    document
        With mentions.
    words
        Places of the words.
    labels
        Tags by number.
    """
    taken = np.zeros(len(words), bool)
    starts = np.array([start for start, _ in words])
    ends = np.array([end for _, end in words])
    tags, lost = [], 0
    # Longer mentions first: of nested ones the outer keeps its words.
    for mention in sorted(document.mentions, key=lambda each: (each.start - each.end, each.start)):
        if mention.kind not in labels.kinds:
            continue
        inside = np.flatnonzero((starts < mention.end) & (ends > mention.start))
        if not mention.whole or not len(inside) or taken[inside].any():
            lost += 1
            continue
        taken[inside] = True
        tags.append((int(inside[0]), int(inside[-1]) + 1, mention.kind))
    return encode_tags(tags, len(words), labels.scheme), lost
