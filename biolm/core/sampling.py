"""From logits to the next token: penalties, temperature, top-k, top-p, and a draw of one's own.

Dimensions: ``b`` sequences · ``v`` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biolm.errors import ConfigError

__all__ = ["Draws", "SamplingOptions", "choose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """How tokens are chosen, and when to stop.

    Parameters
    ----------
    max_tokens
        Most tokens to generate for a prompt.
    temperature
        Divides the logits; 0 always takes the most likely token (greedy).
    top_k
        Sample from the ``top_k`` most likely tokens, and those equal to the last of them; 0 for all.
    top_p
        Sample from the fewest most likely tokens that together have this probability (Holtzman et al. 2019).
    stop
        Token ids that end a sequence; the one that did is part of the result.
    frequency_penalty
        Taken off a token's logit for each time it was generated.
    presence_penalty
        Taken off once if it was generated at all.
    repetition_penalty
        Logits of tokens that stand in the prompt or were generated are divided by it where positive and
        multiplied where negative (Keskar et al. 2019); 1 for none.
    allowed
        Token ids that may be generated, stop tokens among them; none given for all.
    max_total
        Most tokens of prompt and continuation together; 0 for no limit.
    seed
        With the number of the prompt it fixes every draw, whatever else is in the batch, where the
        probabilities drawn from are the same to rounding.
    batch_size
        Sequences decoded together; waiting prompts take the place of finished ones.
    chunk_tokens
        Most prompt tokens read in one forward pass; long prompts are read in pieces.

    Raises
    ------
    ConfigError
        In the constructor; the message names the field and what is allowed.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    stop: Sequence[int] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    allowed: Sequence[int] = ()
    max_total: int = 0
    seed: int = 0
    batch_size: int = 32
    chunk_tokens: int = 2048

    def __post_init__(self) -> None:
        for name in ("stop", "allowed"):
            object.__setattr__(self, name, tuple(int(token) for token in getattr(self, name)))
        for name in ("max_tokens", "batch_size", "chunk_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("temperature", "top_k", "max_total", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("temperature", "frequency_penalty", "presence_penalty"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} must be a finite number, not {getattr(self, name)}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie above 0 and at most at 1, not {self.top_p}")
        if not 0 < self.repetition_penalty < math.inf:
            raise ConfigError(f"repetition_penalty must be above 0, not {self.repetition_penalty}")

    @property
    def penalised(self) -> bool:
        """Whether earlier tokens change the logits."""
        return bool(self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1)


class Draws:
    """Random numbers of one sequence, and how often it has generated each token.

    Parameters
    ----------
    options
        Seed and penalties.
    number
        Of the prompt. A counter-based generator with (seed, number) as its key gives every prompt a stream
        of its own, so neither the batch nor the order of the work changes a draw.
    vocabulary
        ``v``.
    prompt
        Token ids that stand before; ``repetition_penalty`` knows them.
    """

    __slots__ = ("_generator", "counts", "read")

    def __init__(
        self, options: SamplingOptions, number: int, vocabulary: int, prompt: Sequence[int] = ()
    ) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=[options.seed, number]))
        self.counts = torch.zeros(vocabulary) if options.penalised else None
        self.read = torch.zeros(vocabulary, dtype=torch.bool)
        self.read[list(prompt)] = True

    def uniform(self) -> float:
        """The next number in [0, 1)."""
        return float(self._generator.random())

    def note(self, token: int) -> None:
        """Count a generated token."""
        if self.counts is not None:
            self.counts[token] += 1


def choose(logits: Tensor, draws: Sequence[Draws], options: SamplingOptions) -> tuple[list[int], list[float]]:
    """Next token of each sequence.

    Parameters
    ----------
    logits
        ``(b, v)``.
    draws
        Of each sequence.
    options
        What to do.

    Returns
    -------
    Token ids, and their natural log-probabilities under the model itself: at temperature 1, without
    penalties and cut-offs.
    """
    logits = logits.float()
    changed = logits
    if options.penalised:
        changed = _penalised(logits, draws, options)
    if options.allowed:
        hidden = torch.full_like(changed[0], float("-inf"))
        hidden[list(options.allowed)] = 0
        changed = changed + hidden
    if options.temperature == 0:
        tokens = changed.argmax(-1)
    else:
        tokens = _draw(_cut(changed / options.temperature, options), draws)
    picked = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    ids: list[int] = tokens.tolist()
    for draw, token in zip(draws, ids, strict=True):
        draw.note(token)
    return ids, picked.tolist()


def _penalised(logits: Tensor, draws: Sequence[Draws], options: SamplingOptions) -> Tensor:
    """Make tokens that were read or generated less likely."""
    counts = torch.stack([draw.counts for draw in draws if draw.counts is not None]).to(logits.device)
    penalty = options.repetition_penalty
    if penalty != 1:
        seen = torch.stack([draw.read for draw in draws]).to(logits.device) | (counts > 0)
        logits = torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
    return logits - options.frequency_penalty * counts - options.presence_penalty * (counts > 0)


def _cut(logits: Tensor, options: SamplingOptions) -> Tensor:
    """Hide the tokens that top-k and top-p leave out."""
    if 0 < options.top_k < logits.shape[-1]:
        least = logits.topk(options.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if options.top_p < 1:
        # Sorting is stable, so that equal tokens are kept or left by their id.
        sorted_logits, order = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = sorted_logits.softmax(-1)
        # A token stays while those before it fall short of top_p, so the first always does.
        left_out = probabilities.cumsum(-1) - probabilities >= options.top_p
        logits = logits.masked_fill(left_out.gather(1, order.argsort(-1)), float("-inf"))
    return logits


def _draw(logits: Tensor, draws: Sequence[Draws]) -> Tensor:
    """Invert the cumulative distribution at each sequence's own random number."""
    summed = logits.double().softmax(-1).cumsum(-1)  # (b, v)
    uniform = torch.tensor([draw.uniform() for draw in draws], dtype=torch.float64, device=logits.device)
    # The last sum may fall short of 1 by rounding; scaling keeps the place inside the vocabulary.
    place = torch.searchsorted(summed, (uniform[:, None] * summed[:, -1:]), right=True)
    return place[:, 0].clamp(max=logits.shape[-1] - 1)
