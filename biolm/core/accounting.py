"""Where a transformer's parameters are: its matrices by role, counted without making them.

Textbooks count matrices alone: no biases, norms or positions, and an unembedding even where it is the
embedding over again. The exact total stands beside that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from biolm.core.config import CoreConfig
from biolm.core.model import Transformer

__all__ = ["Account", "MatrixRow", "account"]

_ROLES = (
    ("embeddings.token.", "token embedding"),
    ("embeddings.segment.", "segment embedding"),
    ("embeddings.value.", "value encoder"),
    ("embeddings.projection.", "embedding projection"),
    ("attention.query.", "query"),
    ("attention.key.", "key"),
    ("attention.value.", "value"),
    ("attention.out.", "attention output"),
    ("attention.project.", "mixer projection"),
    ("attention.output.", "mixer output"),
    ("attention.filter.", "mixer filter"),
    ("attention.relative.", "relative positions"),
    ("cross.query.", "cross query"),
    ("cross.key.", "cross key"),
    ("cross.value.", "cross value"),
    ("cross.out.", "cross output"),
    ("mlp.gate.", "gate"),
    ("mlp.up.", "up"),
    ("mlp.down.", "down"),
    ("head.decoder.", "unembedding"),
    ("head.", "head"),
)
_LEFT_OUT = ("norm", "position", "bias", "_scale")


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One role: matrices of one shape, how many of them, and their parameters together."""

    role: str
    shape: tuple[int, ...]
    count: int
    parameters: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """Parameters of a model.

    Parameters
    ----------
    rows
        Matrices by role.
    matrices
        Sum of the rows: the textbook count.
    exact
        All the model learns, biases, norms and positions included, tied weights once.
    """

    rows: tuple[MatrixRow, ...]
    matrices: int
    exact: int


def account(config: CoreConfig) -> Account:
    """Count a model's parameters from its config; nothing is allocated.

    Examples
    --------
    GPT-3 (Brown et al. 2020, table 2.1):

    >>> gpt3 = CoreConfig(vocab_size=50257, d_model=12288, n_layers=96, n_heads=96, d_ff=49152,
    ...                   max_length=2048, causal=True, head="linear")
    >>> f"{account(gpt3).matrices:,}"
    '175,181,291,520'
    """
    # Shapes alone: the largest models are counted on any laptop.
    with torch.device("meta"):
        model = Transformer(config)
    groups: dict[tuple[str, tuple[int, ...]], int] = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or any(word in name for word in _LEFT_OUT):
            continue
        role = next((role for part, role in _ROLES if part in name), "other")
        key = (role, tuple(parameter.shape))
        groups[key] = groups.get(key, 0) + 1
    rows = [MatrixRow(role, shape, count, count * _size(shape)) for (role, shape), count in groups.items()]
    if config.head in ("linear", "mlm") and config.tied:
        shape = (config.vocab_size, config.embed_dim)
        rows.append(MatrixRow("unembedding", shape, 1, _size(shape), "tied to the token embedding"))
    return Account(tuple(rows), sum(row.parameters for row in rows), model.n_parameters)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
