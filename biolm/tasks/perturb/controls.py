"""Random genes that stand beside a gene: expressed about as highly, in the same cell.

Dimensions: ``m`` genes of the vocabulary · ``n`` cells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.perturb.edits import Edit

__all__ = ["MatchedGenes"]

# How far a control may lie: places among the expressed genes of the cell (or this fraction of them), and
# places among all genes by their mean.
_PLACES, _SHARE, _AROUND = 10, 0.05, 50


class MatchedGenes:
    """Draws genes that resemble others.

    A gene that the cell expresses is matched by its place among the cell's expressed genes, highest first;
    one that it does not express by its mean over all cells, among the genes that the cell does not express.

    Parameters
    ----------
    rows
        Vocabulary rows of the genes of the file.
    means
        ``(m,)`` mean fraction of the counts.
    seed
        Seeds the draws, which depend on the seed, the cell and the edit alone.
    """

    def __init__(self, rows: NDArray[np.int64], means: NDArray[np.float64], seed: int) -> None:
        self._order = rows[np.argsort(-means[rows], kind="stable")]
        self._place = np.full(len(means), -1, np.int64)
        self._place[self._order] = np.arange(len(self._order))
        self._seed = seed

    def draw(
        self,
        edit: Edit,
        expressed: NDArray[np.int64],
        cell: int,
        number: int,
        count: int,
        changes: Callable[[Edit], bool],
    ) -> list[Edit]:
        """``count`` edits of the same kind with other genes; fewer where there are none.

        Like the edit itself, each changes something in the cell: one that does not has a shift of 0.

        Parameters
        ----------
        edit
            The edit to match.
        expressed
            Genes of the cell, highest first.
        cell, number
            Row number of the cell and number of the edit.
        count
            How many.
        changes
            Whether an edit changes anything in this cell.
        """
        # By cell and edit, so that neither the order of blocks nor other edits change what is drawn.
        rng = np.random.default_rng([self._seed, cell, number])
        drawn: list[Edit] = []
        for _ in range(count):
            chosen: tuple[int, ...] = ()
            for gene in edit.genes:
                taken = {*edit.genes, *chosen}
                near = [row for row in self._near(gene, expressed).tolist() if row not in taken]
                # Whether a cell changes can be asked of a whole edit alone.
                last = len(chosen) == len(edit.genes) - 1
                while near:
                    row = near.pop(int(rng.integers(len(near))))
                    if not last or changes(_like(edit, (*chosen, row))):
                        break
                else:
                    return drawn
                chosen = (*chosen, row)
            drawn.append(_like(edit, chosen))
        return drawn

    def _near(self, gene: int, expressed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Genes about as high as this one."""
        at = np.flatnonzero(expressed == gene)
        if len(at):
            reach = max(_PLACES, int(_SHARE * len(expressed)))
            return expressed[max(0, at[0] - reach) : at[0] + reach + 1]
        place = self._place[gene]
        around = self._order[max(0, place - _AROUND) : place + _AROUND + 1]
        # A gene that the cell does not express is matched with others that it does not express.
        return around[~np.isin(around, expressed)]


def _like(edit: Edit, genes: tuple[int, ...]) -> Edit:
    """An edit of the same kind with other genes."""
    cut = len(edit.deleted)
    return Edit(genes[:cut], genes[cut:])
