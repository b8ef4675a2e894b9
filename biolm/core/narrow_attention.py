"""Attention of bfloat16 on CPUs that multiply it: blocks of scores that stay in the cache.

Dimensions: ``b`` documents of equal length · ``q``, ``s`` queries and keys of one · ``h`` heads · ``j``
key-value heads, each of ``r = h / j`` heads · ``k`` head width · ``n`` queries of a block.

torch's fused kernel multiplies bfloat16 on such CPUs no faster than float32. Two plain products, with a
softmax between them over a block of queries and all keys, run at the rate of bfloat16. Scores are rounded to
bfloat16 before the softmax, which the fused kernel keeps in float32. The backward pass computes the weights
of a block again (Dao et al. 2022, algorithm 4, with all keys in one tile).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from biolm.core.hardware import multiplies_bfloat16

__all__ = ["LEAST", "attend_in_blocks", "suits_blocks"]

LEAST = 96
"""Tokens of a document from which blocks are faster than the fused kernel."""
_ROWS = 512  # queries of a block
_SCORES = 1 << 20  # of a block


def suits_blocks(*inputs: Tensor) -> bool:
    """Whether queries, keys and values are bfloat16 that the CPU multiplies itself."""
    return all(x.device.type == "cpu" and x.dtype == torch.bfloat16 for x in inputs) and multiplies_bfloat16()


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax attention where every query sees every key of its document.

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
    out: Tensor = _Blocks.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return out


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        shared = key.shape[2]
        # Mixed precision would take the softmax to float32.
        with torch.autocast("cpu", enabled=False):
            q, k, v = _heads_first(query * scale, shared), _flat(key), _flat(value)
            out = torch.empty_like(q)
            for own, rows, weights in _weights(q, k):
                out[own, :, rows] = torch.bmm(weights, v[own]).view_as(out[own, :, rows])
        out = _heads_last(out, query)
        ctx.save_for_backward(query, key, value, out)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, out = ctx.saved_tensors
        shared = key.shape[2]
        with torch.autocast("cpu", enabled=False):
            q, k, v = _heads_first(query * ctx.scale, shared), _flat(key), _flat(value)
            g = _heads_first(grad, shared)
            # What a change of all scores of a query by the same would do, which the softmax takes away.
            common = (g.float() * _heads_first(out, shared).float()).sum(-1, keepdim=True).to(g.dtype)
            to_query = torch.empty_like(q)
            to_key, to_value = (torch.zeros_like(x, dtype=torch.float32) for x in (k, v))
            for own, rows, weights in _weights(q, k):
                gradient, block = g[own, :, rows].flatten(1, 2), q[own, :, rows].flatten(1, 2)
                to_value[own] += torch.bmm(weights.transpose(1, 2), gradient)
                scores = torch.bmm(gradient, v[own].transpose(1, 2))
                scores.sub_(common[own, :, rows].flatten(1, 2)).mul_(weights)
                to_query[own, :, rows] = torch.bmm(scores, k[own]).view_as(to_query[own, :, rows])
                to_key[own] += torch.bmm(scores.transpose(1, 2), block)
            grads = [x.to(k.dtype).view(-1, shared, *x.shape[1:]).transpose(1, 2) for x in (to_key, to_value)]
            return _heads_last(to_query, query) * ctx.scale, *grads, None


def _heads_first(x: Tensor, shared: int) -> Tensor:
    """``(b, q, h, k)`` to ``(b j, r, q, k)``, copied: products of strided heads run at half the rate."""
    documents, asked, heads, width = x.shape
    grouped = x.reshape(documents, asked, shared, heads // shared, width)
    return grouped.permute(0, 2, 3, 1, 4).flatten(0, 1).contiguous()


def _flat(x: Tensor) -> Tensor:
    """``(b, s, j, k)`` to ``(b j, s, k)``."""
    return x.transpose(1, 2).flatten(0, 1).contiguous()


def _heads_last(x: Tensor, like: Tensor) -> Tensor:
    """``(b j, r, q, k)`` to ``(b, q, h, k)``."""
    documents, asked, heads, width = like.shape
    return x.view(documents, heads, asked, width).transpose(1, 2)


def _weights(q: Tensor, k: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Heads and queries of each block, and their weights ``(heads, r n, s)``, overwritten by the next.

    Parameters
    ----------
    q
        ``(b j, r, q, k)``, scaled.
    k
        ``(b j, s, k)``.
    """
    heads, repeat, asked, _ = q.shape
    keys = k.shape[1]
    step = -(-asked // -(-asked // _ROWS))
    together = min(heads, max(1, _SCORES // (repeat * step * keys)))
    buffers = q.new_empty((2, together * repeat * step * keys))
    for first in range(0, heads, together):
        own = slice(first, min(first + together, heads))
        for start in range(0, asked, step):
            rows = slice(start, min(start + step, asked))
            shape = (own.stop - own.start, repeat * (rows.stop - rows.start), keys)
            scores, weights = (x[: shape[0] * shape[1] * keys].view(shape) for x in buffers)
            torch.bmm(q[own, :, rows].flatten(1, 2), k[own].transpose(1, 2), out=scores)
            torch.softmax(scores, -1, out=weights)
            yield own, rows, weights
