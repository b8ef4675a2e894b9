"""Probabilities that a model of sequences gives to their letters, packed to a token budget.

Dimensions: ``n`` sequences · ``t`` tokens of all of them · ``u`` tokens of all of them, special ones left
out · ``g`` groups of tokens that are hidden together · ``q`` tokens asked about · ``c`` candidates for each ·
``v`` vocabulary · ``w`` windows.

Nothing is padded, so a score depends on its own sequence alone. Special tokens are never scored, and every
token is found by its place in the tokens, not in the letters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.batch import Batch, Tokens, pack
from biolm.errors import ConfigError
from biolm.models.running import pick_device, state_pieces
from biolm.models.windows import cut_windows

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel, SequenceOptions

__all__ = ["Groups", "TokenScores", "masked", "masked_step", "read_once", "token_scores"]

# Numbers of logits that are held at a time, and batches of masked copies that are laid out ahead.
_LOGITS, _AHEAD = 1 << 25, 8
# Of the tokens that BERT's recipe chooses, the share shown unchanged and the share shown as another token.
_KEPT, _RANDOM = 0.1, 0.1

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Groups:
    """Tokens that are masked together, and what is asked about each.

    Parameters
    ----------
    rows
        ``(g,)`` sequence of each group.
    bounds
        ``(g + 1,)`` where each group begins among the tokens asked about.
    places
        ``(q,)`` place of each in its sequence, special tokens not counted.
    targets
        ``(q, c)`` ids whose log-probability is wanted.
    """

    rows: NDArray[np.int64]
    bounds: NDArray[np.int64]
    places: NDArray[np.int64]
    targets: NDArray[np.int64]

    @classmethod
    def single(cls, rows: NDArray[np.int64], places: NDArray[np.int64], targets: NDArray[np.int64]) -> Groups:
        """Every token masked on its own.

        Parameters
        ----------
        rows
            ``(q,)`` sequence of each masked token.
        places
            ``(q,)`` its place there, special tokens not counted.
        targets
            ``(q, c)`` ids whose log-probability is wanted.
        """
        return cls(rows, np.arange(len(rows) + 1), places, targets)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Log-probability of every token of some sequences.

    Parameters
    ----------
    values
        ``(u,)`` float64; NaN for tokens that are not scored: unknown letters, and the first letter of a
        decoder that has no token before it.
    bounds
        ``(n + 1,)`` where each sequence begins.
    """

    values: NDArray[np.float64]
    bounds: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """``(n,)`` scored tokens of each sequence."""
        return self._sums(np.isfinite(self.values)).astype(np.int64)

    @property
    def sums(self) -> NDArray[np.float64]:
        """``(n,)`` log-likelihood of each sequence."""
        return self._sums(np.nan_to_num(self.values))

    @property
    def means(self) -> NDArray[np.float64]:
        """``(n,)`` mean over its scored tokens: minus the logarithm of its perplexity."""
        return self.sums / np.maximum(self.counts, 1)

    def _sums(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        owner = np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))
        totals = np.bincount(owner, values.astype(np.float64), len(self.bounds) - 1)
        sums: NDArray[np.float64] = totals.astype(np.float64)
        return sums


def masked(
    model: SequenceModel,
    tokens: Tokens,
    groups: Groups,
    options: SequenceOptions,
    advance: Advance | None = None,
) -> NDArray[np.float32]:
    """Log-probabilities of candidates for masked tokens; each group is one pass over its sequence.

    Sequences longer than the model are read in a window around the group.

    Parameters
    ----------
    model
        An encoder with a mask token.
    tokens
        Sequences with their special tokens.
    groups
        What to mask and ask.
    options
        Budget, device, precision, longest window.
    advance
        Called with the number of groups just done.

    Returns
    -------
    ``(q, c)``.

    Raises
    ------
    ConfigError
        If a group does not fit into the model.
    """
    mask = model.tokenizer.special.mask
    assert mask is not None
    # The longest of all sequences, not of a batch, so that every shard cuts the same windows.
    longest, step = _longest(model, tokens, options), masked_step(model, tokens, options)
    scores = np.empty(groups.targets.shape, np.float32)
    for first in range(0, len(groups), step):
        last = min(first + step, len(groups))
        pieces, states = [], []
        start = 0
        for group in range(first, last):
            places = groups.places[groups.bounds[group] : groups.bounds[group + 1]]
            piece, inside = _around(model, tokens, int(groups.rows[group]), places, longest)
            # A copy: the next group of the same sequence needs its letters.
            piece[inside] = mask
            pieces.append(piece)
            states.append(start + inside)
            start += len(piece)
        copies = _end_to_end(pieces)
        span = slice(int(groups.bounds[first]), int(groups.bounds[last]))
        scores[span] = _ask(model, copies, np.concatenate(states), groups.targets[span], options)
        if advance is not None:
            advance(last - first)
    return scores


def masked_step(model: SequenceModel, tokens: Tokens, options: SequenceOptions) -> int:
    """How many groups :func:`masked` reads together; cut at multiples of it, a job gives the same bytes.

    Parameters
    ----------
    model
        The model.
    tokens
        Of one sequence.
    options
        How it is run.
    """
    return max(1, _AHEAD * options.batch_tokens // _longest(model, tokens, options))


def read_once(
    model: SequenceModel,
    tokens: Tokens,
    targets: NDArray[np.int64],
    options: SequenceOptions,
    *,
    causal: bool = False,
) -> NDArray[np.float32]:
    """Log-probabilities of candidates for every token, from one pass over each sequence.

    Sequences longer than the model are read in overlapping windows: an encoder's token in the window whose
    middle it is nearest to, a decoder's in the window that holds most letters before it.

    Parameters
    ----------
    model
        An encoder, or a decoder where ``causal``.
    tokens
        Sequences with their special tokens.
    targets
        ``(u, c)`` ids whose log-probability is wanted.
    options
        Budget, device, precision, longest window.
    causal
        Read a token's probability from the token before it.

    Returns
    -------
    ``(u, c)``; NaN where there is no token before.
    """
    windows, states = _cover(model, tokens, options, causal=causal)
    scores = np.full(targets.shape, np.nan, np.float32)
    scored = states >= 0
    scores[scored] = _ask(model, windows, states[scored], targets[scored], options)
    return scores


def token_scores(
    model: SequenceModel,
    tokens: Tokens,
    method: str,
    options: SequenceOptions,
) -> TokenScores:
    """Log-probability of every token of some sequences.

    Parameters
    ----------
    model
        A model with logits.
    tokens
        Sequences with their special tokens.
    method
        ``pseudo-perplexity``: each token masked in turn. ``causal``: given the tokens before it.
        ``one-pass``: an estimate of the first from a single pass that masks nothing. A model trained to
        name 10 % of the chosen tokens as shown and 10 % replaced by a random one knows, by Bayes' rule, that
        a token shown is the right one with probability
        ``q = p (a + e) / (p a + e)``, where ``p`` is the probability had it been masked, ``a`` = 0.1 and
        ``e`` = 0.1 / ``v``; the estimate is ``p`` of the model's ``q``. It holds for models trained so.
    options
        Budget, device, precision, longest window.
    """
    before, after = model.preprocessor.special
    inner = tokens.lengths - before - after
    bounds = np.concatenate([[0], np.cumsum(inner)]).astype(np.int64)
    rows = np.repeat(np.arange(len(tokens)), inner)
    places = np.arange(bounds[-1]) - bounds[rows]
    ids = tokens.ids[tokens.offsets[rows] + before + places].astype(np.int64)
    scored = ids != (-1 if model.tokenizer.special.unknown is None else model.tokenizer.special.unknown)
    values = np.full(len(ids), np.nan)
    if method == "pseudo-perplexity":
        groups = Groups.single(rows[scored], places[scored], ids[scored, None])
        values[scored] = masked(model, tokens, groups, options)[:, 0]
    else:
        values[:] = read_once(model, tokens, ids[:, None], options, causal=method == "causal")[:, 0]
        if method == "one-pass":
            values = _unhidden(values, model.tokenizer.size)
        values[~scored] = np.nan
    return TokenScores(values, bounds)


def _unhidden(shown: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """``(u,)`` log-probability of masked tokens by those of shown ones; see :func:`token_scores`."""
    # A shown token was left (_KEPT) or drawn among all; Bayes gives back what the mask would have asked.
    other = _RANDOM / size
    # a + e - a q = a (1 - q) + e keeps its digits where q is near 1.
    masked_scores: NDArray[np.float64] = shown + np.log(other) - np.log(other - _KEPT * np.expm1(shown))
    return masked_scores


def _ask(
    model: SequenceModel,
    tokens: Tokens,
    states: NDArray[np.int64],
    targets: NDArray[np.int64],
    options: SequenceOptions,
) -> NDArray[np.float32]:
    """``(q, c)`` log-probabilities of ``targets`` by the states of the tokens at flat places ``states``."""
    core = model.core
    device = pick_device(options.device)
    core.to(device)
    head, embedding = core.head, core.embeddings.token.weight
    assert head is not None
    # From token to question: batches take sequences in an order of their own.
    question = np.full(len(tokens.ids), -1, np.int64)
    question[states] = np.arange(len(states))
    scores = np.empty(targets.shape, np.float32)
    with torch.inference_mode():
        for rows in pack(tokens, options.batch_tokens):
            part = tokens.take(rows)
            shift = tokens.offsets[:-1][rows] - part.offsets[:-1]
            asked = question[np.repeat(shift, part.lengths) + np.arange(len(part.ids))]
            where = np.flatnonzero(asked >= 0)
            if not len(where):
                continue
            start = 0
            for hidden in state_pieces(core, Batch.from_tokens(part).to(device), -1, options):
                places = where[(where >= start) & (where < start + len(hidden))]
                # Logits of all tokens at once: 4 GB for 16,384 tokens of 64,000 words.
                for some in _parts(places, max(1, _LOGITS // model.config.vocab_size)):
                    logits = head(hidden[torch.from_numpy(some - start).to(device)], embedding).float()
                    wanted = torch.from_numpy(targets[asked[some]]).to(device)
                    scores[asked[some]] = logits.log_softmax(-1).gather(1, wanted).cpu().numpy()
                start += len(hidden)
    return scores


def _cover(
    model: SequenceModel, tokens: Tokens, options: SequenceOptions, *, causal: bool
) -> tuple[Tokens, NDArray[np.int64]]:
    """Windows over sequences, and ``(u,)`` the state to read for each token; -1 for none."""
    before, after = model.preprocessor.special
    longest = _longest(model, tokens, options)
    # Without a token in front, the first of a later window needs one that it shares with the window before.
    overlap = max(1, options.overlap) if causal and options.overlap is not None else options.overlap
    every = np.arange(len(tokens))
    windows = cut_windows(tokens, every, (before, after), longest, overlap)
    width = longest - before - after
    firsts = np.searchsorted(windows.tokens.index, np.arange(len(tokens) + 1))
    states = []
    for row, length in enumerate((tokens.lengths - before - after).tolist()):
        starts = windows.starts[firsts[row] : firsts[row + 1]]
        place = np.arange(length)
        if causal:
            chosen = np.searchsorted(starts + width, place, side="right")
        else:
            chosen = np.searchsorted((starts[1:] + starts[:-1] + width) / 2, place + 0.5, side="right")
        state = windows.tokens.offsets[firsts[row] + chosen] + before + place - starts[chosen] - causal
        if causal and not before:
            state[:1] = -1
        states.append(state)
    return windows.tokens, np.concatenate(states) if states else np.zeros(0, np.int64)


def _around(
    model: SequenceModel, tokens: Tokens, row: int, places: NDArray[np.int64], longest: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The window of a sequence that has ``places`` in its middle, and where they are in it."""
    before, after = model.preprocessor.special
    ids = tokens[row].ids
    if len(ids) <= longest:
        return ids.copy(), before + places
    width, length = longest - before - after, len(ids) - before - after
    if np.ptp(places) >= width:
        raise ConfigError(
            f"model {model.name} reads {longest} tokens at once, too few for letters {np.ptp(places) + 1} "
            "tokens apart; use another method"
        )
    # As much context on both sides as fits; at an end the window slides inwards and stays full.
    middle = int(places.min() + places.max()) // 2
    start = min(max(middle - width // 2, 0), length - width)
    inner = ids[before + start : before + start + width]
    piece = np.concatenate([ids[:before], inner, ids[len(ids) - after :]])
    return piece, before + places - start


def _longest(model: SequenceModel, tokens: Tokens, options: SequenceOptions) -> int:
    """Most tokens of a window, special ones included."""
    given, own = options.longest, model.max_length
    if given is not None and own is not None and given > own:
        raise ConfigError(f"model {model.name} reads at most {own} tokens, so windows cannot have {given}")
    limit = own if given is None else given
    # A window need not be longer than the longest sequence, and holds one letter at least.
    most = max(int(tokens.lengths.max(initial=0)), sum(model.preprocessor.special) + 1)
    return most if limit is None else min(limit, most)


def _end_to_end(pieces: list[NDArray[np.int32]]) -> Tokens:
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return Tokens(ids=np.concatenate(pieces), offsets=offsets, index=np.arange(len(pieces)))


def _parts(values: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    for first in range(0, len(values), size):
        yield values[first : first + size]
