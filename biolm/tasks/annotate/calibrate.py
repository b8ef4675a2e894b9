"""Logits to probabilities that mean what they say, and the threshold below which a cell is unknown.

Dimensions: ``n`` cells · ``c`` classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["probabilities", "temperature_of", "threshold_of"]

_RANGE = (0.02, 50.0)


def probabilities(logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """``(n, c)`` softmax of logits over a temperature.

    Parameters
    ----------
    logits
        ``(n, c)``.
    temperature
        That they are divided by.

    Examples
    --------
    >>> probabilities(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    scaled = logits / temperature
    # Less the maximum: exp of a logit above 709 would overflow.
    scaled = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(scaled / scaled.sum(1, keepdims=True))


def temperature_of(logits: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """The temperature that makes held-out logits likeliest (Guo et al. 2017, section 4.2).

    Parameters
    ----------
    logits
        ``(n, c)`` of cells that the classifier did not see.
    codes
        ``(n,)`` their classes.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(codes))

    def loss(log_temperature: float) -> float:
        right = probabilities(logits, float(np.exp(log_temperature)))[rows, codes]
        return float(-np.log(np.maximum(right, 1e-12)).mean())

    # In logarithms, so that halving and doubling a temperature are steps of one size.
    low, high = np.log(_RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def threshold_of(confidence: NDArray[np.float64], reject: float) -> float:
    """The confidence below which the share ``reject`` of held-out cells of known types lies.

    Parameters
    ----------
    confidence
        ``(n,)`` of held-out cells of known types.
    reject
        Fraction of them below the threshold.

    Examples
    --------
    >>> threshold_of(np.array([0.2, 0.9, 0.9, 0.9]), 0.25)
    0.9
    """
    if reject == 0 or not len(confidence):
        return 0.0
    return float(np.quantile(confidence, reject, method="higher"))
