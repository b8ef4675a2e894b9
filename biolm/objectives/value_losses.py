"""Losses of expression values, one number for each.

Dimensions: ``m`` values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.errors import ConfigError
from biolm.objectives.base import Score, Sum

__all__ = ["LOSSES", "count_values", "score_values", "zero_truncated_poisson"]

LOSSES = ("mse", "mae", "huber")
_SMALL_RATE = 1e-3  # below it the series of log(e^mu - 1) is exact to float32: the next term is mu² / 24


def value_loss(predicted: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """Loss of each value, ``(m,)``."""
    if kind == "mse":
        return (predicted - wanted) ** 2
    return (
        F.l1_loss(predicted, wanted, reduction="none")
        if kind == "mae"
        else F.huber_loss(predicted, wanted, reduction="none")
    )


def check_loss(kind: str) -> None:
    """Refuse an unknown loss.

    Raises
    ------
    ConfigError
        With those that exist.
    """
    if kind not in LOSSES:
        raise ConfigError(f"loss must be one of {', '.join(LOSSES)}, not {kind!r}")


def score_values(
    predicted: Tensor,
    wanted: Tensor,
    logit: Tensor | None = None,
    *,
    kind: str = "mse",
    zero_weight: float = 1.0,
    nonzero_only: bool = False,
) -> Score:
    """Loss of values ``(m,)`` and, where a zero logit is given, of being expressed at all.

    Parameters
    ----------
    predicted, wanted
        Predicted and true values.
    logit
        Logit of the value not being zero; its cross-entropy is the term ``zero``.
    kind
        ``mse``, ``mae`` or ``huber``.
    zero_weight
        Weight of the term ``zero``.
    nonzero_only
        Leave true zeros out of the value's loss; the zero logit is then what learns them.

    Notes
    -----
    The metric ``relative`` is scGPT's masked relative error (Cui et al. 2024),
    ``|predicted − wanted| / (wanted + 1e-6)``, over
    values that are not zero: of a zero it would be a million times the error.
    """
    predicted, wanted = predicted.float(), wanted.float()
    weights = (wanted != 0).float() if nonzero_only else torch.ones_like(wanted)
    terms = {"loss": Sum.of(value_loss(predicted, wanted, kind), weights)}
    if logit is not None:
        expressed = (wanted > 0).float()
        terms["zero"] = Sum.of(F.binary_cross_entropy_with_logits(logit.float(), expressed, reduction="none"))
    error = (predicted.detach() - wanted).abs()
    metrics = {
        "mae": Sum.of(error, weights),
        "mse": Sum.of(error**2, weights),
        "relative": Sum.of(error / (wanted.abs() + 1e-6), (wanted != 0).float()),
    }
    if logit is not None:
        metrics["zero_accuracy"] = Sum.of(((logit.detach() > 0) == (wanted > 0)).float())
    return Score(terms, {"zero": zero_weight}, metrics)


def count_values(wanted: Tensor, *, nonzero_only: bool = False, zero: bool = False) -> dict[str, float]:
    """What :func:`score_values` counts for its terms; ``zero`` for a zero logit.

    Parameters
    ----------
    wanted
        ``(m,)`` targets.
    nonzero_only
        Whether zeros have no value loss.
    zero
        Whether there is a logit for zero.
    """
    count = float((wanted != 0).sum()) if nonzero_only else float(wanted.numel())
    return {"loss": count, "zero": float(wanted.numel())} if zero else {"loss": count}


def zero_truncated_poisson(log_rates: Tensor, counts: Tensor, *, rectified: bool = False) -> Tensor:
    """Negative log-likelihood of counts above zero, ``(m,)``.

    Parameters
    ----------
    log_rates
        Logarithm of the mean ``mu`` of the Poisson before truncation.
    counts
        True counts, 1 or more.
    rectified
        Normalise with ``max(mu − softplus(−mu), 0)`` after adding 1e-6 to the rates, as TranscriptFormer's
        code does, in place of the logarithm of ``e^mu − 1``; for small rates that is no likelihood.

    Notes
    -----
    ``−k log mu + log(e^mu − 1) + log k!`` (Pearce et al. 2025). ``log(e^mu − 1)`` is ``mu + log(1 − e^−mu)``,
    which neither overflows nor cancels, and for small ``mu`` it is ``log mu + mu / 2``, which is finite where
    ``mu`` itself rounds to 0, as are its gradients.
    """
    log_rates, counts = log_rates.float(), counts.float()
    rates = log_rates.exp()
    if rectified:
        rates = rates + 1e-6
        log_rates = rates.log()
        normaliser = (rates - F.softplus(-rates)).clamp(min=0)
    else:
        large = rates.clamp(min=_SMALL_RATE)
        usual = large + torch.log(-torch.expm1(-large))
        normaliser = torch.where(rates < _SMALL_RATE, log_rates + rates / 2, usual)
    return -counts * log_rates + normaliser + torch.lgamma(counts + 1)
