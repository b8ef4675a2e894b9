"""What is held out together: donors, batches, clusters of similar sequences.

Dimensions: ``n`` examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.training.config import RunConfig
from biolm.training.data.labels import IGNORED, encode_classes

__all__ = ["cell_groups", "hold_out"]


def cell_groups(values: NDArray[Any]) -> NDArray[np.int64]:
    """Groups of an obs column by number; cells without a value are groups of their own."""
    codes, names = encode_classes(values)
    alone = codes == IGNORED
    return np.asarray(np.where(alone, len(names) + np.arange(len(codes)), codes))


def hold_out(groups: NDArray[np.int64], config: RunConfig) -> NDArray[np.bool_]:
    """``(n,)`` which examples are for validation: whole groups, about ``data.validation`` of all examples.

    Groups are taken in a random order, those that would hold out too much are passed over.

    Raises
    ------
    InputError
        If one side would be empty.
    """
    share = config.data.validation
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    draws = np.random.Generator(np.random.PCG64([config.seed, 1]))
    order = draws.permutation(len(sizes))
    wanted, chosen = share * len(groups), np.zeros(len(sizes), bool)
    total = 0
    for group in order.tolist():
        # Half a group too many is nearer to the share than none.
        if total + sizes[group] / 2 <= wanted:
            chosen[group] = True
            total += int(sizes[group])
    if share and not chosen.any() and len(sizes) > 1:
        chosen[int(np.argmin(sizes))] = True
    held = chosen[codes]
    if share and (held.all() or not held.any()):
        raise InputError(
            f"the groups of data.groups {config.data.groups} leave nothing to train or validate on; use "
            "smaller groups or another data.validation"
        )
    return np.asarray(held)
