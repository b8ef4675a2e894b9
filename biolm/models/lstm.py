"""An LSTM text classifier over packed documents (Hochreiter & Schmidhuber 1997), a baseline.

Dimensions: ``b`` documents · ``t`` tokens of all of them · ``e`` embedding width · ``d`` hidden width ·
``c`` classes.

Documents are run by length, so no padding ever enters the state; bag-of-words with a linear model stays the
first baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from biolm.batch import Batch, Tokens, pack
from biolm.core import pool
from biolm.errors import ConfigError, InputError

__all__ = ["LstmClassifier", "LstmConfig", "fit_lstm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmConfig:
    """Shape and training of an :class:`LstmClassifier`.

    Parameters
    ----------
    vocab_size
        Tokens.
    classes
        Classes.
    embed_dim, hidden_dim
        ``e``; ``d``, for each direction.
    n_layers
        Layers, one upon the other.
    bidirectional
        Whether documents are read from their end too.
    pool
        What is classified: the ``last`` hidden state of each direction, or the ``max`` over tokens.
    dropout
        On the pooled vector, in training.
    epochs, lr, batch_tokens, seed
        Of :func:`fit_lstm`, which uses AdamW.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    vocab_size: int
    classes: int
    embed_dim: int = 64
    hidden_dim: int = 64
    n_layers: int = 1
    bidirectional: bool = True
    pool: Literal["last", "max"] = "max"
    dropout: float = 0.2
    epochs: int = 10
    lr: float = 3e-3
    batch_tokens: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "embed_dim", "hidden_dim", "n_layers", "epochs", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.classes < 2:
            raise ConfigError(f"a classifier needs at least 2 classes, not {self.classes}")
        if self.pool not in ("last", "max"):
            raise ConfigError(f"pool must be last or max, not {self.pool!r}")
        if not 0 <= self.dropout < 1 or self.lr <= 0:
            raise ConfigError("dropout must lie in [0, 1) and lr be over 0")


class LstmClassifier(nn.Module):
    """Embedding, LSTM, pooling, a linear layer.

    Examples
    --------
    >>> model = LstmClassifier(LstmConfig(vocab_size=9, classes=3, embed_dim=4, hidden_dim=4)).eval()
    >>> batch = Batch.from_padded(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]))
    >>> model(batch).shape
    torch.Size([2, 3])
    """

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embed_dim)
        self.lstm = nn.LSTM(
            config.embed_dim, config.hidden_dim, config.n_layers, bidirectional=config.bidirectional
        )
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.hidden_dim * (1 + config.bidirectional), config.classes)

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``(b, c)``.

        Raises
        ------
        InputError
            If a document is empty, or a token lies outside the vocabulary.
        """
        lengths = batch.lengths.long()
        if not len(lengths) or int(lengths.min()) < 1:
            raise InputError("a document without tokens cannot be classified; leave it out")
        if int(batch.ids.min()) < 0 or int(batch.ids.max()) >= self.config.vocab_size:
            raise InputError(f"a token lies outside the vocabulary 0..{self.config.vocab_size - 1}")
        steps, places = _by_step(batch)
        states, (last, _) = self.lstm(PackedSequence(self.embedding(batch.ids[places]), steps))
        by_length = lengths.argsort(descending=True, stable=True)
        if self.config.pool == "last":
            directions = 1 + self.config.bidirectional
            pooled = torch.empty_like(last[-directions:].transpose(0, 1).flatten(1))
            pooled[by_length] = last[-directions:].transpose(0, 1).flatten(1)
        else:
            packed = torch.empty_like(states.data)
            packed[places] = states.data
            pooled = pool(packed, batch.offsets, "max")
        return self.out(self.dropout(pooled))  # type: ignore[no-any-return]

    @torch.inference_mode()
    def predict(self, tokens: Tokens) -> NDArray[np.float32]:
        """Probabilities ``(n, c)`` of some documents, in their order."""
        self.eval()
        logits = np.empty((len(tokens), self.config.classes), np.float32)
        for rows in pack(tokens, self.config.batch_tokens):
            logits[rows] = self(Batch.from_tokens(tokens, rows)).softmax(-1).numpy()
        return logits


def _by_step(batch: Batch) -> tuple[Tensor, Tensor]:
    """Documents alive at each step, longest first, and the places ``(t,)`` of their tokens in that order."""
    lengths = batch.lengths.long()
    order = lengths.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    document = torch.repeat_interleave(torch.arange(len(lengths), device=order.device), lengths)
    # Step by step and the longest document first, as PackedSequence lays tokens out.
    places = (batch.positions * len(lengths) + rank[document]).argsort()
    steps = (lengths[None, :] > torch.arange(batch.max_length, device=order.device)[:, None]).sum(1)
    # PackedSequence takes its sizes from the CPU alone.
    return steps.cpu(), places


def fit_lstm(tokens: Tokens, labels: NDArray[np.integer], config: LstmConfig) -> LstmClassifier:
    """Train a classifier.

    Parameters
    ----------
    tokens
        ``n`` documents.
    labels
        ``(n,)`` class of each, from 0.
    config
        Shape and training.

    Raises
    ------
    InputError
        If there is not one label for each document, or one is no class.
    """
    labels = np.asarray(labels)
    if len(labels) != len(tokens) or not len(labels):
        raise InputError(f"{len(tokens)} documents need as many labels, not {len(labels)}")
    if labels.min() < 0 or labels.max() >= config.classes:
        raise InputError(f"labels must lie in 0..{config.classes - 1}")
    # Training a baseline must not move the random numbers of who calls it.
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        model = LstmClassifier(config).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr)
        draws = np.random.default_rng(config.seed)
        for _ in range(config.epochs):
            groups = list(pack(tokens, config.batch_tokens))
            for number in draws.permutation(len(groups)):
                rows = groups[number]
                logits = model(Batch.from_tokens(tokens, rows))
                loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels[rows].astype(np.int64)))
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
    return model.eval()
