"""Batched autoregressive generation with a cache of keys and values, without padding.

Prompts are read in pieces (prefill), then every unfinished sequence gets one token a step. A finished one
leaves the batch, and a waiting prompt takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.core.config import CoreConfig
from biolm.core.memory import Memory
from biolm.core.model import Transformer
from biolm.core.sampling import Draws, SamplingOptions, choose
from biolm.core.seq2seq import EncoderDecoder
from biolm.errors import ConfigError, InputError

__all__ = ["Generation", "generate", "generate_each"]


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated after one prompt.

    Parameters
    ----------
    index
        Number of the prompt.
    ids
        Generated token ids, without the prompt; a stop token is the last of them.
    log_probabilities
        Natural log-probability of each under the model, whatever the sampling.
    reason
        ``stop`` (a stop token), ``length`` (``max_tokens`` or ``max_total`` reached) or ``positions`` (the
        model has no further learned positions).
    """

    index: int
    ids: list[int]
    log_probabilities: list[float]
    reason: str


@dataclass(slots=True)
class _Sequence:
    index: int
    prompt: list[int]
    draws: Draws
    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)


def generate(
    model: Transformer | EncoderDecoder,
    prompts: Batch | Sequence[Sequence[int]],
    options: SamplingOptions | None = None,
    *,
    sources: Batch | Sequence[Sequence[int]] | None = None,
) -> list[Generation]:
    """Continue every prompt.

    Parameters
    ----------
    model
        A causal model with a token head; or an encoder and such a decoder.
    prompts
        Token ids of each prompt, of any lengths; or a packed batch of them. What a decoder begins with: T5
        with one 0.
    options
        How to choose tokens and when to stop.
    sources
        What the encoder reads for each prompt, where the model has one.

    Returns
    -------
    One result for each prompt, in their order.

    Raises
    ------
    ConfigError
        If the model cannot generate.
    InputError
        If a prompt is empty, too long or holds unknown tokens, or a stop token is unknown.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> sizes = {"vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    >>> config = CoreConfig(**sizes, causal=True, head="linear")
    >>> results = generate(Transformer(config), [[1, 2], [3]], SamplingOptions(max_tokens=4))
    >>> [len(result.ids) for result in results]
    [4, 4]
    """
    results = list(generate_each(model, prompts, options, sources=sources))
    return sorted(results, key=lambda result: result.index)


def generate_each(
    model: Transformer | EncoderDecoder,
    prompts: Batch | Sequence[Sequence[int]],
    options: SamplingOptions | None = None,
    *,
    sources: Batch | Sequence[Sequence[int]] | None = None,
    numbers: Sequence[int] | None = None,
) -> Iterator[Generation]:
    """As :func:`generate`, but yields each result as soon as it is finished.

    Parameters
    ----------
    model, prompts, options, sources
        As of :func:`generate`.
    numbers
        Number of each prompt in a larger job, which its draws belong to; its place by default.
    """
    options = SamplingOptions() if options is None else options
    decoder = model.decoder if isinstance(model, EncoderDecoder) else model
    starts, read = _lists(prompts), None if sources is None else _lists(sources)
    _check_model(decoder, options)
    _check_ids("prompt", starts, decoder.config)
    if isinstance(model, EncoderDecoder) != (read is not None):
        raise ConfigError("sources go with a model that has an encoder, and only with one")
    if read is not None and isinstance(model, EncoderDecoder):
        _check_ids("source", read, model.encoder.config)
        if len(read) != len(starts):
            raise InputError(f"{len(read)} sources and {len(starts)} prompts; give one of each for each")
    return _Run(model, starts, read, options, numbers).results()


def _lists(prompts: Batch | Sequence[Sequence[int]]) -> list[list[int]]:
    if isinstance(prompts, Batch):
        ids = prompts.ids.tolist()
        return [ids[a:b] for a, b in pairwise(prompts.offsets.tolist())]
    return [[int(token) for token in prompt] for prompt in prompts]


def _check_model(model: Transformer, options: SamplingOptions) -> None:
    c = model.config
    if not c.causal or c.head != "linear" or c.value_encoder != "none":
        raise ConfigError("only a causal model with a linear token head, on ids alone, generates")
    for what, tokens in (("stop", options.stop), ("allowed", options.allowed)):
        for token in tokens:
            if not 0 <= token < c.vocab_size:
                raise InputError(f"{what} token {token} lies outside the vocabulary 0..{c.vocab_size - 1}")


def _check_ids(what: str, texts: list[list[int]], config: CoreConfig) -> None:
    most, size = config.max_length, config.vocab_size
    for number, ids in enumerate(texts):
        if not ids:
            raise InputError(f"{what} {number} is empty; give at least a begin token")
        if what == "prompt" and config.begin_ids is not None and ids[0] not in config.begin_ids:
            raise InputError(
                f"prompt {number} begins with id {ids[0]}, but this model needs one of its "
                f"{len(config.begin_ids)} control codes there, such as {config.begin_ids[0]}"
            )
        if config.position in ("learned", "sinusoid") and len(ids) > most:
            raise InputError(
                f"{what} {number} has {len(ids)} tokens but the model {most} positions; shorten it"
            )
        for token in (min(ids), max(ids)):
            if not 0 <= token < size:
                raise InputError(f"{what} {number} holds id {token}, outside the vocabulary 0..{size - 1}")


class _Run:
    """One call of :func:`generate`."""

    def __init__(
        self,
        model: Transformer | EncoderDecoder,
        prompts: list[list[int]],
        sources: list[list[int]] | None,
        options: SamplingOptions,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.whole, self.options = model, options
        self.model = model.decoder if isinstance(model, EncoderDecoder) else model
        self.memory = Memory(model, sources) if isinstance(model, EncoderDecoder) and sources else None
        self.cache = self.model.new_cache()
        size = self.model.config.vocab_size
        self.waiting = deque(
            _Sequence(i, prompt, Draws(options, i if numbers is None else numbers[i], size, prompt))
            for i, prompt in enumerate(prompts)
        )
        self.live: dict[int, _Sequence] = {}

    def results(self) -> Iterator[Generation]:
        """Read, step and refill until nothing is left."""
        training = self.whole.training
        self.whole.eval()
        try:
            while self.waiting or self.live:
                with torch.inference_mode():
                    finished = self._admit() or self._step()
                yield from finished
        finally:
            self.whole.train(training)

    def _admit(self) -> list[Generation]:
        """Read waiting prompts into free places; the first token of each is chosen at once."""
        free = self.options.batch_size - len(self.live)
        new = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
        if not new:
            return []
        self.live |= {sequence.index: sequence for sequence in new}
        if self.memory is not None:
            self.memory.read([sequence.index for sequence in new])
        return self._accept(new, self._prefill(new))

    def _prefill(self, new: list[_Sequence]) -> Tensor:
        """Logits ``(b, v)`` after the prompts, which are read in pieces of a bounded number of tokens."""
        logits = []
        todo = deque((sequence.index, sequence.prompt) for sequence in new)
        while todo:
            names, pieces, last = [], [], []
            budget = self.options.chunk_tokens
            while todo and budget:
                name, rest = todo.popleft()
                names.append(name)
                pieces.append(rest[:budget])
                if len(rest) > budget:
                    todo.appendleft((name, rest[budget:]))
                budget -= len(pieces[-1])
                if not todo or todo[0][0] != name:
                    last.append(self.options.chunk_tokens - budget - 1)
            logits.append(self._forward(names, pieces, last))
        return torch.cat(logits)

    def _step(self) -> list[Generation]:
        """One more token for every live sequence."""
        order = self.cache.sequences
        live = [self.live[name] for name in order]
        return self._accept(live, self._forward(order, [sequence.ids[-1:] for sequence in live]))

    def _forward(self, names: list[int], pieces: list[list[int]], rows: list[int] | None = None) -> Tensor:
        """Logits of the new tokens, or of some of them."""
        batch = self.cache.batch(names, pieces)
        wanted = True if rows is None else torch.tensor(rows, dtype=torch.long, device=batch.ids.device)
        memory = None if self.memory is None else self.memory.of(names, batch)
        logits = self.model(batch, logits=wanted, memory=memory, cache=self.cache).logits
        assert isinstance(logits, Tensor)
        return logits

    def _accept(self, sequences: list[_Sequence], logits: Tensor) -> list[Generation]:
        """Choose the next tokens and let finished sequences go."""
        ids, scores = choose(logits, [sequence.draws for sequence in sequences], self.options)
        finished = []
        for sequence, token, score in zip(sequences, ids, scores, strict=True):
            sequence.ids.append(token)
            sequence.log_probabilities.append(score)
            reason = self._reason(sequence)
            if reason:
                del self.live[sequence.index]
                finished.append(Generation(sequence.index, sequence.ids, sequence.log_probabilities, reason))
        gone = [result.index for result in finished]
        self.cache.drop(gone)
        if self.memory is not None:
            self.memory.drop(gone)
        return finished

    def _reason(self, sequence: _Sequence) -> str | None:
        c = self.model.config
        if sequence.ids[-1] in self.options.stop:
            return "stop"
        whole = len(sequence.prompt) + len(sequence.ids)
        if len(sequence.ids) >= self.options.max_tokens or 0 < self.options.max_total <= whole:
            return "length"
        if c.position in ("learned", "sinusoid") and whole > c.max_length:
            return "positions"
        return None
