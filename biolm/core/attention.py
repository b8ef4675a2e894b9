"""Multi-head attention over a packed batch.

Dimensions: ``t`` query tokens · ``u`` key tokens · ``d`` width · ``h`` heads · ``j`` key-value heads ·
``k`` head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core.config import CoreConfig
from biolm.core.kernels import attend, attention_maps
from biolm.core.layout import Layout, Rule
from biolm.core.norm import RMSNorm
from biolm.core.positions import PositionBias, rotate
from biolm.core.state import KeysValues, Store

if TYPE_CHECKING:
    from biolm.core.streams import Streams

__all__ = ["Attention", "Cache", "Context"]


class Cache(Protocol):
    """What every layer remembers of earlier tokens, see :class:`biolm.core.cache.DecodingCache`."""

    def open(self, batch: Batch) -> Sequence[Store]:
        """One store for each layer, for the forward pass of this batch."""
        ...

    def advance(self) -> None:
        """Note that every layer has seen the batch."""
        ...


class Context:
    """What the layers of one forward pass share: layouts, rotary tables, biases, the other stream.

    Parameters
    ----------
    layout
        Documents of the queries and keys of self-attention.
    rope
        Cosine and sine of the tokens, for windowed layers and for the others.
    bias
        Bias on self-attention scores.
    memory
        ``(u, d)`` packed second stream for cross-attention, with its layout.
    kernel
        Name of the attention kernel, see :mod:`biolm.core.kernels`.
    maps
        Receives the attention maps of each layer, when they are asked for.
    store
        Earlier tokens of the layer that runs, in generation.
    rows
        ``(m,)`` the tokens whose states the layer that runs is to give; None for all.
    segments
        ``(t,)`` token types, for mixers that read them.
    streams
        What the second stream predicts, see :mod:`biolm.core.two_stream`.
    """

    __slots__ = (
        *("bias", "kernel", "layout", "maps", "memory", "memory_layout"),
        *("rope", "rows", "segments", "store", "streams"),
    )

    def __init__(
        self,
        layout: Layout,
        *,
        rope: tuple[Tensor, Tensor] | None = None,
        bias: PositionBias | None = None,
        memory: Tensor | None = None,
        memory_layout: Layout | None = None,
        kernel: str = "auto",
        maps: Callable[[tuple[Tensor, ...]], None] | None = None,
        segments: Tensor | None = None,
        streams: Streams | None = None,
    ) -> None:
        self.layout = layout
        self.rope = rope
        self.bias = bias
        self.memory = memory
        self.memory_layout = memory_layout
        self.store: Store | None = None
        self.kernel = kernel
        self.maps = maps
        self.rows: Tensor | None = None
        self.segments = segments
        self.streams = streams


class Attention(nn.Module):
    """Softmax attention with grouped heads, rotary or biased positions, and norms on queries and keys.

    Parameters
    ----------
    config
        Shape and switches.
    window
        Window of this layer, 0 for none.
    cross
        Keys and values come from the second stream, without mask or positions.
    """

    def __init__(self, config: CoreConfig, *, window: int = 0, cross: bool = False) -> None:
        super().__init__()
        c = config
        self.n_heads, self.n_kv_heads, self.head_dim = c.n_heads, c.n_kv_heads, c.head_dim
        self.query = nn.Linear(c.d_model, c.n_heads * c.head_dim, bias=c.qkv_bias)
        self.key = nn.Linear(c.d_model, c.n_kv_heads * c.head_dim, bias=c.qkv_bias)
        self.value = nn.Linear(c.d_model, c.n_kv_heads * c.head_dim, bias=c.qkv_bias)
        self.out = nn.Linear(c.n_heads * c.head_dim, c.d_model, bias=c.out_bias)
        self.qk_norm = c.qk_norm
        if c.qk_norm != "none":
            self.query_norm = _qk_norm(c, c.n_heads)
            self.key_norm = _qk_norm(c, c.n_kv_heads)
        self.cross = cross
        self.rope_interleaved = c.rope_interleaved
        self.dropout = c.dropout_attention
        self.rule = Rule(
            causal=c.causal and not cross,
            window=0 if cross else window,
            scale=c.head_dim**-0.5 if c.attn_scale is None else c.attn_scale,
            softcap=c.attn_softcap,
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``(t, d)`` to ``(t, d)``, or to ``(m, d)`` where only some rows are wanted.

        Parameters
        ----------
        x
            ``(t, d)`` states of all documents, one after the other.
        context
            What all layers of a pass share: layout, positions, cache, which rows are wanted.
        """
        if self.cross:
            return self._cross(x, context)
        rows, rope, layout = context.rows, context.rope, context.layout
        query, (key, value) = self.queries(x if rows is None else x[rows]), self.keys_values(x)
        if rope is not None:
            own = rope if rows is None else (rope[0][rows], rope[1][rows])
            query = rotate(query, own, interleaved=self.rope_interleaved)
            key = rotate(key, rope, interleaved=self.rope_interleaved)
        if rows is not None:
            layout = layout.asking(rows)
        if context.maps is not None:
            context.maps(attention_maps(query, key, layout, self.rule, context.bias))
        if context.store is not None:
            mixed = context.store.attend(
                query, key, value, self._rule(), bias=context.bias, kernel=context.kernel
            )
        else:
            mixed = attend(
                query, key, value, layout, self._rule(), bias=context.bias, kernel=context.kernel
            )  # (t, h, k)
        return self.out(mixed.flatten(1))  # type: ignore[no-any-return]  # (t, d)

    def _cross(self, x: Tensor, context: Context) -> Tensor:
        memory, layout, store = context.memory, context.memory_layout, context.store
        assert memory is not None
        assert layout is not None
        key, value = self.keys_values(memory) if store is None else store.project(memory, self.keys_values)
        mixed = attend(self.queries(x), key, value, layout, self._rule(), kernel=context.kernel)
        return self.out(mixed.flatten(1))  # type: ignore[no-any-return]

    def decoding_state(self) -> KeysValues:
        """Keys and values of each sequence, of the window alone where there is one."""
        return KeysValues(self.key.weight.new_empty((self.n_kv_heads, self.head_dim)), self.rule.window)

    def _rule(self) -> Rule:
        if self.training and self.dropout:
            return replace(self.rule, dropout=self.dropout)
        return self.rule

    def queries(self, x: Tensor) -> Tensor:
        """Queries ``(t, h, k)`` of a stream ``(t, d)``, without positions."""
        query = self.query(x)
        if self.qk_norm == "full":
            query = self.query_norm(query)
        query = query.unflatten(-1, (self.n_heads, self.head_dim))  # (t, h, k)
        if self.qk_norm in ("head", "each"):
            query = self.query_norm(query)
        return query  # type: ignore[no-any-return]

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values ``(u, j, k)`` of a stream ``(u, d)``, without positions."""
        key = self.key(source)
        if self.qk_norm == "full":
            key = self.key_norm(key)
        key = key.unflatten(-1, (self.n_kv_heads, self.head_dim))
        if self.qk_norm in ("head", "each"):
            key = self.key_norm(key)
        return key, self.value(source).unflatten(-1, (self.n_kv_heads, self.head_dim))


class HeadNorms(nn.Module):
    """Norm of each head with weights of its own."""

    def __init__(self, config: CoreConfig, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_norm(config, config.head_dim) for _ in range(heads))

    def forward(self, x: Tensor) -> Tensor:
        """``(t, h, k)`` to the same."""
        return torch.stack([norm(part) for norm, part in zip(self.norms, x.unbind(1), strict=True)], 1)


def _qk_norm(config: CoreConfig, heads: int) -> nn.Module:
    if config.qk_norm == "each":
        return HeadNorms(config, heads)
    return _norm(config, heads * config.head_dim if config.qk_norm == "full" else config.head_dim)


def _norm(config: CoreConfig, width: int) -> nn.Module:
    # Every published model with these norms has them without a bias.
    if config.norm == "rmsnorm":
        return RMSNorm(width, config.norm_eps, plus_one=config.norm_plus_one)
    return nn.LayerNorm(width, config.norm_eps, bias=False)
