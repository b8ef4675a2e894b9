"""Flow attention (Wu et al. 2022, Flowformer): linear in the tokens, as CellPLM uses it between cells.

Queries and keys go through a sigmoid. What flows into a query and out of a key is normalised, a query keeps a
fraction of what arrives (its sink), and keys compete for what is sent (a softmax over the document). Every
document stands alone.

Dimensions: ``s`` tokens of a document · ``h`` heads · ``e`` width of a head · ``d`` width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biolm.core.attention import Context
from biolm.core.config import CoreConfig
from biolm.core.mixers import Mixer

__all__ = ["FLOWFORMER", "FlowAttention", "flow"]

_LEAST = 1e-6  # added to both factors of each inner product


def flow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Flow attention of one document.

    Parameters
    ----------
    q, k, v
        ``(h, s, e)``, before the sigmoid.

    Returns
    -------
    ``(h, s, e)``.

    Examples
    --------
    >>> flow(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2), torch.ones(1, 3, 2)).shape
    torch.Size([1, 3, 2])
    """
    q, k = q.sigmoid(), k.sigmoid()

    def product(each: Tensor, summed: Tensor) -> Tensor:
        return ((each + _LEAST) * (summed.sum(1, keepdim=True) + _LEAST)).sum(2, keepdim=True)  # (h, s, 1)

    arriving, leaving = 1 / product(q, k), 1 / product(k, q)
    kept = product(q, k * leaving).sigmoid()
    sent = product(k, q * arriving).clamp(-1, 1).softmax(1) * k.shape[1]
    return (q * arriving) @ (k.transpose(1, 2) @ (v * sent)) * kept


class FlowAttention(nn.Module):
    """The mixer: flow attention of each document with itself."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        inner = config.n_heads * config.head_dim
        self.heads = config.n_heads
        self.query, self.key, self.value = (
            nn.Linear(config.d_model, inner, bias=config.qkv_bias) for _ in range(3)
        )
        self.out = nn.Linear(inner, config.d_model, bias=config.out_bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Tokens ``(t, d)`` of all documents to as many."""
        q, k, v = (
            f(x).unflatten(1, (self.heads, -1)).transpose(0, 1) for f in (self.query, self.key, self.value)
        )
        parts = [
            flow(q[:, start:end], k[:, start:end], v[:, start:end])
            for start, end, *_ in context.layout.spans
            if end > start
        ]
        mixed = torch.cat(parts, 1) if parts else v
        return self.out(mixed.transpose(0, 1).flatten(1))  # type: ignore[no-any-return]


def _make(config: CoreConfig, _layer: int, _options: None) -> nn.Module:
    return FlowAttention(config)


FLOWFORMER = Mixer(name="flowformer", factory=_make, supports=frozenset({"bidirectional"}))
