"""How letters of files reach a model: what is taken out first, and what becomes of letters without a token.

One rule for every command. Gaps of an alignment (``-`` and ``.``) stand for no residue and are taken out, and
so are the stop at the end of a protein (``*``) and the marks that a tokeniser itself puts round a sequence
(``1`` and ``2`` of ProGen2). A mask that is spelled out, such as ``<mask>``, is a masked place, as is ``_``.
All of this is counted. What then has no token is an error, is read as unknown or leaves its record out, as
:data:`~biolm.adapters.sequences.base.Policy` says. Models of DNA read U as T.

Dimensions: ``n`` records of a block · ``r`` letters of all of them.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences.base import MASKED, Policy, SequenceTokenizer, Tally
from biolm.errors import InputError
from biolm.io.sequences.block import SequenceBlock

__all__ = ["admitted", "admitted_rows", "cleaned", "kept_letters", "mark_code", "with_masks"]

_STOP = ord("*")
_SPELLED = re.compile(rb"<mask>|\[mask\]", re.IGNORECASE)


def cleaned(block: SequenceBlock, tokenizer: SequenceTokenizer, tally: Tally | None = None) -> SequenceBlock:
    """The same records as a tokeniser is to read them; texts of bytes stay as they are.

    Parameters
    ----------
    block
        Records, as read.
    tokenizer
        Of the model.
    tally
        Counts what is taken out.

    Raises
    ------
    InputError
        If nothing is left of a record, or it masks a place and the model has no mask for single residues or
        bases.

    Examples
    --------
    >>> from biolm.adapters.sequences import make_tokenizer
    >>> cleaned(SequenceBlock.of(["MK--V*"]), make_tokenizer("esm")).text(0)
    'MKV'
    """
    block = with_masks(block, tokenizer, tally)
    block = block.keep(kept_letters(block, tokenizer, tally))
    empty = np.flatnonzero(block.lengths == 0)
    if len(empty):
        raise InputError(
            f"record {block.names[empty[0]]!r} holds nothing but gaps and stops; take it out of the file"
        )
    return block


def admitted(
    block: SequenceBlock, tokenizer: SequenceTokenizer, policy: Policy, tally: Tally
) -> SequenceBlock:
    """The records that a model is to read, cleaned, without those that the policy leaves out.

    Parameters
    ----------
    block
        The records.
    tokenizer
        Of the model.
    policy
        What becomes of records with unknown residues or bases.
    tally
        Counts what is left out.

    Raises
    ------
    InputError
        As :func:`cleaned`, and for a letter without a token if the policy is ``error``.
    """
    block, rows = admitted_rows(block, tokenizer, policy, tally)
    return block if len(rows) == len(block) else block.take(rows)


def admitted_rows(
    block: SequenceBlock, tokenizer: SequenceTokenizer, policy: Policy, tally: Tally
) -> tuple[SequenceBlock, NDArray[np.int64]]:
    """All records, cleaned, and the rows of those that a model is to read; as :func:`admitted`.

    Parameters
    ----------
    block, tokenizer, policy, tally
        As of :func:`admitted`.
    """
    block = cleaned(block, tokenizer, tally)
    tokens = tokenizer.tokenize(block, policy=policy, tally=tally)
    return block, np.asarray(tokens.index - block.start, np.int64)


def with_masks(
    block: SequenceBlock, tokenizer: SequenceTokenizer, tally: Tally | None = None
) -> SequenceBlock:
    """The same records with ``_`` where a mask is spelled out.

    Parameters
    ----------
    block
        The records.
    tokenizer
        Of the model.
    tally
        Counts what is masked.

    Raises
    ------
    InputError
        If one does and the model has no mask for single residues or bases.
    """
    if tokenizer.kind == "text" or not np.isin(block.letters, (ord("<"), ord("["), ord(MASKED))).any():
        return block
    texts = [block.letters[a:b].tobytes() for a, b in zip(block.offsets, block.offsets[1:], strict=False)]
    for row, text in enumerate(texts):
        texts[row] = _SPELLED.sub(MASKED.encode(), text)
        if texts[row] != text and (tokenizer.special.mask is None or not tokenizer.one_to_one):
            raise InputError(
                f"record {block.names[row]!r} masks a place, but the model has no mask for single "
                "residues or bases; "
                "write a letter there, or use a model such as ESM-2"
            )
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    letters = np.frombuffer(b"".join(texts), np.uint8)
    if tally is not None and tokenizer.special.mask is not None and tokenizer.one_to_one:
        tally.masked += int((letters == ord(MASKED)).sum())
    qualities = block.qualities if len(letters) == len(block.letters) else None
    return replace(block, letters=letters, offsets=offsets, qualities=qualities)


def kept_letters(
    block: SequenceBlock, tokenizer: SequenceTokenizer, tally: Tally | None = None, *, whole: bool = True
) -> NDArray[np.bool_]:
    """``(r,)`` letters that are read: all but gaps, marks of a tokeniser and the stops at ends of proteins.

    Parameters
    ----------
    block, tokenizer, tally
        As of :func:`cleaned`.
    whole
        Whether the block holds whole records; the last letter of a piece is no final stop.
    """
    kept = np.ones(len(block.letters), bool)
    if tokenizer.kind == "text":
        return kept
    gaps = np.isin(block.letters, (ord("-"), ord(".")))
    kept &= ~gaps
    marks = _ends(block, kept, mark_code(tokenizer, "prefix"), first=True)
    marks |= _ends(block, kept, mark_code(tokenizer, "suffix"), first=False)
    kept &= ~marks
    stops = np.zeros(len(kept), bool)
    if whole and tokenizer.kind == "protein" and "*" not in tokenizer.vocabulary:
        while (at_stop := _ends(block, kept, _STOP, first=False)).any():
            stops |= at_stop
            kept &= ~at_stop
    if tally is not None:
        tally.gaps += int(gaps.sum())
        tally.marks += int(marks.sum())
        tally.stops += int(stops.sum())
    return kept


def _ends(
    block: SequenceBlock, kept: NDArray[np.bool_], code: int | None, *, first: bool
) -> NDArray[np.bool_]:
    """``(r,)`` the first or last kept letter of each record, where it is ``code``."""
    at_end = np.zeros(len(kept), bool)
    if code is None or not (block.letters == code).any():
        return at_end
    places = np.flatnonzero(kept)
    borders = np.searchsorted(places, block.offsets)
    filled = np.flatnonzero(np.diff(borders))
    ends = places[borders[:-1][filled] if first else borders[1:][filled] - 1]
    at_end[ends[block.letters[ends] == code]] = True
    return at_end


def mark_code(tokenizer: SequenceTokenizer, side: str) -> int | None:
    """The letter that stands for the only special token at one side of a sequence; None for none.

    Parameters
    ----------
    tokenizer
        Of the model.
    side
        ``prefix`` or ``suffix``.
    """
    ids = getattr(tokenizer.special, side)
    if len(ids) != 1:
        return None
    name = next(token for token, number in tokenizer.vocabulary.items() if number == ids[0])
    return ord(name) if len(name) == 1 else None
