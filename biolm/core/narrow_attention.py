"""Attention of bfloat16 on CPUs that multiply it: blocks of scores that stay in the cache.

Dimensions: ``b`` documents of equal length · ``q``, ``s`` queries and keys of one · ``h`` heads · ``j``
key-value heads · ``k`` head width.

torch's fused kernel multiplies bfloat16 on such CPUs no faster than float32. Two plain products, with a
softmax between them over a block of queries and all keys, run at the rate of bfloat16. Scores are rounded to
bfloat16 before the softmax, which the fused kernel keeps in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from biolm.core.hardware import multiplies_bfloat16

__all__ = ["LEAST", "attend_in_blocks", "suits_blocks"]

LEAST = 96
"""Tokens of a document from which blocks are faster than the fused kernel."""
_ROWS = 512  # queries of a block
_SCORES = 1 << 20  # of a block


def suits_blocks(*inputs: Tensor) -> bool:
    """Whether queries, keys and values are bfloat16 that the CPU multiplies itself, without a gradient."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        return False
    return all(x.device.type == "cpu" and x.dtype == torch.bfloat16 for x in inputs) and multiplies_bfloat16()


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax attention where every query sees every key of its document; without a gradient.

    Parameters
    ----------
    query
        ``(b, q, h, k)``.
    key, value
        ``(b, s, j, k)``; neighbouring heads share keys.
    scale
        Multiplies the scores.

    Returns
    -------
    ``(b, q, h, k)``.

    Examples
    --------
    >>> query, key, value = torch.randn(3, 2, 5, 4, 8).bfloat16()
    >>> attend_in_blocks(query, key, value, 8**-0.5).shape
    torch.Size([2, 5, 4, 8])
    """
    documents, asked, heads, width = query.shape
    keys, shared = key.shape[1], key.shape[2]
    repeat = heads // shared
    # Products of strided heads run at half the rate.
    q = (query * scale).view(documents, asked, shared, repeat, width).permute(0, 2, 3, 1, 4)
    q = q.reshape(documents * shared, repeat, asked, width)
    k = key.transpose(1, 2).reshape(documents * shared, keys, width).transpose(1, 2)
    v = value.transpose(1, 2).reshape(documents * shared, keys, width)
    out = query.new_empty((documents * shared, repeat, asked, width))
    blocks = -(-asked // _ROWS)
    rows = -(-asked // blocks)
    together = max(1, _SCORES // (repeat * rows * keys))
    buffers = query.new_empty((2, min(together, documents * shared), repeat * rows * keys))
    for first in range(0, len(q), together):
        own = slice(first, first + together)
        for start in range(0, asked, rows):
            block = q[own, :, start : start + rows]
            shape = (len(block), repeat * block.shape[2], keys)
            scores, weights = (x[: shape[0], : shape[1] * keys].view(shape) for x in buffers)
            torch.bmm(block.reshape(*shape[:2], width), k[own], out=scores)
            torch.softmax(scores, -1, out=weights)
            out[own, :, start : start + rows] = torch.bmm(weights, v[own]).view(block.shape)
    return out.view(documents, heads, asked, width).transpose(1, 2)
