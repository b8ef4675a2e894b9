"""Blocks of cells, matches and comparisons that the tests of the adapters share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from hypothesis import strategies as st

from biolm.adapters.cells import concatenate, kernels
from biolm.batch import Tokens
from biolm.io.cells.block import CellBlock
from biolm.vocab.match import GeneMatch, MatchReport


def block_of(rows: np.ndarray, start: int = 0) -> CellBlock:
    """The cells of a dense matrix ``(n, g)``; zeros are not stored."""
    stored = rows != 0
    indptr = np.concatenate([[0], np.cumsum(stored.sum(1))]).astype(np.int64)
    indices = np.nonzero(stored)[1].astype(np.int32)
    return CellBlock(start=start, data=rows[stored], indices=indices, indptr=indptr, n_genes=rows.shape[1])


def rows_of(block: CellBlock, rows: list[int], start: int = 0) -> CellBlock:
    """Some rows of a block, in the order asked for."""
    spans = [slice(int(block.indptr[row]), int(block.indptr[row + 1])) for row in rows]
    lengths = [span.stop - span.start for span in spans]
    return CellBlock(
        start=start,
        data=np.concatenate([block.data[:0], *(block.data[span] for span in spans)]),
        indices=np.concatenate([block.indices[:0], *(block.indices[span] for span in spans)]),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        n_genes=block.n_genes,
    )


def match_of(target: object) -> GeneMatch:
    """A match with these targets; the report counts genes that several columns share."""
    target = np.asarray(target, np.int32)
    known = target[target >= 0]
    report = MatchReport(
        column="index",
        species="",
        total=len(target),
        matched=len(known),
        exact=len(known),
        via_version=0,
        via_symbol=0,
        via_alias=0,
        via_case=0,
        via_rewritten=0,
        ambiguous=(),
        missing=(),
        summed=len(known) - len(np.unique(known)),
        vocabulary_found=len(np.unique(known)),
        vocabulary_total=int(target.max(initial=0)) + 1,
    )
    return GeneMatch(target=target, report=report)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """The compiled kernels (``numba``), or their twins in plain numpy (``numpy``), whatever the size."""
    usual = kernels._module
    kernels._module = lambda home, compiled: usual(home, compiled=name == "numba")
    try:
        yield
    finally:
        kernels._module = usual


def same(a: Tokens, b: Tokens) -> bool:
    """Whether two token blocks hold the same bytes."""
    pairs = [(a.ids, b.ids), (a.offsets, b.offsets), (a.index, b.index)]
    if (a.values is None) != (b.values is None):
        return False
    if a.values is not None and b.values is not None:
        pairs.append((a.values, b.values))
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def in_blocks(tokenize: Callable[[CellBlock], Tokens], block: CellBlock, size: int) -> Tokens:
    """Tokens of a block that is handed over in blocks of ``size`` rows."""
    starts = range(0, len(block), size)
    cuts = [list(range(start, min(start + size, len(block)))) for start in starts]
    return concatenate(tokenize(rows_of(block, cut, block.start + cut[0])) for cut in cuts)


def counts(largest: int = 50, kind: type = np.float32) -> st.SearchStrategy[np.ndarray]:
    """Dense matrices of counts, many zeros and ties, some empty cells."""
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 40))
    return st.builds(_counts, shapes, st.integers(0, 2**32 - 1), st.just(largest), st.just(kind))


def _counts(shape: tuple[int, int], seed: int, largest: int, kind: type) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, largest, shape) * (rng.random(shape) < rng.random((shape[0], 1)))
    return rows.astype(kind)


def vocabulary(genes: int, seed: int) -> tuple[GeneMatch, np.ndarray, np.ndarray]:
    """A match of ``genes`` columns, some unknown, with token ids and medians of the vocabulary."""
    rng = np.random.default_rng(seed)
    size = genes + 5
    target = rng.permutation(size)[:genes].astype(np.int32)
    target[rng.random(genes) < 0.2] = -1
    return (
        match_of(target),
        rng.permutation(size).astype(np.int32) + 4,
        rng.choice([0.5, 1.0, 1.5, 2.7], size),
    )
