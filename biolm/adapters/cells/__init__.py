"""Cells to tokens: ranks (Geneformer), value bins (scGPT), continuous values.

Every tokenizer is called with a block of cells and a gene match and gives :class:`biolm.batch.Tokens`.
Same input and seed give the same bytes, whatever the block size, the workers or the platform.
"""

from __future__ import annotations

from biolm.adapters.cells.bins import BinTokenizer
from biolm.adapters.cells.continuous import ContinuousTokenizer
from biolm.adapters.cells.counts import CountsReport, check_counts
from biolm.adapters.cells.rank import RankTokenizer
from biolm.adapters.cells.rows import check_block, concatenate, in_threads

__all__ = [
    "BinTokenizer",
    "ContinuousTokenizer",
    "CountsReport",
    "RankTokenizer",
    "check_block",
    "check_counts",
    "concatenate",
    "in_threads",
]
