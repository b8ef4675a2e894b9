"""The loss that TranscriptFormer was trained with, on counts."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["zero_truncated_nll"]

_LEAST = 1e-6  # added to means before a logarithm


def zero_truncated_nll(means: Tensor, counts: Tensor, *, approximate: bool = True) -> Tensor:
    """Negative log likelihood of each count under a zero-truncated Poisson, as published.

    The normaliser ``log(e^mu - 1)`` is written ``max(mu - softplus(-mu), 0)``; not ``approximate`` gives
    ``mu`` itself, which is the published code's other branch.

    Parameters
    ----------
    means, counts, approximate
        Tensors of one shape, and whether the normaliser is written as published.
    """
    means, counts = means + _LEAST, counts.clamp(_LEAST, 30)
    normaliser = (means - softplus(-means)).clamp(min=0) if approximate else means
    return -counts * means.log() + normaliser + (counts + 1).lgamma()
