"""Bins of expression and aligned cells, of any counts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm.io.cells.block import CellBlock
from biolm.models.systems.performer_stack import aligned, value_bin
from biolm.vocab.genes import GeneVocabulary

GENES = ("CD3D", "CD3E", "MS4A1", "NKG7", "LYZ")


@given(
    st.lists(st.integers(0, 40_000), min_size=5, max_size=5), st.permutations(range(6)), st.integers(0, 900)
)
def test_bins_of_counts_are_exact(counts: list[int], order: list[int], foreign: int) -> None:
    """Bins by whole numbers, whatever the order of the columns; a foreign gene counts for the whole alone."""
    names = [*GENES, "NOSUCHGENE"]
    vocabulary = GeneVocabulary.of(GENES, kind="symbol", species=("human",))
    match = vocabulary.match({"index": np.array([names[i] for i in order])})
    values = np.array([[*counts, foreign][i] for i in order], np.float64)
    block = CellBlock(0, values, np.arange(6, dtype=np.int32), np.array([0, 6]), 6)
    for whole in (False, True):
        total = sum(counts) + foreign * whole
        ((genes, scaled),) = aligned(block, match, whole=whole)
        assert genes.tolist() == [i for i, count in enumerate(counts) if count]
        for gene, found in zip(genes.tolist(), value_bin(scaled).tolist(), strict=True):
            exact = Fraction(counts[gene] * 10_000, total)
            # A proportion nearer than float32 tells apart counts as the power of two above it.
            reached = [k for k in range(1, 6) if exact >= (2**k - 1) * (1 - Fraction(1, 10**7))]
            assert found == max(reached, default=0)
