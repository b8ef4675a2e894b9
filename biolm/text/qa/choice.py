"""Multiple choice with a causal model: prompts, and how likely each option is after one.

The option is read as a blank and its text, behind a prompt that ends without one: with the blank at the
prompt's end the option would be cut into other tokens than the model has learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.batch import Batch, Tokens
from biolm.core import Transformer
from biolm.errors import ConfigError, InputError
from biolm.text.pieces import PieceTokenizer

__all__ = ["Choice", "OptionScores", "build_prompt", "choose_option", "score_options", "shuffled", "vote"]

NORMS = ("sum", "byte", "unconditional")


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with options; ``answer`` is the place of the right one, None where nobody knows."""

    question: str
    options: tuple[str, ...]
    answer: int | None = None


@dataclass(frozen=True, slots=True)
class OptionScores:
    """Log-likelihoods of the options ``(n,)`` under the three norms.

    Parameters
    ----------
    sum
        Of all tokens of an option.
    byte
        ``sum`` over the bytes of the option.
    unconditional
        ``sum`` less the log-likelihood of the option behind ``Answer:`` alone.
    """

    sum: NDArray[np.float64]
    byte: NDArray[np.float64]
    unconditional: NDArray[np.float64]

    def __str__(self) -> str:
        rows = [f"{name}: {' '.join(f'{v:.3f}' for v in getattr(self, name))}" for name in NORMS]
        return "; ".join(rows)


def build_prompt(
    choice: Choice, examples: Sequence[Choice] = (), *, instruction: str = "", show_options: bool = True
) -> str:
    """A few-shot prompt that ends with ``Answer:`` and no blank.

    Parameters
    ----------
    choice
        The question to ask.
    examples
        Questions with their answers, shown before.
    instruction
        First line.
    show_options
        Whether the options are listed with letters.

    Examples
    --------
    >>> print(build_prompt(Choice("Is it?", ("yes", "no"))))
    Question: Is it?
    A. yes
    B. no
    Answer:
    """
    blocks = [instruction] if instruction else []
    for each in (*examples, choice):
        lines = [f"Question: {each.question}"]
        if show_options:
            lines += [f"{chr(65 + n)}. {option}" for n, option in enumerate(each.options)]
        end = "Answer:"
        if each is not choice:
            if each.answer is None:
                raise InputError("an example of a few-shot prompt needs its answer")
            end += f" {each.options[each.answer]}"
        blocks.append("\n".join([*lines, end]))
    return "\n\n".join(blocks)


def _likelihoods(
    model: Transformer, tokenizer: PieceTokenizer, prompt: str, options: Sequence[str]
) -> NDArray[np.float64]:
    """Log-likelihood ``(n,)`` of the tokens that each option adds to the prompt."""
    first = list(tokenizer.prefix[:1])
    base = [*first, *tokenizer(prompt).ids.tolist()]
    rows, places, targets = [], [], []
    at = 0
    for option in options:
        ids = [*first, *tokenizer(f"{prompt} {option}").ids.tolist()]
        # Tokenizers may join the end of the prompt with the option: what differs counts, from there on.
        same = next(
            (n for n, (a, b) in enumerate(zip(base, ids, strict=False)) if a != b), min(len(base), len(ids))
        )
        begin = max(same, 1)
        if begin >= len(ids):
            raise InputError(f"option {option!r} adds no token to the prompt; give it a text")
        if len(ids) > tokenizer.longest:
            raise InputError(
                f"prompt and option have {len(ids)} tokens, the model reads {tokenizer.longest}; show "
                "fewer examples"
            )
        rows.append(ids)
        places.append(np.arange(begin - 1, len(ids) - 1) + at)
        targets.append(ids[begin:])
        at += len(ids)
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in rows])]).astype(np.int64)
    tokens = Tokens(ids=np.concatenate(rows).astype(np.int32), offsets=offsets, index=np.arange(len(rows)))
    wanted = torch.from_numpy(np.concatenate(places))
    with torch.inference_mode():
        logits = model(Batch.from_tokens(tokens), logits=wanted).logits
        assert isinstance(logits, torch.Tensor)
        scores = torch.log_softmax(logits.float(), -1).numpy().astype(np.float64)
    flat = np.concatenate(targets)
    picked = scores[np.arange(len(flat)), flat]
    ends = np.cumsum([len(each) for each in targets])
    return np.array([part.sum() for part in np.split(picked, ends[:-1])])


def score_options(
    model: Transformer, tokenizer: PieceTokenizer, prompt: str, options: Sequence[str]
) -> OptionScores:
    """How likely each option is behind a prompt, under all three norms.

    Parameters
    ----------
    model, tokenizer
        A causal core with a token head, and its tokenizer.
    prompt
        Without a blank at its end.
    options
        Texts.

    Raises
    ------
    ConfigError
        If the model is not causal, or the prompt ends with a blank.
    """
    if not model.config.causal or model.config.head != "linear":
        raise ConfigError("options are scored by a causal model with a token head")
    if prompt != prompt.rstrip():
        raise ConfigError("the prompt ends with a blank; the option brings its own, so take it away")
    total = _likelihoods(model, tokenizer, prompt, options)
    # Takes away how likely an option is by itself (Brown et al. 2020, "unconditional").
    alone = _likelihoods(model, tokenizer, "Answer:", options)
    # Bytes and not tokens, so that models with other tokenizers compare.
    sizes = np.array([len(option.encode()) for option in options])
    return OptionScores(total, total / sizes, total - alone)


def choose_option(scores: OptionScores, norm: str) -> tuple[int, NDArray[np.float64]]:
    """The best option under a norm, and the probabilities ``(n,)`` that its scores stand for.

    Parameters
    ----------
    scores
        Of the options of a question.
    norm
        ``sum``, ``byte`` or ``unconditional``.

    Raises
    ------
    ConfigError
        If the norm is none of sum, byte and unconditional.
    """
    if norm not in NORMS:
        raise ConfigError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}")
    values = getattr(scores, norm)
    weights = np.exp(values - values.max())
    return int(values.argmax()), weights / weights.sum()


def shuffled(choice: Choice, seed: int) -> tuple[Choice, NDArray[np.int64]]:
    """The question with its options in another order, and the old place of each.

    Parameters
    ----------
    choice
        The question.
    seed
        Of the order.

    Examples
    --------
    >>> mixed, places = shuffled(Choice("?", ("a", "b", "c"), 0), 1)
    >>> [("a", "b", "c")[place] for place in places] == list(mixed.options), mixed.options[mixed.answer]
    (True, 'a')
    """
    places = np.random.default_rng(seed).permutation(len(choice.options))
    answer = None if choice.answer is None else int(np.flatnonzero(places == choice.answer)[0])
    return Choice(choice.question, tuple(choice.options[place] for place in places), answer), places


def vote(answers: Sequence[str]) -> tuple[str, float]:
    """The most frequent of several answers (self-consistency), and how many agree with it.

    Of equally frequent ones the first given wins; empty answers do not vote.

    Examples
    --------
    >>> vote(["yes", "no", "yes", ""])
    ('yes', 0.5)
    """
    counts = Counter(answer for answer in answers if answer)
    if not counts:
        return "", 0.0
    best = max(counts.values())
    # Of equal votes the earliest: the order of the file comes first.
    winner = next(answer for answer in answers if answer and counts[answer] == best)
    return winner, best / len(answers)
