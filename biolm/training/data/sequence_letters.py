"""Which records of a store are trained on, and how far each is read.

Both are looked at in whole records: the last letter of a crop is no final stop, and a crop without an unknown
letter may be of a record that has one.

Dimensions: ``m`` records.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.adapters.sequences.base import SequenceTokenizer
from biolm.adapters.sequences.reading import kept_letters, mark_code
from biolm.errors import InputError
from biolm.io.sequences import SequenceStore

__all__ = ["known_records", "pieces", "read_lengths"]

_STOP, _GAPS = ord("*"), (ord("-"), ord("."))
_BLOCK = 4096


def read_lengths(store: SequenceStore, tokenizer: SequenceTokenizer, tally: Tally) -> NDArray[np.int64]:
    """``(m,)`` letters of each record up to its final stop, and to gaps beside it.

    Parameters
    ----------
    store
        The records.
    tokenizer
        Proteins alone have stops; one that has a token for them keeps them.
    tally
        Counts what is left out.
    """
    lengths = np.array(store.lengths, np.int64)
    # Where the model has a token for the stop, it is read like any other letter.
    if tokenizer.kind != "protein" or "*" in tokenizer.vocabulary:
        return lengths
    rows = np.flatnonzero(lengths)
    if (mark := mark_code(tokenizer, "suffix")) is not None:
        marked = rows[store.letters[store.offsets[rows] + lengths[rows] - 1] == mark]
        lengths[marked] -= 1
        tally.marks += len(marked)
    # One letter at a time: a stop may stand between gaps, as alignments leave them.
    while len(rows := rows[lengths[rows] > 0]):
        last = store.letters[store.offsets[rows] + lengths[rows] - 1]
        stops, gaps = last == _STOP, np.isin(last, _GAPS)
        tally.stops += int(stops.sum())
        tally.gaps += int(gaps.sum())
        rows = rows[stops | gaps]
        lengths[rows] -= 1
    return lengths


def known_records(
    store: SequenceStore,
    lengths: NDArray[np.int64],
    width: int,
    tokenizer: SequenceTokenizer,
    policy: Literal["error", "skip"],
    tally: Tally,
) -> NDArray[np.bool_]:
    """``(m,)`` whether the model knows every letter of a record.

    Parameters
    ----------
    store, lengths
        The records, and how far each is read.
    width
        Letters of the pieces in which they are looked through.
    tokenizer
        Of the model.
    policy
        Whether the first unknown letter is an error, or its record is left out.
    tally
        Counts what is left out.

    Raises
    ------
    InputError
        For the first unknown letter with ``error``, or if no record is left.
    """
    record, begin = pieces(lengths, width)
    known, met = np.ones(len(lengths), bool), Tally()
    for start in range(0, len(record), _BLOCK):
        rows, first = record[start : start + _BLOCK], begin[start : start + _BLOCK]
        block = store.block(rows, first, np.minimum(first + width, lengths[rows]))
        block = block.keep(kept_letters(block, tokenizer, whole=False))
        tokens = tokenizer.tokenize(block, policy="skip", tally=met)
        odd = np.setdiff1d(np.arange(len(block)), tokens.index - block.start)
        if len(odd) and policy == "error":
            row = rows[odd[:1]]
            whole = store.block(row, np.zeros(1, np.int64), lengths[row])
            # Once more and whole, for the message that names record and letter.
            tokenizer.tokenize(replace(whole, names=[store.names[row[0]]]), policy="error")
        known[rows[odd]] = False
    if not known.any():
        raise InputError(
            "every record was left out for residues or bases that the model does not know; read them as "
            "unknown (`letters='unknown'`)"
        )
    tally.letters.update(met.letters)
    tally.records += int((~known).sum())
    tally.skipped += int((~known).sum())
    return known


def pieces(lengths: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Record and first letter of each piece of ``width`` letters; a record without letters is one piece.

    Parameters
    ----------
    lengths
        ``(m,)``.
    width
        Of a piece.
    """
    counts = np.maximum(-(-lengths // width), 1)
    record = np.repeat(np.arange(len(lengths)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return record, (np.arange(len(record)) - first) * width
