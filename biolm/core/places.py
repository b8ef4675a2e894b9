"""Attention among tokens that lie in a plane: a bias by relative distance, never absolute coordinates.

Dimensions: ``b`` spots · ``s`` tokens of a spot, the same number for all · ``d`` width · ``h`` heads · ``r``
radii.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biolm.core.attention import Attention
from biolm.core.config import CoreConfig
from biolm.core.mlp import FeedForward
from biolm.core.norm import make_norm

__all__ = ["NeighbourLayer", "PlaceBias"]


class PlaceBias(nn.Module):
    """A learned bias on attention by distance in the plane: ``Σ_r w_hr · exp(−(|Δ| / ρ_r)²)``.

    Only differences of places enter, so nothing changes when a section is moved, turned or mirrored.

    Parameters
    ----------
    n_heads
        ``h``.
    radii
        ``ρ``, in the unit of the places.
    """

    radii: Tensor

    def __init__(self, n_heads: int, radii: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)) -> None:
        super().__init__()
        self.register_buffer("radii", torch.tensor(radii), persistent=False)
        self.weight = nn.Parameter(torch.zeros(n_heads, len(radii)))

    def forward(self, places: Tensor) -> Tensor:
        """``(b, s, 2)`` places to ``(b, h, s, s)`` biases."""
        squared = (places[:, None] - places[:, :, None]).float().square().sum(-1, keepdim=True)
        near = torch.exp(-squared / self.radii**2)  # (b, s, s, r)
        return (near @ self.weight.T).movedim(-1, 1)


class NeighbourLayer(nn.Module):
    """A pre-norm layer in which the tokens of a spot look at each other, biased by where they lie.

    Parameters
    ----------
    config
        Width, heads, norms and dropout.

    Examples
    --------
    >>> layer = NeighbourLayer(CoreConfig(vocab_size=1, d_model=8, n_layers=1, n_heads=2, d_ff=8))
    >>> layer(torch.ones(3, 4, 8), torch.zeros(3, 4, 2), torch.ones(3, 4, dtype=torch.bool)).shape
    torch.Size([3, 4, 8])
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.norm, self.mlp_norm = make_norm(config), make_norm(config)
        self.attention, self.mlp = Attention(config), FeedForward(config)
        self.bias = PlaceBias(config.n_heads)
        self.dropout = nn.Dropout(config.dropout_residual)

    def forward(self, x: Tensor, places: Tensor, seen: Tensor) -> Tensor:
        """Run the layer.

        Parameters
        ----------
        x
            ``(b, s, d)``.
        places
            ``(b, s, 2)``.
        seen
            ``(b, s)`` tokens that exist; the others are looked at by nobody.

        Returns
        -------
        ``(b, s, d)``.
        """
        shape = x.shape[:2]
        normed = self.norm(x).flatten(0, 1)
        query, (key, value) = self.attention.queries(normed), self.attention.keys_values(normed)
        # Now of shape (b, h, s, k).
        query, key, value = (y.view(*shape, *y.shape[1:]).transpose(1, 2) for y in (query, key, value))
        bias = self.bias(places).to(query.dtype).masked_fill(~seen[:, None, None], float("-inf"))
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=self.attention.rule.scale, enable_gqa=True
        )
        x = x + self.dropout(self.attention.out(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]
