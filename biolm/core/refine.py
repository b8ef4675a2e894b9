"""Filling in: masked places of sequences get tokens from a model that sees both sides.

The model reads everything and proposes a token for every masked place; the surest proposals are kept, and
the rest is asked again, now beside them (Ghazvininejad et al. 2019). Sweeps of Gibbs sampling may follow:
each filled place in turn is masked and drawn again, given all others (Wang & Cho 2019).

Dimensions: ``b`` sequences · ``p`` places of one sequence · ``v`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biolm.batch import Batch, Tokens
from biolm.core.model import Transformer
from biolm.core.sampling import Draws, SamplingOptions, choose
from biolm.errors import ConfigError, InputError

__all__ = ["Template", "place_scores", "refine"]


@dataclass(frozen=True, slots=True)
class Template:
    """A sequence to fill.

    Parameters
    ----------
    ids
        Token ids, special ones included; those at ``places`` are not read.
    places
        Where tokens are wanted, in increasing order.
    """

    ids: Sequence[int]
    places: Sequence[int]


def refine(
    model: Transformer,
    templates: Sequence[Template],
    options: SamplingOptions,
    *,
    mask: int,
    steps: int = 0,
    sweeps: int = 0,
    numbers: Sequence[int] | None = None,
) -> list[list[int]]:
    """Fill every template.

    Parameters
    ----------
    model
        A model that is not causal, with a token head.
    templates
        What to fill.
    options
        How tokens are drawn; ``batch_size`` templates are filled together. Stops and penalties are for models
        that write on.
    mask
        Id of the mask token.
    steps
        Passes in which the places are filled, the surest first; 0 for one place a pass.
    sweeps
        Times that every place is masked and drawn again afterwards, in random order.
    numbers
        Number of each template in a larger job, which its draws belong to; its place by default.

    Returns
    -------
    Token ids of each, complete.

    Raises
    ------
    ConfigError
        If the model or an option is not fit for it.
    InputError
        If a template names a place outside it.
    """
    c = model.config
    if c.causal or c.head not in ("linear", "mlm"):
        raise ConfigError("only a model that sees both sides and has a token head fills places in")
    if options.penalised or options.stop:
        raise ConfigError("stop tokens and penalties are for models that write on; leave them out")
    if steps < 0 or sweeps < 0:
        raise ConfigError(f"steps and sweeps must be 0 or more, not {steps} and {sweeps}")
    for number, template in enumerate(templates):
        if any(not 0 <= place < len(template.ids) for place in template.places):
            raise InputError(f"template {number} has {len(template.ids)} tokens, fewer than its places name")
    filled: list[list[int]] = []
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(templates), options.batch_size):
                group = templates[start : start + options.batch_size]
                rows = range(start, start + len(group))
                draws = [
                    Draws(options, row if numbers is None else numbers[row], c.vocab_size) for row in rows
                ]
                ids = [list(template.ids) for template in group]
                _fill(model, group, ids, draws, options, (mask, steps))
                for _ in range(sweeps):
                    _sweep(model, group, ids, draws, options, mask)
                filled += ids
    finally:
        model.train(training)
    return filled


def place_scores(model: Transformer, template: Template, *, mask: int, rows: int = 32) -> list[float]:
    """Natural log-probability of the token at each place, that place alone being masked.

    Their sum is the pseudo-log-likelihood of the places (Salazar et al. 2020).

    Parameters
    ----------
    model
        As of :func:`refine`.
    template
        A complete sequence, and the places to score.
    mask
        Id of the mask token.
    rows
        Copies read together.
    """
    scores: list[float] = []
    places = list(template.places)
    with torch.inference_mode():
        for start in range(0, len(places), rows):
            part = places[start : start + rows]
            logits = _ask(model, [list(template.ids)] * len(part), [[place] for place in part], mask)
            log_probabilities = logits.float().log_softmax(-1)
            wanted = torch.tensor([template.ids[place] for place in part], device=log_probabilities.device)
            scores += log_probabilities.gather(1, wanted[:, None])[:, 0].tolist()
    return scores


def _fill(
    model: Transformer,
    group: Sequence[Template],
    ids: list[list[int]],
    draws: list[Draws],
    options: SamplingOptions,
    how: tuple[int, int],
) -> None:
    """Fill all places of a group, in place."""
    mask, steps = how
    empty = [list(template.places) for template in group]
    done = 0
    while any(empty):
        rows = [row for row, places in enumerate(empty) if places]
        logits = _ask(model, [ids[row] for row in rows], [empty[row] for row in rows], mask)
        owners = [row for row in rows for _ in empty[row]]
        tokens, scores = choose(logits, [draws[row] for row in owners], options)
        first = 0
        for row in rows:
            places = empty[row]
            span = slice(first, first + len(places))
            first += len(places)
            # Rounded, so that places which differ by the order of sums alone go by their order.
            order = sorted(range(len(places)), key=lambda n: (-round(scores[span][n], 4), n))
            left = max(1, (steps or len(group[row].places)) - done)
            for n in order[: -(-len(places) // left)]:
                ids[row][places[n]] = tokens[span][n]
            kept = set(order[: -(-len(places) // left)])
            empty[row] = [place for n, place in enumerate(places) if n not in kept]
        done += 1


def _sweep(
    model: Transformer,
    group: Sequence[Template],
    ids: list[list[int]],
    draws: list[Draws],
    options: SamplingOptions,
    mask: int,
) -> None:
    """Draw every place of a group again, one after the other in an order of its own."""
    orders = []
    for template, draw in zip(group, draws, strict=True):
        keys = [draw.uniform() for _ in template.places]
        orders.append([template.places[n] for n in np.argsort(keys, kind="stable").tolist()])
    for turn in range(max((len(order) for order in orders), default=0)):
        rows = [row for row, order in enumerate(orders) if turn < len(order)]
        places = [orders[row][turn] for row in rows]
        logits = _ask(model, [ids[row] for row in rows], [[place] for place in places], mask)
        tokens, _ = choose(logits, [draws[row] for row in rows], options)
        for row, place, token in zip(rows, places, tokens, strict=True):
            ids[row][place] = token


def _ask(model: Transformer, ids: list[list[int]], places: list[list[int]], mask: int) -> Tensor:
    """Logits ``(sum of p, v)`` of places, which are masked for it."""
    texts = [np.array(text, np.int32) for text in ids]
    for text, hidden in zip(texts, places, strict=True):
        text[hidden] = mask
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    tokens = Tokens(ids=np.concatenate(texts), offsets=offsets, index=np.arange(len(texts)))
    wanted = [
        int(start) + place for start, hidden in zip(offsets[:-1], places, strict=True) for place in hidden
    ]
    batch = Batch.from_tokens(tokens).to(model.embeddings.token.weight.device)
    logits = model(batch, logits=torch.tensor(wanted, device=batch.ids.device)).logits
    assert isinstance(logits, Tensor)
    return logits
