"""A classifier as plain facts and arrays, and back, for the folder of an annotator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from biolm.tasks.annotate.distance import Distance
from biolm.tasks.annotate.frozen import Frozen
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.tasks.annotate.novelty import Novelty

__all__ = ["frozen_of", "taken_apart"]


def taken_apart(frozen: Frozen) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Plain facts and arrays of a classifier."""
    facts: dict[str, Any] = {
        "recipe": list(frozen.recipe),
        "temperature": frozen.temperature,
        "threshold": frozen.threshold,
    }
    scorer = frozen.scorer
    arrays: dict[str, NDArray[Any]]
    spaces: dict[str, NDArray[Any]] = {}
    if frozen.distance is not None:
        facts["distance"], spaces = frozen.distance.taken_apart()
    if frozen.novelty is not None:
        facts["novelty"], placed = frozen.novelty.taken_apart()
        spaces |= placed
    if isinstance(scorer, Neighbours):
        arrays = spaces | {"points": scorer.points, "codes": scorer.codes, "centre": scorer.centre}
        return facts | {"kind": "neighbours", "k": scorer.k}, arrays
    arrays = spaces | {"vectors": scorer.vectors, "genes": scorer.genes, "bias": scorer.bias}
    return facts | {"kind": "linear"}, arrays


def frozen_of(entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], n_classes: int) -> Frozen:
    """A classifier from what :func:`taken_apart` gave.

    Parameters
    ----------
    entry
        Plain facts.
    arrays
        By name.
    n_classes
        Of the label.
    """
    # A copy, out of which distance and novelty take theirs; what is left is the scorer's.
    own = dict(arrays)
    distance = Distance.joined(entry.get("distance", ()), own)
    novelty = Novelty.joined(entry["novelty"], own) if "novelty" in entry else None
    scorer: LinearMap | Neighbours
    if entry["kind"] == "neighbours":
        scorer = Neighbours(**own, n_classes=n_classes, k=entry["k"])
    else:
        scorer = LinearMap(**own)
    recipe = tuple(entry["recipe"])
    return Frozen(scorer, recipe, entry["temperature"], entry["threshold"], distance, novelty)
