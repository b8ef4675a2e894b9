"""Choices of training on text, declared once for Python and the command line; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from biolm.common_options import Device, Seed
from biolm.options import Option, check_options

__all__ = ["READING", "SCORED", "Epochs", "FitSettings", "Overlap", "PretrainSettings", "TextPrecision"]

READING = ("input_format", "on_mismatch", "on_duplicate", "on_empty", "scheme")
"""Options of how documents are read."""
Epochs = Annotated[int, Option(help="Passes over the examples.", min=1)]
Overlap = Annotated[
    int | None, Option(help="Pieces that windows share.", min=0, shown="a quarter of a window")
]
TextPrecision = Annotated[
    str, Option(help="float32 or bfloat16.", choices=("float32", "bfloat16"), panel="Model")
]
SCORED = {
    "ner": ("gold", "other", "lenient", "seed", *READING),
    "bc5cdr": ("gold", "other", "seed", *READING),
    "squad": ("gold",),
    "bioasq": ("gold",),
    "bleu": ("gold",),
    "rouge": ("gold",),
    "perplexity": ("model", "stride", *READING),
}
"""What ``biolm text evaluate`` scores, and the options that each kind uses."""
LearningRate = Annotated[float, Option(help="Peak learning rate.", above=0)]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a model is fine-tuned.

    Parameters
    ----------
    epochs
        Passes over the examples; the epoch with the best development score is kept.
    lr
        Peak learning rate of AdamW, after a warm-up of a tenth of the steps and before a linear decay.
    head_lr
        Learning rate of the new head.
    batch_size
        Examples of a step.
    weight_decay, dropout, overlap, seed, device
        As their names say; ``overlap`` in pieces, None for a quarter of a window.
    precision
        ``float32``, or ``bfloat16`` for mixed precision.
    freeze_embeddings
        Leave the token embeddings as they are: faster, and half of a small encoder's parameters.
    most_seconds
        No epoch is begun that would end later; 0 for no limit.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    epochs: Epochs = 4
    lr: LearningRate = 5e-5
    head_lr: Annotated[float, Option(help="Learning rate of the new head.", above=0, cli=False)] = 1e-3
    batch_size: Annotated[int, Option(help="Windows of a step.", min=1, panel="Run")] = 16
    weight_decay: Annotated[float, Option(help="Of AdamW.", min=0, cli=False)] = 0.01
    dropout: Annotated[float, Option(help="In training.", min=0, below=1, cli=False)] = 0.1
    overlap: Overlap = None
    seed: Seed = 0
    device: Device = "auto"
    precision: TextPrecision = "float32"
    freeze_embeddings: Annotated[bool, Option(help="Leave the token embeddings as they are.")] = False
    most_seconds: Annotated[float, Option(help="Begin no epoch that ends later.", min=0, cli=False)] = 0.0

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """One config: tokenizer, size of the encoder, objectives and training.

    Parameters
    ----------
    tokenizer
        ``wordpiece`` (BERT) or ``bpe`` (byte level, RoBERTa's way).
    vocab_size
        Pieces to learn.
    d_model, n_layers, n_heads, max_length
        Of the encoder; its feed-forward is four times as wide.
    mask_fraction
        Fraction of the pieces that is masked, by whole words.
    next_sentence
        Weight of the second objective; 0 for none.
    steps, batch_size, lr
        Of the training, pairs a step.
    held_out
        Fraction of the documents that scores.
    seed
        Of everything random.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    tokenizer: Annotated[str, Option(help="wordpiece or bpe.", choices=("wordpiece", "bpe"))] = "wordpiece"
    vocab_size: Annotated[int, Option(help="Pieces to learn.", min=50)] = 8000
    d_model: Annotated[int, Option(help="Width.", min=1)] = 128
    n_layers: Annotated[int, Option(help="Layers.", min=1)] = 2
    n_heads: Annotated[int, Option(help="Heads.", min=1)] = 2
    max_length: Annotated[int, Option(help="Most tokens of a pair of sentences.", min=8)] = 128
    mask_fraction: Annotated[float, Option(help="Fraction of the pieces that is masked, by whole words.")] = (
        0.15
    )
    next_sentence: Annotated[float, Option(help="Weight of next-sentence prediction.", min=0)] = 1.0
    steps: Annotated[int, Option(help="Steps.", min=1)] = 200
    batch_size: Annotated[int, Option(help="Pairs of a step.", min=1, panel="Run")] = 16
    lr: LearningRate = 5e-4
    held_out: Annotated[float, Option(help="Fraction of the documents that scores.", above=0, below=1)] = 0.1
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_options(self)
