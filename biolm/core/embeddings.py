"""From token ids (and values, segments, positions) to the first hidden state.

Dimensions: ``t`` tokens · ``b`` documents · ``e`` embedding width (``d`` unless factorised) · ``d``
width · ``p`` numbers of a patch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core.config import CoreConfig
from biolm.core.norm import make_norm
from biolm.errors import InputError

__all__ = ["ContinuousValues", "Embeddings"]

# ESM was trained with 15 % of tokens chosen and 80 % of those masked; its inputs are scaled to that fraction.
_ESM_MASKED_SHARE = 0.15 * 0.8


class ContinuousValues(nn.Module):
    """scGPT's encoder of one number: clamp, linear, ReLU, linear, norm.

    Parameters
    ----------
    width
        ``e``.
    clip
        Largest value; larger ones are clamped.
    eps
        Of the norm.
    """

    def __init__(self, width: int, clip: float | None, eps: float) -> None:
        super().__init__()
        self.clip = clip
        self.first = nn.Linear(1, width)
        self.second = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, values: Tensor) -> Tensor:
        """``(t,)`` to ``(t, e)``."""
        x = values.to(self.first.weight.dtype)[:, None]  # (t, 1)
        if self.clip is not None:
            x = x.clamp(max=self.clip)
        return self.norm(self.second(F.relu(self.first(x))))  # type: ignore[no-any-return]


class Embeddings(nn.Module):
    """Sum of token, position, segment and value embeddings, with norm, dropout and projection."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        c = self.config = config
        self.token = nn.Embedding(c.vocab_size, c.embed_dim)
        width = c.d_model if c.project_tokens else c.embed_dim
        if c.position == "learned":
            self.position = nn.Embedding(c.max_length + c.position_offset, width)
        if c.n_segments:
            self.segment = nn.Embedding(c.n_segments, c.embed_dim)
        if c.value_encoder == "bins":
            self.value: nn.Module = nn.Embedding(c.n_values, c.embed_dim)
        elif c.value_encoder == "continuous":
            self.value = ContinuousValues(c.embed_dim, None, c.norm_eps)
        elif c.value_encoder == "patches":
            self.value = nn.Linear(c.n_values, c.embed_dim)
        if c.embed_norm:
            self.norm = make_norm(c, width, bias=c.embed_norm_bias)
        self.dropout = nn.Dropout(c.dropout_embed)
        factorised = c.embed_dim != c.d_model
        bias = not c.project_tokens
        self.projection = nn.Linear(c.embed_dim, c.d_model, bias=bias) if factorised else None

    def forward(self, batch: Batch) -> Tensor:
        """Embed a batch, ``(t, d)``.

        Raises
        ------
        InputError
            If the model reads values and the batch has none, an id lies outside the vocabulary, or a
            document is longer than the learned positions.
        """
        c = self.config
        self.check(batch)
        x = self.tokens(batch.ids)  # (t, e)
        if c.embed_scale != 1.0:
            # Gemma rounds the factor to the weights' number type before it multiplies.
            x = x * torch.tensor(c.embed_scale, dtype=x.dtype, device=x.device)
        if c.token_dropout:
            x = self._token_dropout(x, batch)
        if c.value_encoder != "none":
            x = x + self._values(batch)
        if c.n_segments:
            zero = torch.zeros_like(batch.ids)
            x = x + self.segment(zero if batch.segments is None else batch.segments.long())
        if c.project_tokens:
            assert self.projection is not None
            x = self.projection(x)
        if c.position == "learned":
            x = x + self.position(batch.positions + c.position_offset)
        elif c.position == "sinusoid":
            x = x + sinusoid(batch.positions, c.d_model).to(x.dtype)
        if c.embed_norm:
            x = self.norm(x)
        x = self.dropout(x)
        if self.projection is not None and not c.project_tokens:
            x = self.projection(x)
        return x  # type: ignore[no-any-return]

    def tokens(self, ids: Tensor) -> Tensor:
        """Embeddings ``(t, e)`` of tokens alone, as they enter the sum."""
        return self.token(ids)  # type: ignore[no-any-return]

    def check(self, batch: Batch) -> None:
        """Name what is wrong with a batch before any compute.

        Ids on an accelerator are not looked at: reading them back would stall it at every step.
        """
        c = self.config
        if c.value_encoder != "none" and batch.values is None:
            raise InputError(f"this model reads {c.value_encoder} values beside the ids; give Batch.values")
        if c.position in ("learned", "sinusoid") and batch.max_length > c.max_length:
            raise InputError(
                f"a document has {batch.max_length} tokens but the model {c.max_length} positions; "
                "truncate it, cut it into windows, or extend the positions"
            )
        _check_range(batch.ids, c.vocab_size, "token id {} lies outside the vocabulary")
        if c.n_segments and batch.segments is not None:
            _check_range(batch.segments, c.n_segments, "segment {} lies outside the model's")
        if c.value_encoder == "bins" and batch.values is not None:
            _check_range(batch.values, c.n_values, "bin {} lies outside the model's")

    def _values(self, batch: Batch) -> Tensor:
        assert batch.values is not None
        if self.config.value_encoder == "bins":
            return self.value(batch.values.long())  # type: ignore[no-any-return]
        encoded: Tensor = self.value(batch.values)
        if self.config.value_encoder == "patches":
            # Rows of summary tokens are all zero and must stay so in spite of the projection's bias.
            encoded = encoded * (batch.ids == PATCH_ID).to(encoded.dtype)[:, None]
        return encoded

    def _token_dropout(self, x: Tensor, batch: Batch) -> Tensor:
        """Zero the mask tokens and rescale each document by its observed fraction of them (ESM-1b, ESM-2)."""
        masked = batch.ids.eq(self.config.mask_id or 0)
        lengths = batch.lengths.long()
        document = torch.repeat_interleave(torch.arange(len(lengths), device=x.device), lengths)
        count = torch.zeros(len(lengths), dtype=x.dtype, device=x.device)
        count = count.index_add(0, document, masked.to(x.dtype))
        # Where all tokens are masked nothing is left to scale; the bound keeps it from becoming NaN.
        left = (1 - count / lengths.clamp(min=1)).clamp(min=1e-6)
        scale = (1 - _ESM_MASKED_SHARE) / left
        return x.masked_fill(masked[:, None], 0) * scale[document][:, None]


def sinusoid(positions: Tensor, width: int) -> Tensor:
    """Fixed positions ``(t, d)``: sines in the first half of the columns, cosines in the second.

    Column ``j`` of the interleaved form of Vaswani et al. (2017) turns by ``10000 ** (-2 (j // 2) / d)`` a
    token; here the sines of the even ones stand before the cosines of the odd ones.
    """
    columns = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    phase = positions.float()[:, None] * 10_000.0 ** (-columns / width)
    return torch.cat((phase.sin(), phase.cos()[:, : width // 2]), 1)


def _check_range(column: Tensor, size: int, message: str) -> None:
    if len(column) and column.device.type == "cpu":
        low, high = (int(x) for x in torch.aminmax(column))
        if low < 0 or high >= size:
            raise InputError(f"{message.format(low if low < 0 else high)} 0..{size - 1}")


PATCH_ID = 1
"""Token id of an image patch, whose content is in ``Batch.values``; 0 is the summary token."""
