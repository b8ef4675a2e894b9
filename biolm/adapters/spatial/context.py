"""Context tokens in the manner of Nicheformer: species, assay and modality before the genes.

Dimensions: ``n`` spots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError

__all__ = ["CONTEXTS", "ContextVocabulary"]

CONTEXTS = {
    "species": ("unknown species", "human", "mouse"),
    "assay": (
        "unknown assay",
        "visium",
        "visium-hd",
        "spatial-transcriptomics",
        "xenium",
        "cosmx",
        "merscope",
        "dissociated",
    ),
    "modality": ("spatial", "dissociated"),
}
"""Kinds of context and their values; the first of each stands for unknown."""


@dataclass(frozen=True, slots=True)
class ContextVocabulary:
    """Token ids of the values of each kind, counted through from 0.

    Examples
    --------
    >>> words = ContextVocabulary()
    >>> len(words), words.ids(species="human", assay="visium").tolist()
    (13, [1, 4, 11])
    """

    def __len__(self) -> int:
        return sum(map(len, CONTEXTS.values()))

    def ids(self, **values: str) -> NDArray[np.int64]:
        """``(3,)`` token ids of species, assay and modality; the first value of a kind where none is given.

        Raises
        ------
        ConfigError
            For an unknown kind or value.
        """
        if unknown := set(values) - set(CONTEXTS):
            raise ConfigError(f"there is no context {min(unknown)!r} but {', '.join(CONTEXTS)}")
        ids, start = [], 0
        for kind, names in CONTEXTS.items():
            value = values.get(kind) or names[0]
            if value not in names:
                raise ConfigError(f"{kind} must be one of {', '.join(names)}, not {value!r}")
            ids.append(start + names.index(value))
            start += len(names)
        return np.array(ids, np.int64)
