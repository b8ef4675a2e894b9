"""From the hidden states of a document's tokens to one vector.

Dimensions: ``t`` tokens · ``b`` documents · ``d`` width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from biolm.errors import ConfigError

__all__ = ["POOLS", "pool"]

POOLS = ("mean", "cls", "max", "sum", "last")


def pool(
    states: Tensor,
    offsets: Tensor,
    how: str,
    *,
    skip: tuple[int, int] = (0, 0),
    weights: Tensor | None = None,
) -> Tensor:
    """One vector a document.

    Parameters
    ----------
    states
        ``(t, d)`` packed hidden states.
    offsets
        ``(b + 1,)`` document starts.
    how
        ``mean``, ``max`` or ``sum`` over the kept tokens; ``cls`` the first, ``last`` the last one.
    skip
        Tokens at the start and at the end that ``mean``, ``max`` and ``sum`` leave out (cls, eos).
    weights
        ``(t,)`` weights of ``mean`` and ``sum``.

    Returns
    -------
    ``(b, d)``; zeros for a document without kept tokens.

    Raises
    ------
    ConfigError
        For an unknown way to pool.

    Examples
    --------
    >>> pool(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 2, 3]), "mean").flatten().tolist()
    [2.0, 5.0]
    """
    if how not in POOLS:
        raise ConfigError(f"pool must be one of {', '.join(POOLS)}, not {how!r}")
    offsets = offsets.long()
    starts, ends = offsets[:-1], offsets[1:]
    if how in ("cls", "last"):
        filled = ends > starts
        place = (starts if how == "cls" else ends - 1).clamp(min=0, max=max(len(states) - 1, 0))
        rows = states[place] if len(states) else states.new_zeros((len(starts), states.shape[-1]))
        return torch.where(filled[:, None], rows, 0)
    starts, ends = starts + skip[0], ends - skip[1]
    lengths = (ends - starts).clamp(min=0)
    document = torch.repeat_interleave(torch.arange(len(starts), device=states.device), lengths)
    firsts = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths)
    kept = firsts + torch.arange(len(document), device=states.device)
    out = states.new_zeros((len(starts), states.shape[-1]))
    if how == "max":
        spread = document[:, None].expand(-1, states.shape[-1])
        return out.scatter_reduce(0, spread, states[kept], "amax", include_self=False)
    rows = states[kept] if weights is None else states[kept] * weights[kept, None]
    total = out.index_add(0, document, rows)
    if how == "sum":
        return total
    if weights is None:
        return total / lengths.clamp(min=1)[:, None]
    mass = states.new_zeros(len(starts)).index_add(0, document, weights[kept].to(states.dtype))
    return total / mass.clamp(min=torch.finfo(states.dtype).tiny)[:, None]
