"""Perplexity of a causal model over long texts, each token once, with as much context as the window gives.

Per token it depends on the tokenizer, so it is given per character too: bits per character can be compared
between models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from biolm.batch import Batch, Tokens
from biolm.core import Transformer
from biolm.errors import ConfigError, InputError
from biolm.text.pieces import PieceTokenizer

__all__ = ["Perplexity", "perplexity", "token_log_probabilities"]


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Sums over all texts.

    Examples
    --------
    >>> found = Perplexity(tokens=10, characters=40, nats=10 * math.log(8), unscored=1)
    >>> round(found.per_token, 6), round(found.bits_per_character, 6)
    (8.0, 0.75)
    """

    tokens: int
    characters: int
    nats: float
    unscored: int

    @property
    def per_token(self) -> float:
        """Exponential of the mean negative log-likelihood of a token."""
        return math.exp(self.nats / self.tokens)

    @property
    def bits_per_character(self) -> float:
        """Negative log2-likelihood over characters."""
        return self.nats / math.log(2) / self.characters


def token_log_probabilities(
    model: Transformer, ids: Sequence[int], *, longest: int, stride: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Log-probability of each token but the first, each from the window in which it has most context.

    Parameters
    ----------
    model
        A causal core with a token head.
    ids
        All tokens of a text.
    longest
        Most tokens of a window.
    stride
        Tokens that a window moves on by.
    """
    if not model.config.causal or model.config.head != "linear":
        raise ConfigError("perplexity needs a causal model with a token head")
    if not 1 <= stride < longest:
        raise ConfigError(f"stride must lie in 1..{longest - 1}, not {stride}")
    table = np.zeros(max(len(ids) - 1, 0))
    done, start = 1, 0
    whole = np.asarray(ids, np.int32)
    while done < len(whole):
        end = min(start + longest, len(whole))
        part = whole[start:end]
        tokens = Tokens(ids=part, offsets=np.array([0, len(part)]), index=np.zeros(1, np.int64))
        rows = torch.arange(done - 1 - start, end - 1 - start)
        with torch.inference_mode():
            logits = model(Batch.from_tokens(tokens), logits=rows).logits
            assert isinstance(logits, torch.Tensor)
            scores = torch.log_softmax(logits.float(), -1)
        targets = torch.from_numpy(whole[done:end].astype(np.int64))
        table[done - 1 : end - 1] = scores[torch.arange(len(targets)), targets].numpy()
        # Later windows score their new tokens alone, behind longest - stride tokens of context.
        done, start = end, start + stride
    return table


def perplexity(
    model: Transformer,
    tokenizer: PieceTokenizer,
    texts: Sequence[str],
    *,
    stride: int | None = None,
    begin: int | None = None,
) -> Perplexity:
    """Perplexity of texts.

    Parameters
    ----------
    model, tokenizer
        The model and its tokenizer.
    texts
        Scored one by one.
    stride
        Tokens that a window moves on by; half of one by default.
    begin
        Token before each text, which makes its first token score too; the tokenizer's own by default.

    Raises
    ------
    InputError
        If no token can be scored.
    """
    tokens = characters = unscored = 0
    nats = 0.0
    longest = tokenizer.longest
    for text in texts:
        first = [begin] if begin is not None else list(tokenizer.prefix[:1])
        pieces = tokenizer(text)
        ids = [*first, *pieces.ids.tolist()]
        scores = token_log_probabilities(model, ids, longest=longest, stride=stride or longest // 2)
        skipped = 0 if first else 1
        # The characters of a first token that nothing predicts are not counted either.
        lost = int(pieces.spans[0, 1]) if skipped and len(pieces) else 0
        tokens += len(scores)
        characters += len(text) - lost
        unscored += skipped
        nats -= float(scores.sum())
    if not tokens:
        raise InputError("no token can be scored; give longer texts")
    return Perplexity(tokens, characters, nats, unscored)
