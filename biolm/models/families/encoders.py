"""Fields that the masked-token encoders share, in the order of their ``config.json``."""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.fields import has_head, pad_id, tied

__all__ = ["dropouts", "hf_common", "masked_head", "shape"]


def shape(config: dict[str, Any]) -> dict[str, Any]:
    """Core fields of sizes and special tokens.

    Examples
    --------
    >>> names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    >>> shape(dict(zip(names, (33, 64, 2, 4, 256))))["d_ff"]
    256
    """
    return {
        "vocab_size": config["vocab_size"],
        "d_model": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "d_ff": config["intermediate_size"],
        "pad_id": pad_id(config),
    }


def masked_head(config: dict[str, Any], *, tie: bool = True) -> dict[str, Any]:
    """Core fields of the masked-token head, where the checkpoint was saved with one.

    Parameters
    ----------
    tie
        The family's default.
    """
    headed = has_head(config, "MaskedLM", "PreTraining")
    return {"head": "mlm" if headed else "none", "head_bias": headed, "tied": tied(config, tie)}


def dropouts(config: dict[str, Any], default: float = 0.1) -> dict[str, Any]:
    """Core fields of dropout.

    Parameters
    ----------
    config
        A ``config.json``.
    default
        The family's.
    """
    hidden = config.get("hidden_dropout_prob", default)
    return {
        "dropout_embed": hidden,
        "dropout_residual": hidden,
        "dropout_attention": config.get("attention_probs_dropout_prob", default),
    }


def hf_common(config: CoreConfig, model_type: str, name: str) -> dict[str, Any]:
    """What every encoder's ``config.json`` says; ``name`` begins the name of the architecture.

    Parameters
    ----------
    config
        Of the core.
    model_type
        In ``transformers``.
    name
        Begins the name of the architecture.
    """
    return {
        "architectures": [name + ("ForMaskedLM" if config.head == "mlm" else "Model")],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "pad_token_id": config.pad_id,
        "tie_word_embeddings": config.tied,
        "hidden_dropout_prob": config.dropout_residual,
        "attention_probs_dropout_prob": config.dropout_attention,
    }
