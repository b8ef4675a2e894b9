"""One attention function; which kernel runs is hidden here.

Dimensions: ``t`` query tokens · ``u`` key tokens · ``h`` heads · ``j`` key-value heads (``h`` is a
multiple) · ``k`` head width · ``q``, ``s`` queries and keys of one document.

==========  ==================================================================================
``sdpa``    one fused call for each document, or run of equally long ones: the fastest on CPU;
            without a mask in bfloat16 :func:`~biolm.core.narrow_attention.attend_in_blocks`
``varlen``  ``torch.nn.attention.varlen``, CUDA in half precision: causal, windows, grouped heads
``flex``    compiled ``flex_attention``, CUDA: everything else (biases, soft-cap, float32)
``math``    written out: the reference, the only one that returns attention maps
==========  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.core.layout import Layout, Rule, visible
from biolm.core.narrow_attention import LEAST, attend_in_blocks, suits_blocks
from biolm.core.positions import PositionBias

__all__ = ["attend", "attention_maps", "choose_kernel"]

_MOST_MASK = 1 << 24  # entries of a mask up to which a document is one call
_MOST_ROWS = 1 << 22  # entries of a mask that are held at a time where it is not

Kernel = Callable[[Tensor, Tensor, Tensor, Layout, Rule, PositionBias | None], Tensor]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    rule: Rule,
    *,
    bias: PositionBias | None = None,
    kernel: str = "auto",
) -> Tensor:
    """Softmax attention inside each document of a packed batch.

    Scaled dot products of Vaswani et al. (2017).

    Parameters
    ----------
    query
        ``(t, h, k)``.
    key, value
        ``(u, j, k)``.
    layout
        Document borders of both streams.
    rule
        Mask and scoring.
    bias
        Added to the scores by distance.
    kernel
        ``auto`` or one of the table above.

    Returns
    -------
    ``(t, h, k)``. A query that sees no key gets zeros, never NaN.
    """
    if not len(query) or not len(key):
        return torch.zeros_like(query)
    name = choose_kernel(query, rule, bias, layout.private is not None) if kernel == "auto" else kernel
    return _KERNELS[name](query, key, value, layout, rule, bias)


def choose_kernel(query: Tensor, rule: Rule, bias: PositionBias | None, private: bool = False) -> str:
    """Name of the fastest kernel that can compute this; ``private`` says that some keys are.

    Parameters
    ----------
    query
        ``(t, h, d)``.
    rule
        What a token may attend to.
    bias
        Added to the scores, if any.
    private
        Whether some keys are private.
    """
    if query.is_cuda:
        half = query.dtype in (torch.float16, torch.bfloat16)
        plain = bias is None and rule.softcap is None and not private
        if half and plain and not rule.dropout and query.shape[-1] <= 256:
            return "varlen"
        # flex_attention has no dropout on weights.
        return "math" if rule.dropout else "flex"
    trains_bias = (
        bias is not None
        and torch.is_grad_enabled()
        and any(parameter.requires_grad for parameter in bias.parameters())
    )
    # The fused CPU kernel refuses a soft-cap, and a bias that needs a gradient.
    return "math" if rule.softcap is not None or trains_bias else "sdpa"


def _heads_first(x: Tensor, documents: int) -> Tensor:
    """``(documents * s, h, k)`` to ``(documents, h, s, k)``, without a copy."""
    return x.view(documents, -1, *x.shape[1:]).transpose(1, 2)


def _cut(x: Tensor, spans: list[tuple[int, int]]) -> tuple[Tensor, ...]:
    """Views of the rows of each span, ascending.

    One split instead of slices: the backward pass of each slice would fill a tensor as long as ``x``, which
    for many short documents costs more than all else.
    """
    sizes, at = [], 0
    for start, stop in spans:
        sizes += [start - at, stop - start]
        at = stop
    pieces: tuple[Tensor, ...] = torch.split(x, [*sizes, len(x) - at])
    return pieces[1::2]


def _mask(
    layout: Layout, rule: Rule, bias: PositionBias | None, span: tuple[int, int, int, int]
) -> Tensor | None:
    """What is added to one document's scores, ``(h, q, s)`` or ``(q, s)``; None when nothing is."""
    hidden = layout.hidden(rule, span)
    if hidden is None:
        return None if bias is None else bias(layout.distance(span))
    added = torch.zeros_like(hidden, dtype=torch.float32) if bias is None else bias(layout.distance(span))
    return added.masked_fill(hidden, float("-inf"))


def _sdpa(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rule: Rule, bias: PositionBias | None
) -> Tensor:
    parts = []
    grouped = key.shape[1] != query.shape[1]
    plain_causal = rule.causal and not rule.window and bias is None and layout.same and layout.private is None
    in_blocks = not plain_causal and not rule.dropout and suits_blocks(query, key, value)
    runs = list(layout.groups(masked=not rule.full or bias is not None))
    queries = _cut(query, [(q0, q1) for _, (q0, q1, _, _) in runs])
    keys, values = (_cut(x, [(k0, k1) for _, (_, _, k0, k1) in runs]) for x in (key, value))
    for (documents, span), q, k, v in zip(runs, queries, keys, values, strict=True):
        q0, q1, k0, k1 = span
        mask = None
        if not plain_causal and documents == 1 and (q1 - q0) * (k1 - k0) > _MOST_MASK:
            parts.append(_in_rows(q, k, v, layout, rule, bias, span))
            continue
        if not plain_causal:
            first = (q0, q0 + (q1 - q0) // documents, k0, k0 + (k1 - k0) // documents)
            mask = _cached_mask(layout, rule, bias, first, query.dtype, documents)
        if in_blocks and mask is None and min(q1 - q0, k1 - k0) >= LEAST * documents:
            q, k, v = (x.view(documents, -1, *x.shape[1:]) for x in (q, k, v))
            parts.append(attend_in_blocks(q, k, v, rule.scale).flatten(0, 1))
            continue
        part = F.scaled_dot_product_attention(
            _heads_first(q, documents),
            _heads_first(k, documents),
            _heads_first(v, documents),
            attn_mask=mask,
            dropout_p=rule.dropout,
            is_causal=plain_causal,
            scale=rule.scale,
            enable_gqa=grouped,
        )
        parts.append(part.transpose(1, 2).flatten(0, 1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _in_rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    rule: Rule,
    bias: PositionBias | None,
    span: tuple[int, int, int, int],
) -> Tensor:
    """One document, some queries at a time: its whole mask may be larger than the model."""
    q0, q1, k0, k1 = span
    heads = 1 if bias is None else query.shape[1]
    step = max(1, _MOST_ROWS // ((k1 - k0) * heads))
    # One mask for all calls: masks that grow from call to call would leave holes too small for the next.
    kept: Tensor | None = None
    parts = []
    for start in range(q0, q1, step):
        stop = min(start + step, q1)
        first, last, masked = _seen(layout, rule, (start, stop, k0, k1))
        late = slice(masked - first, last - first)
        if bias is not None or masked <= first:
            mask = _mask(layout, rule, bias, (start, stop, first, last))
            mask = None if mask is None else mask.to(query.dtype)
        else:
            kept = query.new_zeros((step, k1 - k0)) if kept is None else kept
            mask = kept[: stop - start, : last - first]
            hidden = _mask(layout, rule, None, (start, stop, masked, last))
            assert hidden is not None
            mask[:, late] = hidden
        own = slice(first - k0, last - k0)
        part = F.scaled_dot_product_attention(
            _heads_first(query[start - q0 : stop - q0], 1),
            _heads_first(key[own], 1),
            _heads_first(value[own], 1),
            attn_mask=mask,
            dropout_p=rule.dropout,
            scale=rule.scale,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        parts.append(part.transpose(1, 2).flatten(0, 1))
        if kept is not None:
            kept[:, late] = 0
    return torch.cat(parts)


def _seen(layout: Layout, rule: Rule, span: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """Of a document's keys the first and last that some queries see, and the first that one may not see.

    Causal keys that lie in the order of their places: those after all queries are left out, and those before
    all of them need no mask, unless a window ends there.
    """
    q0, q1, k0, k1 = span
    places = layout.k_positions[k0:k1]
    if not rule.causal or layout.private is not None or bool((places[1:] < places[:-1]).any()):
        return k0, k1, k0
    least, most = layout.q_positions[q0:q1].aminmax()
    last = k0 + int(torch.searchsorted(places, most, right=True))
    if rule.window:
        first = k0 + int(torch.searchsorted(places, least - rule.window, right=True))
        return first, last, first
    return k0, last, k0 + int(torch.searchsorted(places, least, right=True))


def _cached_mask(
    layout: Layout,
    rule: Rule,
    bias: PositionBias | None,
    span: tuple[int, int, int, int],
    dtype: torch.dtype,
    documents: int,
) -> Tensor | None:
    # Kept for the next layers only: masks of all documents together may be larger than the model.
    size = (span[1] - span[0]) * (span[3] - span[2])
    if rule.full and bias is None and layout.private is None:
        return None
    name = (span, rule.causal, rule.window, bias)
    mask: Tensor | None = layout.cache.get(name)
    if mask is None:
        mask = _mask(layout, rule, bias, span)
        assert mask is not None
        mask = mask.to(dtype)
        if documents > 1 and mask.dim() == 3:
            mask = mask[None]
        if size <= 2**20:
            layout.cache[name] = mask
    return mask


def _scores(
    query: Tensor, key: Tensor, layout: Layout, rule: Rule, bias: PositionBias | None, span: tuple[int, ...]
) -> Tensor:
    """Softmax weights of one document, ``(h, q, s)``, float32."""
    q0, q1, k0, k1 = span
    repeat = query.shape[1] // key.shape[1]
    q = query[q0:q1].transpose(0, 1)  # (h, q, k)
    k = key[k0:k1].transpose(0, 1).repeat_interleave(repeat, 0)  # (h, s, k)
    scores = (q @ k.transpose(1, 2)).float() * rule.scale
    if rule.softcap is not None:
        scores = rule.softcap * torch.tanh(scores / rule.softcap)
    added = _mask(layout, rule, bias, (q0, q1, k0, k1))
    weights = torch.softmax(scores if added is None else scores + added, dim=-1)
    # A row without any visible key is all NaN after the softmax; it attends to nothing.
    return weights.nan_to_num(0.0) if rule.window or rule.causal else weights


def _math(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rule: Rule, bias: PositionBias | None
) -> Tensor:
    parts = []
    repeat = query.shape[1] // key.shape[1]
    for span in layout.spans:
        if span[1] == span[0]:
            continue
        weights = _scores(query, key, layout, rule, bias, span)
        weights = F.dropout(weights, rule.dropout, training=rule.dropout > 0)
        v = value[span[2] : span[3]].transpose(0, 1).repeat_interleave(repeat, 0)  # (h, s, k)
        parts.append((weights.to(v.dtype) @ v).transpose(0, 1))  # (q, h, k)
    return torch.cat(parts)


def attention_maps(
    query: Tensor, key: Tensor, layout: Layout, rule: Rule, bias: PositionBias | None
) -> tuple[Tensor, ...]:
    """Attention weights of each document, ``(h, q, s)`` float32.

    Parameters
    ----------
    query, key, layout, rule, bias
        As of :func:`attend`.
    """
    return tuple(_scores(query, key, layout, rule, bias, span) for span in layout.spans)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rule: Rule, _bias: PositionBias | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    grouped: dict[str, Any] = {}
    if key.shape[1] != query.shape[1]:
        if "enable_gqa" in signature(varlen_attn).parameters:
            grouped["enable_gqa"] = True
        else:  # torch 2.11
            repeat = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
    left = (rule.window - 1 if rule.causal else rule.window) if rule.window else -1
    right = 0 if rule.causal else left
    offsets, longest, places = layout.q_offsets, layout.max_q, None
    if not layout.same:
        places, offsets, longest = _with_one_more(layout)
        more = query.new_zeros((len(query) + len(offsets) - 1, *query.shape[1:]))
        query = more.index_copy(0, places, query)
    out = varlen_attn(
        query,
        key,
        value,
        offsets,
        layout.k_offsets,
        longest,
        layout.max_k,
        scale=rule.scale,
        window_size=(left, right),
        **grouped,
    )
    assert isinstance(out, Tensor)
    return out if places is None else out[places]


def _with_one_more(layout: Layout) -> tuple[Tensor, Tensor, int]:
    """Where queries ``(t,)`` go, offsets and longest document, if each document gets one more at its end.

    The backward pass of flash attention reads queries of every document, also of one that has none.
    """
    own = layout.q_offsets.long()
    number = torch.arange(len(layout.q_positions), device=own.device)
    places = number + torch.searchsorted(own[1:], number, right=True)
    offsets = own + torch.arange(len(own), device=own.device)
    return places, offsets.int(), layout.max_q + 1


@cache
def _compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def _flex(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rule: Rule, bias: PositionBias | None
) -> Tensor:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    name = ("flex", rule.causal, rule.window)
    block_mask = layout.cache.get(name)
    q_place, k_place = layout.q_positions, layout.k_positions
    q_document, k_document = layout.q_documents, layout.k_documents

    private = layout.private

    def mask_mod(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        distance = k_place[k] - q_place[q]
        seen = (q_document[q] == k_document[k]) & visible(rule, distance)
        return seen if private is None else seen & ((distance == 0) | ~private[k])

    def score_mod(score: Tensor, _b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        if rule.softcap is not None:
            score = rule.softcap * torch.tanh(score / rule.softcap)
        return score if bias is None else score + bias.score(h, k_place[k] - q_place[q]).to(score.dtype)

    if block_mask is None:
        block_mask = create_block_mask(mask_mod, None, None, len(query), len(key), device=str(query.device))
        layout.cache[name] = block_mask
    run: Any = _compiled_flex() if query.is_cuda else flex_attention
    out = run(
        query.transpose(0, 1)[None],  # (1, h, t, k)
        key.transpose(0, 1)[None],
        value.transpose(0, 1)[None],
        score_mod=None if bias is None and rule.softcap is None else score_mod,
        block_mask=block_mask,
        scale=rule.scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return out[0].transpose(0, 1)  # type: ignore[no-any-return]


_KERNELS: dict[str, Kernel] = {"sdpa": _sdpa, "varlen": _varlen, "flex": _flex, "math": _math}
