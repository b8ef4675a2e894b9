"""XLNet's attention (Yang et al. 2019): relative positions and segments, and a second stream of queries.

Dimensions: ``t`` tokens · ``m`` tokens that are predicted · ``n`` tokens of one document · ``q`` its
queries · ``d`` width · ``h`` heads · ``k`` head width · ``v`` vocabulary.

The content stream sees itself; the query stream predicts a token from its place and from the contents that
precede it in a factorisation order, never from its own. Both run through the same layers, end to end in one
packed tensor: contents first, then queries; keys and values are those of contents alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core.attention import Context
from biolm.core.config import CoreConfig
from biolm.core.layout import Layout
from biolm.core.mixers import Mixer
from biolm.core.streams import Streams
from biolm.errors import ConfigError

__all__ = ["TWO_STREAM", "Streams", "TwoStream", "TwoStreamOptions", "two_stream_logits"]


@dataclass(frozen=True, kw_only=True)
class TwoStreamOptions:
    """Of ``two_stream``.

    Parameters
    ----------
    dropout
        Fraction of attention weights dropped in training.

    Raises
    ------
    ConfigError
        If it lies outside [0, 1).
    """

    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout of two_stream must lie in [0, 1), not {self.dropout}")


class TwoStream(nn.Module):
    """Attention of one layer; ``start`` is what queries begin as, kept by the first layer alone."""

    def __init__(self, config: CoreConfig, layer: int, options: TwoStreamOptions) -> None:
        super().__init__()
        heads, width = config.n_heads, config.head_dim
        self.shape = (heads, width)
        self.query, self.key, self.value, self.relative = (
            nn.Linear(config.d_model, heads * width, bias=False) for _ in range(4)
        )
        self.out = nn.Linear(heads * width, config.d_model, bias=False)
        self.content_bias, self.position_bias, self.segment_bias = (
            nn.Parameter(torch.zeros(heads, width)) for _ in range(3)
        )
        self.segments = nn.Parameter(0.02 * torch.randn(2, heads, width))
        if layer == 0:
            self.start = nn.Parameter(0.02 * torch.randn(config.d_model))
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``(t, d)``, or contents and queries ``(t + m, d)``, to the same."""
        layout, streams = context.layout, context.streams
        count = len(layout.q_positions)
        query = self.query(x).unflatten(1, self.shape)
        key, value = (part(x[:count]).unflatten(1, self.shape) for part in (self.key, self.value))
        contents, queries, maps = [], [], []
        start = count
        for number, (first, end, _, _) in enumerate(layout.spans):
            document = slice(first, end)
            segments = None if context.segments is None else context.segments[document]
            places = torch.arange(end - first, device=x.device)
            hidden = None
            if streams is not None:
                hidden = streams.hidden[number] & ~torch.eye(end - first, dtype=torch.bool, device=x.device)
            weights = self._weights(query[document], key[document], places, segments, hidden)
            maps.append(weights)
            contents.append(self._mix(weights, value[document]))
            if streams is not None:
                places = streams.targets[number]
                own = slice(start, start + len(places))
                start = own.stop
                hidden = streams.hidden[number][places]
                weights = self._weights(query[own], key[document], places, segments, hidden)
                queries.append(self._mix(weights, value[document]))
        if context.maps is not None:
            context.maps(tuple(maps))
        return self.out(torch.cat(contents + queries).flatten(1))  # type: ignore[no-any-return]

    def _weights(
        self, query: Tensor, key: Tensor, places: Tensor, segments: Tensor | None, hidden: Tensor | None
    ) -> Tensor:
        """Attention weights ``(h, q, n)``; zeros for a query that sees nothing."""
        length = len(key)
        content = torch.einsum("qhk,nhk->hqn", query + self.content_bias, key)
        table = self._relative(length, key)
        position = torch.einsum("qhk,rhk->hqr", query + self.position_bias, table)
        behind = places[:, None] - torch.arange(length, device=key.device)  # query's place less the key's
        index = (behind + length - 1).expand(len(position), -1, -1)
        scores = content + position.gather(2, index)
        if segments is None and self.training:
            # Several processes wait for the gradient of every weight, also of those that are not used.
            scores = scores + 0 * (self.segments.sum() + self.segment_bias.sum())
        if segments is not None:
            segment = torch.einsum("qhk,shk->hqs", query + self.segment_bias, self.segments)
            differ = (segments[places, None] != segments[None, :]).long()
            scores = scores + segment.gather(2, differ.expand(len(segment), -1, -1))
        scores = scores / math.sqrt(self.shape[1])
        if hidden is None:
            return scores.softmax(-1)
        return scores.masked_fill(hidden, float("-inf")).softmax(-1).nan_to_num(0.0)

    def _relative(self, length: int, like: Tensor) -> Tensor:
        """``(2 n - 1, h, k)`` for keys from ``n - 1`` places behind to as many ahead of the query."""
        width = self.relative.in_features
        behind = torch.arange(1 - length, length, dtype=torch.float32, device=like.device)
        rates = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32, device=like.device) / width)
        phase = behind[:, None] * rates
        table = torch.cat((phase.sin(), phase.cos()), 1).to(like.dtype)
        return self.relative(table).unflatten(1, self.shape)  # type: ignore[no-any-return]

    def _mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return torch.einsum("hqn,nhk->qhk", self.dropout(weights), value)


def two_stream_logits(model: Any, batch: Batch, streams: Streams) -> Tensor:
    """Logits ``(m, v)`` of the predicted tokens, document by document.

    Parameters
    ----------
    model
        A :class:`biolm.core.Transformer` whose every layer mixes by ``two_stream``.
    batch
        Packed tokens; their own ids at the predicted places are not seen by the queries.
    streams
        What is predicted, and from what.

    Raises
    ------
    ConfigError
        If a layer has another mixer, or the model no token head.
    InputError
        If the streams do not fit the documents.
    """
    config = model.config
    if any(config.layer_mixer(layer) != "two_stream" for layer in range(config.n_layers)):
        raise ConfigError("two streams need the mixer two_stream in every layer")
    if config.head != "linear":
        raise ConfigError("predicting tokens needs head='linear'")
    streams.check(batch)
    x = model.embeddings(batch)
    count = sum(len(places) for places in streams.targets)
    start = model.layers[0].attention.start.expand(count, -1).to(x.dtype)
    context = Context(
        Layout.of(batch.offsets, batch.positions, batch.max_length),
        segments=batch.segments,
        streams=streams,
        kernel=model.kernel,
    )
    both = torch.cat((x, model.embeddings.dropout(start)))
    for layer in range(config.n_layers):
        both = model.layers[0 if config.share_layers else layer](both, context)
    states = model.final_norm(both[len(x) :])
    return model.head(states, model.embeddings.token.weight)  # type: ignore[no-any-return]


TWO_STREAM = Mixer(
    name="two_stream",
    factory=TwoStream,
    options=TwoStreamOptions,
    supports=frozenset({"bidirectional", "order", "maps"}),
)
