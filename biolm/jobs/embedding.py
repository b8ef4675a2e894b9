"""What embedding shares whatever is read: the choices as a model takes them, and how vectors were made."""

from __future__ import annotations

from typing import Any

import biolm
from biolm.errors import ConfigError
from biolm.io.provenance import plain
from biolm.models.model import EmbedOptions

__all__ = ["check_pool", "embed_options", "embedding_options", "model_parameters", "provenance_of"]

_OPTIONS = ("pool", "batch_tokens", "device", "seed", "hidden_state", "precision")


def check_pool(model: Any, settings: Any) -> None:
    """Refuse a way to pool that the model does not offer.

    Parameters
    ----------
    model
        The loaded model.
    settings
        Choices of the job: ``pool``.

    Raises
    ------
    ConfigError
        If the model has no such pool; the message names those that it has.
    """
    if settings.pool is not None and settings.pool not in model.pools:
        offered = ", ".join(model.pools) or "none"
        raise ConfigError(f"model {model.name} has no pool '{settings.pool}'; choose from: {offered}")


def embed_options(settings: Any) -> EmbedOptions:
    """The choices of a job as :meth:`CellModel.embed` takes them."""
    return EmbedOptions(compile=settings.compile, **embedding_options(settings))


def embedding_options(settings: Any) -> dict[str, Any]:
    """The choices of a job that its vectors depend on, by name."""
    return {name: getattr(settings, name) for name in _OPTIONS}


def model_parameters(model: Any, settings: Any, **more: Any) -> dict[str, Any]:
    """How vectors were pooled and computed, for their provenance; ``more`` follows.

    Parameters
    ----------
    model
        The loaded model.
    settings
        Choices of the job.
    more
        What follows.
    """
    return {
        "pool": settings.pool or (model.pools[0] if model.pools else None),
        "hidden_state": settings.hidden_state,
        "device": settings.device,
        "precision": settings.precision,
        **more,
    }


def provenance_of(
    model: Any, facts: dict[str, Any], parameters: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """How vectors were made; no date and no path.

    Parameters
    ----------
    model
        The model.
    facts
        What its ``describe`` says.
    parameters
        Choices of the job.
    more
        What is known of the data.
    """
    record: dict[str, Any] = plain(
        {
            "model": model.name,
            "checkpoint": facts,
            "biolm_version": biolm.__version__,
            "parameters": parameters,
            **more,
        }
    )
    return record
