"""Entries of ``config.json`` that the masked-token encoders share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.config_table import Field, Part, Rule, required, tied_field
from biolm.models.families.fields import has_head, pad_id

__all__ = ["MASKED_HEADS", "SIZES", "dropout_fields", "masked"]

MASKED_HEADS = ("MaskedLM", "PreTraining")
"""Parts of the names of classes with a masked-token head."""

SIZES = required(
    vocab_size="vocab_size",
    hidden_size="d_model",
    num_hidden_layers="n_layers",
    num_attention_heads="n_heads",
    intermediate_size="d_ff",
)
"""In the order in which they are written; other families take some of them."""


def dropout_fields(default: float) -> tuple[Part, ...]:
    """Entries of dropout; ``default`` is the family's."""
    return (
        Field("hidden_dropout_prob", ("dropout_residual", "dropout_embed"), default),
        Field("attention_probs_dropout_prob", "dropout_attention", default),
    )


def masked(model_type: str, name: str, *, tie: bool = True, dropout: float | None = 0.1) -> tuple[Part, ...]:
    """Sizes, padding, dropout, and the masked-token head where the checkpoint was saved with one.

    Parameters
    ----------
    model_type
        In ``transformers``.
    name
        Begins the name of the architecture.
    tie
        Whether the head is tied to the embedding where the file says nothing.
    dropout
        The family's default; None where its files have other entries, from which these two are only written.
    """

    # No entry says whether there is a head; the class that wrote the file does.
    def head(config: Mapping[str, Any]) -> dict[str, Any]:
        headed = has_head(config, *MASKED_HEADS)
        return {"head": "mlm" if headed else "none", "head_bias": headed}

    def architecture(core: CoreConfig) -> dict[str, Any]:
        ending = "ForMaskedLM" if core.head == "mlm" else "Model"
        return {"architectures": [name + ending], "model_type": model_type}

    fields = dropout_fields(0.0 if dropout is None else dropout)
    return (
        Rule(head, architecture),
        *SIZES,
        Field("pad_token_id", "pad_id", None, pad_id),
        tied_field(tie),
        *(fields if dropout is not None else (Rule(write=each.write) for each in fields)),
    )
