"""Which tokens are masked: exact counts or coin flips, single tokens or spans, never special ones.

Dimensions: ``b`` examples · ``t`` tokens of all of them end to end.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.objectives.draws import Draw, uniform

__all__ = ["choose_tokens", "documents", "is_special", "lowest", "span_priority"]

_FEW = 10  # comparing with so many ids one by one is faster than looking them up
_SPARE = 1 << 20  # padding that is no matter
_LONGEST_SPAN = 10  # as SpanBERT; longer draws are cut


def documents(batch: Batch) -> Tensor:
    """``(t,)`` number of the example that each token belongs to."""
    count = torch.arange(len(batch), device=batch.ids.device)
    return torch.repeat_interleave(count, batch.lengths.long(), output_size=len(batch.ids))


def is_special(ids: Tensor, special_ids: tuple[int, ...]) -> Tensor:
    """``(t,)`` whether a token is one of the special ones.

    Parameters
    ----------
    ids
        ``(t,)``.
    special_ids
        That are never masked.
    """
    if len(special_ids) > _FEW:
        return torch.isin(ids, torch.tensor(special_ids, dtype=ids.dtype, device=ids.device))
    special_places = torch.zeros_like(ids, dtype=torch.bool)
    for token in special_ids:
        special_places |= ids == token
    return special_places


def choose_tokens(
    batch: Batch,
    seeds: Tensor,
    allowed: Tensor,
    rate: float | Tensor,
    *,
    exact: bool,
    span: Tensor | None = None,
) -> Tensor:
    """Whether each token is chosen, ``(t,)``.

    Parameters
    ----------
    batch
        Packed tokens.
    seeds
        ``(b,)`` of the examples.
    allowed
        ``(t,)`` tokens that may be chosen.
    rate
        Fraction of the allowed tokens, one for all or ``(b,)``.
    exact
        Choose ``round(rate * allowed)`` tokens of each example, at least one where the rate is above 0;
        otherwise flip a coin for each token.
    span
        ``(t,)`` priorities of tokens in place of independent ones, see :func:`span_priority`; needs
        ``exact``.
    """
    document = documents(batch)
    rates = torch.as_tensor(rate, dtype=torch.float64, device=batch.ids.device).expand(len(batch))
    priority = uniform(seeds[document], batch.positions) if span is None else span
    if not exact:
        return allowed & (priority < rates[document])
    allowed_count = torch.zeros_like(rates).index_add(0, document, allowed.double())
    # Half is rounded up, not to even: torch's own rounding would give 0 of 2 at a quarter, and 2 of 6.
    wanted = (rates * allowed_count + 0.5).floor().clamp(min=1).minimum(allowed_count)
    wanted = torch.where(rates > 0, wanted, 0)
    return lowest(batch, priority.masked_fill(~allowed, torch.inf), wanted) & allowed


def lowest(batch: Batch, priority: Tensor, wanted: Tensor) -> Tensor:
    """Whether a token is among the ``wanted (b,)`` ones of lowest priority ``(t,)`` of its example.

    Of equal priorities the earlier token comes first.

    Parameters
    ----------
    batch
        Packed tokens.
    priority
        ``(t,)``.
    wanted
        ``(b,)`` tokens of each example.
    """
    document = documents(batch)
    if len(batch) * batch.max_length > 4 * len(priority) + _SPARE:
        return _lowest_in_order(batch, priority, wanted, document)
    # Finding each example's last wanted priority in sorted rows takes a fraction of sorting the tokens.
    rows = priority.new_full((len(batch), batch.max_length), torch.inf)
    rows[document, batch.positions] = priority
    # numpy's vectorised sort is some ten times faster than torch's on a CPU.
    ordered = torch.sort(rows, 1).values if rows.is_cuda else torch.from_numpy(np.sort(rows.numpy(), 1))
    padded = torch.cat((torch.full_like(ordered[:, :1], -torch.inf), ordered), 1)
    last = padded.gather(1, wanted[:, None].long())[:, 0]  # (b,)
    chosen = priority <= last[document]
    count = torch.zeros_like(wanted).index_add(0, document, chosen.to(wanted.dtype))
    # Equal priorities at the border are rare: those of special tokens, of spans, or of values.
    if not torch.equal(count, wanted):
        return _lowest_in_order(batch, priority, wanted, document)
    return chosen


def _lowest_in_order(batch: Batch, priority: Tensor, wanted: Tensor, document: Tensor) -> Tensor:
    order = torch.argsort(priority, stable=True)
    order = order[torch.argsort(document[order], stable=True)]
    # Tokens of an example stay together, so the place in the order is the place in the example.
    place = torch.arange(len(order), device=order.device) - batch.offsets.long()[document]
    chosen = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    chosen[order] = place < wanted[document]
    return chosen


def span_priority(batch: Batch, draw: Draw, allowed: Tensor, mean_length: float) -> Tensor:
    """Priorities that make tokens of one span be chosen together, ``(t,)``; the lowest are chosen first.

    Every token starts a span of geometric length (Joshi et al. 2020, SpanBERT: at most ten tokens), with a
    random number of its own; a token has the lowest number of the spans over it. Spans end at the first
    token that is not allowed.

    Parameters
    ----------
    batch
        Packed tokens.
    draw
        Random numbers of the examples.
    allowed
        ``(t,)`` tokens that may be chosen.
    mean_length
        Of a span.
    """
    document = documents(batch)
    number = uniform(draw.seeds("choose")[document], batch.positions)
    chance = uniform(draw.seeds("span")[document], batch.positions)
    ending = 1.0 / max(mean_length, 1.0)
    if ending == 1.0:
        return number
    length = (torch.log1p(-chance) / torch.log1p(torch.tensor(-ending, dtype=torch.float64))).floor() + 1
    # Tokens between the same two barriers share a number; a document's start is a barrier too.
    barrier = (~allowed) | (batch.positions == 0)
    stretch = barrier.cumsum(0)
    lowest = torch.where(allowed, number, torch.inf)
    for ahead in range(1, min(_LONGEST_SPAN, len(number))):
        reaches = (length[:-ahead] > ahead) & (stretch[:-ahead] == stretch[ahead:])
        reaches &= allowed[:-ahead] & allowed[ahead:]
        # The tiny step keeps the tokens of a span in order, so that no two are equal.
        covering = torch.where(reaches, number[:-ahead] + ahead * 2.0**-50, torch.inf)
        lowest[ahead:] = torch.minimum(lowest[ahead:], covering)
    return lowest
