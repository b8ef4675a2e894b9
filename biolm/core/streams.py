"""What the second stream of XLNet's attention predicts; see :mod:`biolm.core.two_stream`.

Dimensions: ``n`` tokens of one document · ``m`` tokens that are predicted · ``b`` documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from biolm.batch import Batch
from biolm.errors import InputError

__all__ = ["Streams"]


@dataclass(frozen=True)
class Streams:
    """What is predicted, and from what; an entry for each document.

    Parameters
    ----------
    hidden
        ``(n, n)`` bool: whether the token of a row may not see the one of a column (``perm_mask``). Contents
        see themselves whatever the diagonal says.
    targets
        ``(m,)`` places that are predicted (``target_mapping``).
    """

    hidden: Sequence[Tensor]
    targets: Sequence[Tensor]

    @classmethod
    def by_order(cls, orders: Sequence[Tensor], targets: Sequence[Tensor]) -> Streams:
        """From the rank ``(n,)`` of each token in the factorisation order.

        Parameters
        ----------
        orders
            ``(n,)`` rank of each token, a tensor for each document.
        targets
            ``(m,)`` places of the tokens that are predicted, a tensor for each document.

        Examples
        --------
        >>> import torch
        >>> streams = Streams.by_order([torch.tensor([2, 0, 1])], [torch.tensor([0])])
        >>> streams.hidden[0].int().tolist()
        [[1, 0, 0], [1, 1, 1], [1, 0, 1]]
        """
        return cls([order[None, :] >= order[:, None] for order in orders], targets)

    def check(self, batch: Batch) -> None:
        """Refuse streams of other documents.

        Raises
        ------
        InputError
            Names the document.
        """
        sizes = batch.lengths.tolist()
        if not len(sizes) == len(self.hidden) == len(self.targets):
            raise InputError(f"{len(sizes)} documents need as many masks and lists of targets")
        for number, (size, hidden, places) in enumerate(zip(sizes, self.hidden, self.targets, strict=True)):
            outside = len(places) and not bool(((places >= 0) & (places < size)).all())
            if hidden.shape != (size, size) or outside:
                raise InputError(f"mask or targets of document {number} do not fit its {size} tokens")
