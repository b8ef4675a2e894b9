"""One layer: attention (or another mixer) and feed-forward with their norms and residuals.

Dimensions: ``t`` tokens · ``d`` width.

============  =======================================================
``pre``       ``x + f(norm(x))``
``post``      ``norm(x + f(x))``
``sandwich``  ``x + norm(f(norm(x)))``
``parallel``  ``x + attention(norm(x)) + mlp(norm(x))``
============  =======================================================
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biolm.core.attention import Attention, Context
from biolm.core.config import CoreConfig
from biolm.core.mixers import make_mixer
from biolm.core.mlp import FeedForward
from biolm.core.norm import norm_at

__all__ = ["Block"]


class Block(nn.Module):
    """A transformer layer in one of four arrangements.

    Parameters
    ----------
    config
        Shape and switches.
    layer
        Its number; layers may differ in mixer, window and first norm.

    Attributes
    ----------
    branch_dtype
        Number type in which attention and feed-forward run, where it is not that of ``x``; norms and sums
        stay in that of ``x``. See :mod:`biolm.core.reduced`.
    """

    def __init__(self, config: CoreConfig, layer: int) -> None:
        super().__init__()
        self.kind = config.block
        self.scale = config.residual_scale
        self.attention = make_mixer(config, layer)
        self.mlp = FeedForward(config, layer)
        self.dropout = nn.Dropout(config.dropout_residual)
        skipped = layer == 0 and not config.first_attn_norm
        self.attn_norm = nn.Identity() if skipped else norm_at(config, "layers")
        shared = config.block == "parallel" and config.shared_norm
        self.mlp_norm = None if shared else norm_at(config, "layers")
        if config.block == "sandwich":
            self.attn_out_norm, self.mlp_out_norm = norm_at(config, "layers"), norm_at(config, "layers")
        if config.cross_attention:
            self.cross, self.cross_norm = Attention(config, cross=True), norm_at(config, "layers")
        self.branch_dtype: torch.dtype | None = None
        self.layer_scale = config.layer_scale
        if config.layer_scale:
            self.attn_scale = nn.Parameter(torch.ones(config.d_model))
            self.mlp_scale = nn.Parameter(torch.ones(config.d_model))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``(t, d)`` to ``(t, d)``, or to ``(m, d)`` where only some rows are wanted.

        Parameters
        ----------
        x
            ``(t, d)`` states of all documents, one after the other.
        context
            What all layers of a pass share.
        """
        rows = context.rows
        kept = x if rows is None else x[rows]
        if self.kind == "parallel":
            normed = self.attn_norm(x)
            second = normed if self.mlp_norm is None else self.mlp_norm(x)
            return kept + self._attend(normed, context) + self._feed(second if rows is None else second[rows])
        assert self.mlp_norm is not None
        if self.kind == "post":
            x = self.attn_norm(kept + self._attend(x, context))
            if context.memory is not None:
                x = self.cross_norm(x + self._cross(x, context))
            return self.mlp_norm(x + self._feed(x))  # type: ignore[no-any-return]
        if self.kind == "sandwich":
            x = kept + self.attn_out_norm(self._attend(self.attn_norm(x), context))
            return x + self.mlp_out_norm(self._feed(self.mlp_norm(x)))  # type: ignore[no-any-return]
        x = kept + self._attend(self.attn_norm(x), context)
        if context.memory is not None:
            x = x + self._cross(self.cross_norm(x), context)
        return x + self._feed(self.mlp_norm(x))

    def _attend(self, x: Tensor, context: Context) -> Tensor:
        return self._branch(self.attention(self._narrow(x), context), "attn_scale")

    def _cross(self, x: Tensor, context: Context) -> Tensor:
        return self._branch(self.cross(x, context), None)

    def _feed(self, x: Tensor) -> Tensor:
        return self._branch(self.mlp(self._narrow(x)), "mlp_scale")

    def _narrow(self, x: Tensor) -> Tensor:
        return x if self.branch_dtype is None else x.to(self.branch_dtype)

    def _branch(self, x: Tensor, factor: str | None) -> Tensor:
        """Dropout, then the factors that some families put on a branch."""
        if self.layer_scale and factor is not None:
            x = x * getattr(self, factor)
        if self.training:
            x = self.dropout(x)
        return x if self.scale == 1.0 else x * self.scale
