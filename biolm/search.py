"""Reference mapping and cell search: ``biolm.search``.

>>> import biolm
>>> index = biolm.search.build("data/cells/pbmc68k_reduced_counts_700.h5ad", label="cell_type")
>>> found = biolm.search.query("data/cells/pbmc_cite_10k.h5ad", index, k=5)
>>> found.rows.shape
(200, 5)
"""

from biolm.tasks.search.build import IndexSettings, build, make_index
from biolm.tasks.search.index import CellTable, Index, load
from biolm.tasks.search.query import Neighbours, query, transfer

__all__ = [
    "CellTable",
    "Index",
    "IndexSettings",
    "Neighbours",
    "build",
    "load",
    "make_index",
    "query",
    "transfer",
]
