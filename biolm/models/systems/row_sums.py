"""Weighted sums of rows of a large table, a part of it at a time, so that the part stays in the cache.

A cell of 1,500 genes adds up as many rows of a table of 60 to 120 MB. Cell by cell they come from memory; a
part of the table at a time for all cells, from the cache of the core.

Dimensions: ``n`` cells · ``m`` genes · ``h`` width · ``t`` expressed genes of all cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["RowSums"]

# Genes and columns of a part: 512 KB, half the cache that a core has to itself.
_PART, _STRIP = 2048, 64


class RowSums:
    """The table, cut up.

    Parameters
    ----------
    table
        ``(m, h)``.
    """

    def __init__(self, table: Tensor) -> None:
        import torch

        self.width = table.shape[1]
        self._parts = [
            [strip.contiguous() for strip in torch.split(rows, _STRIP, 1)]
            for rows in torch.split(table, _PART)
        ]

    def __call__(
        self,
        genes: NDArray[np.int64],
        values: NDArray[np.float32],
        cells: NDArray[np.int64],
        n: int,
        device: torch.device,
    ) -> Tensor:
        """``(n, h)``: for each cell the rows of its genes, each times its value.

        Parameters
        ----------
        genes, values, cells
            ``(t,)`` rows of the table, what they are multiplied by, and the cell of each, in ascending order.
        n
            Cells.
        device
            Where they are added up; the table moves there.
        """
        import torch
        from torch.nn.functional import embedding_bag

        self._parts = [[strip.to(device) for strip in part] for part in self._parts]
        part, row = np.divmod(genes.astype(np.int32), np.int32(_PART))
        order = np.argsort(part.astype(np.uint16), kind="stable")  # of 16 bits: sorted by counting
        rows, scales = (torch.from_numpy(each[order]).to(device) for each in (row, values))
        counts = np.bincount(part.astype(np.int64) * n + cells, minlength=n * len(self._parts))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        sums = torch.zeros(n, self.width, device=device)
        for number, strips in enumerate(self._parts):
            first, last = starts[number * n], starts[(number + 1) * n]
            own = torch.from_numpy(starts[number * n : (number + 1) * n] - first).to(device)
            inside = slice(int(first), int(last))
            for strip, columns in zip(strips, torch.split(sums, _STRIP, 1), strict=True):
                columns += embedding_bag(
                    rows[inside], strip, own, mode="sum", per_sample_weights=scales[inside]
                )
        return sums
