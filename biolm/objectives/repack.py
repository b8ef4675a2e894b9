"""Batches made of batches: some of the tokens, or several views of each example one after the other.

Dimensions: ``b`` examples · ``t`` tokens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.objectives.masking import documents

__all__ = ["join", "take_tokens"]


def take_tokens(batch: Batch, keep: Tensor) -> Batch:
    """The batch with only the tokens ``keep (t,)``; examples may become empty, none is dropped.

    Parameters
    ----------
    batch
        Packed tokens.
    keep
        ``(t,)`` whether each stays.
    """
    document = documents(batch)[keep]
    lengths = torch.bincount(document, minlength=len(batch))
    offsets = torch.zeros_like(batch.offsets)
    offsets[1:] = lengths.cumsum(0)
    return replace(
        batch,
        ids=batch.ids[keep],
        offsets=offsets,
        positions=torch.arange(len(document), device=keep.device) - offsets.long()[document],
        max_length=int(lengths.max()) if len(batch) else 0,
        values=None if batch.values is None else batch.values[keep],
        segments=None if batch.segments is None else batch.segments[keep],
        layout=None,
        private=None if batch.private is None else batch.private[keep],
    )


def join(first: Batch, second: Batch) -> Batch:
    """Documents of one batch, then those of another; both with the same columns.

    Parameters
    ----------
    first, second
        Batches with the same columns.
    """

    def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else torch.cat((a, b))

    return Batch(
        ids=torch.cat((first.ids, second.ids)),
        offsets=torch.cat((first.offsets, first.offsets[-1] + second.offsets[1:])),
        positions=torch.cat((first.positions, second.positions)),
        max_length=max(first.max_length, second.max_length),
        index=torch.cat((first.index, second.index)),
        values=both(first.values, second.values),
        segments=both(first.segments, second.segments),
        private=both(first.private, second.private),
    )
