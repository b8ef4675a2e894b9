"""From a block of cells as files hold it to the canonical rows that the kernels take.

Dimensions: ``n`` cells · ``g`` gene columns of the file · ``m`` genes of the vocabulary · ``nnz`` stored
values · ``t`` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.kernels import kernel
from biolm.batch import Tokens
from biolm.errors import InputError
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch

__all__ = [
    "NO_LIMIT",
    "Rows",
    "by_column",
    "cell_keys",
    "check_block",
    "concatenate",
    "in_threads",
    "prepare",
    "tokenize_rows",
]

NO_LIMIT = np.iinfo(np.int64).max


STRIP = 1024  # rows handed to a kernel at a time: values of other types than the kernels' are copied

# Rows, whether they are fresh, the span of the block that they are, and (ids, values, lengths) to write to;
# returns what the kernel returns.
Write = Callable[["Rows", bool, slice, tuple[NDArray[Any], ...]], int]


class Rows(NamedTuple):
    """Rows with ascending columns, each gene once: ``data``, ``indices``, ``indptr``, ``totals (n,)``.

    ``totals`` are sums over all genes of the file, those outside the vocabulary included.
    """

    data: NDArray[Any]
    indices: NDArray[np.uint32]
    indptr: NDArray[np.int64]
    totals: NDArray[np.float64]


Stored = tuple[NDArray[Any], NDArray[np.uint32], NDArray[np.int64]]  # values, columns, row pointers


def check_block(block: CellBlock) -> NDArray[np.float64]:
    """Refuse values that no method can read, and sum each cell.

    The tokenizers check every block, so a bad value is caught wherever in the file it lies.

    Returns
    -------
    ``(n,)`` total of each cell over all genes; 0 for a cell in which nothing is expressed.

    Raises
    ------
    InputError
        If a value is negative, infinite or not a number.
    """
    return _scan(_stored(block), block.numbers)[0]


def prepare(block: CellBlock, match: GeneMatch) -> Rows:
    """Check a block, sort the columns of its rows and add up columns that share a gene.

    Parameters
    ----------
    block
        The cells.
    match
        Where their genes go.

    Raises
    ------
    InputError
        If a value is negative, infinite or not a number, or the match belongs to another file.
    """
    return _canonical(block, _standing(block, match))


def tokenize_rows(
    block: CellBlock, match: GeneMatch, write: Write, *, limit: int, special: int, values: Any
) -> Tokens:
    """Run a kernel over the rows of a block, a strip at a time.

    The kernel checks the rows on its way, while they are in the cache. Rows that turn out to need sorting,
    or columns that share a gene, are prepared first.

    Parameters
    ----------
    block, match
        Cells, and where their genes lie in the vocabulary.
    write
        Calls the kernel.
    limit, special
        Most genes, and special tokens, of a cell.
    values
        Number type of the values; None for tokens without values.
    """
    standing = _standing(block, match)
    size = int(np.minimum(np.diff(block.indptr), limit).sum()) + special * len(block)
    ids, lengths = np.empty(size, np.int32), np.empty(len(block), np.int64)
    column = np.zeros(0 if values is None else size, values)
    at = 0
    for start in range(0, len(block), STRIP):
        span = slice(start, min(start + STRIP, len(block)))
        part, out = block.part(span.start, span.stop), (ids[at:], column[at:], lengths[span])
        count = -1
        if standing is None:
            stored, totals = _stored(part), np.empty(len(part), np.float64)
            count = write(Rows(*stored, totals), True, span, out)
            _refuse_bad(stored, totals, part.numbers)
        at += write(_canonical(part, standing), False, span, out) if count < 0 else count
    offsets = np.zeros(len(block) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    index = block.numbers
    return Tokens(ids=ids[:at], offsets=offsets, index=index, values=None if values is None else column[:at])


def _stored(block: CellBlock) -> Stored:
    """Values, columns and row pointers as the kernels take them.

    Kernels are compiled anew for each kind of array: values are float32 where that holds them exactly and
    else float64, columns unsigned, and what is read-only, a kind of its own, is copied.
    """
    stored = block.data.dtype
    exact = stored.itemsize == 4 if stored.kind == "f" else stored.itemsize <= 2
    kind = np.float32 if exact else np.float64
    indices = np.require(block.indices, np.int32, "W")
    return np.require(block.data, kind, "W"), indices.view(np.uint32), np.require(block.indptr, np.int64, "W")


def _refuse_bad(stored: Stored, totals: NDArray[np.float64], numbers: NDArray[np.int64]) -> None:
    """Name the first bad value if a total of the cells ``numbers`` is not finite."""
    finite = np.isfinite(totals)
    if finite.all():
        return
    row = int(np.argmin(finite))
    values = stored[0][stored[2][row] : stored[2][row + 1]]
    wrong = values[~((values >= 0) & np.isfinite(values))]
    fault = f"the value {wrong[0]}" if len(wrong) else "a sum too large for a number"
    raise InputError(
        f"cell {numbers[row]} (counted from 0) holds {fault}; values must be finite and at least 0, "
        "so fix the file or choose another layer"
    )


def _scan(stored: Stored, numbers: NDArray[np.int64]) -> tuple[NDArray[np.float64], bool]:
    """Totals of the cells ``numbers``, and whether the columns of every row ascend."""
    totals = np.empty(len(stored[2]) - 1, np.float64)
    ascending = kernel("scan_rows", len(stored[0]))(*stored, totals)
    _refuse_bad(stored, totals, numbers)
    return totals, ascending


def _canonical(block: CellBlock, standing: NDArray[np.int32] | None) -> Rows:
    """Checked rows with ascending columns; those with one gene added up if ``standing`` tells which."""
    data, indices, indptr = _stored(block)
    totals, ascending = _scan((data, indices, indptr), block.numbers)
    if not ascending:
        row = np.repeat(np.arange(len(block)), np.diff(indptr))
        order = np.lexsort((indices, row))
        data, indices = data[order], indices[order]
        # Sums of values that are not whole depend on the order, so they follow the sorted columns.
        totals, _ = _scan((data, indices, indptr), block.numbers)
    if standing is None:
        return Rows(data, indices, indptr, totals)
    merged, columns = np.empty(len(data), np.float64), np.empty(len(data), np.uint32)
    offsets = np.zeros(len(indptr), np.int64)
    count = kernel("merge_rows", len(data))(data, indices, indptr, standing, merged, columns, offsets)
    return Rows(merged[:count], columns[:count], offsets, totals)


def _standing(block: CellBlock, match: GeneMatch) -> NDArray[np.int32] | None:
    """``(g,)`` the first column with the gene of each column, -1 for none; None if no gene has two."""
    if len(match.target) != block.n_genes:
        raise InputError(
            f"the gene match was made for {len(match.target)} genes but the cells have {block.n_genes}; "
            "match the genes of this file"
        )
    if not match.has_duplicates:
        return None
    known = np.flatnonzero(match.target >= 0)
    _, first, inverse = np.unique(match.target[known], return_index=True, return_inverse=True)
    standing = np.full(len(match.target), -1, np.int32)
    standing[known] = known[first[inverse]]
    return standing


def by_column(match: GeneMatch, column: NDArray[Any], missing: float) -> NDArray[Any]:
    """Spread a column of the vocabulary ``(m,)`` to the gene columns of the file ``(g,)``.

    Parameters
    ----------
    match
        Where the file's genes go.
    column
        ``(m,)``.
    missing
        For genes without a place.
    """
    spread = np.full(len(match.target), missing, column.dtype)
    known = match.target >= 0
    spread[known] = column[match.target[known]]
    return spread


def cell_keys(numbers: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Random key of each cell ``(n,)`` from the seed and its row number: a counter hash, no state.

    Two rounds of the SplitMix64 finalizer (Steele, Lea and Flood, OOPSLA 2014), one for the seed and one
    for the row, so that neighbouring seeds and rows share nothing.

    Parameters
    ----------
    numbers
        ``(n,)`` of the cells.
    seed
        Of the run.

    Examples
    --------
    >>> bool((cell_keys(np.arange(10), 7)[4:] == cell_keys(np.arange(4, 10), 7)).all())
    True
    """
    golden, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    seeded = _finalize(np.array([(seed + 1) * golden & mask], np.uint64))
    return _finalize(seeded + numbers.astype(np.uint64) * np.uint64(golden))


def _finalize(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The SplitMix64 finalizer over an array."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def concatenate(parts: Iterable[Tokens]) -> Tokens:
    """Token blocks of one kind, one after the other.

    Raises
    ------
    ValueError
        If there is no part.
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts[:-1], strict=True)]
    values = [part.values for part in parts if part.values is not None]
    return Tokens(
        ids=np.concatenate([part.ids for part in parts]),
        offsets=np.concatenate([*offsets, starts[-1:]]),
        index=np.concatenate([part.index for part in parts]),
        values=np.concatenate(values) if values else None,
    )


def in_threads(tokenize: Callable[[CellBlock], Tokens], block: CellBlock, workers: int) -> Tokens:
    """Tokenize a block with several threads, each taking a run of its rows; the result is the same.

    The kernels release the interpreter lock, so threads run side by side without copies of the block.

    Parameters
    ----------
    tokenize
        Tokenizes a part.
    block
        The cells.
    workers
        Threads.

    Examples
    --------
    ``in_threads(lambda part: tokenizer(part, match, seed=0), block, workers=4)``
    """
    cuts = np.linspace(0, len(block), min(workers, len(block)) + 1).astype(int) if len(block) else [0, 0]
    if len(cuts) == 2:
        return tokenize(block)
    parts = [block.part(int(a), int(b)) for a, b in pairwise(cuts)]
    with ThreadPoolExecutor(len(parts)) as pool:
        return concatenate(pool.map(tokenize, parts))
