"""Objectives by name.

Built-ins are listed here and imported on first use; other packages add theirs through the entry point group
``biolm.objectives``, whose values are ``module:Class``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from biolm.errors import ConfigError
from biolm.settings import build_settings, nearest

if TYPE_CHECKING:
    from biolm.objectives.base import Criterion, LabelKind, Metadata, Settings

__all__ = ["available", "find", "label_kinds", "make", "make_all", "read_settings", "split_part"]

_PART_KEYS = frozenset(
    {"objective", "weight", "input_of"}
)  # of a part of a sum, beside its objective's settings

BUILT_IN: dict[str, str] = {
    "adversarial": "biolm.objectives.adversarial:Adversarial",
    "cell_similarity": "biolm.objectives.similarity:CellSimilarity",
    "classify": "biolm.objectives.classify:Classify",
    "gene_query": "biolm.objectives.gene_query:GeneQuery",
    "image_contrast": "biolm.objectives.image_contrast:ImageContrast",
    "masked_counts": "biolm.objectives.masked_counts:MaskedCounts",
    "masked_tokens": "biolm.objectives.masked_tokens:MaskedTokens",
    "masked_values": "biolm.objectives.masked_values:MaskedValues",
    "next_token": "biolm.objectives.next_token:NextToken",
    "pair_order": "biolm.objectives.pair_order:PairOrder",
    "panel_contrast": "biolm.objectives.contrast:PanelContrast",
    "permuted_tokens": "biolm.objectives.permuted_tokens:PermutedTokens",
    "regress": "biolm.objectives.classify:Regress",
    "triplet": "biolm.objectives.triplet:Triplet",
    "two_views": "biolm.objectives.contrast:TwoViews",
    "weighted": "biolm.objectives.weighted:Weighted",
    "whole_cell": "biolm.objectives.whole_cell:WholeCell",
}


@cache
def available() -> dict[str, str]:
    """Name to ``module:Class`` of every objective: built-ins, then those of other packages."""
    others = {point.name: point.value for point in entry_points(group="biolm.objectives")}
    # A package cannot take the name of an objective that comes with biolm.
    return {**others, **BUILT_IN}


def find(name: str) -> type[Criterion]:
    """The class of that name; its ``Settings`` are the keys of the YAML.

    Raises
    ------
    ConfigError
        For an unknown name; the message gives the nearest.
    """
    known = available()
    if name not in known:
        raise ConfigError(f"there is no objective {name!r}; {nearest(name, list(known))}")
    module, _, kind = known[name].partition(":")
    criterion: type[Criterion] = getattr(import_module(module), kind)
    return criterion


def make(name: str, metadata: Metadata, settings: Mapping[str, Any] | None = None) -> Criterion:
    """Build an objective from plain settings.

    Parameters
    ----------
    name
        Of the objective.
    metadata
        Core and data.
    settings
        Plain values.

    Raises
    ------
    ConfigError
        For an unknown name, an unknown setting or an impossible value.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> from biolm.objectives.base import Metadata
    >>> core = CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, head="linear")
    >>> make("masked_tokens", Metadata(core=core, mask_id=1), {"rtae": 0.3})
    Traceback (most recent call last):
    biolm.errors.ConfigError: objective masked_tokens has no setting 'rtae'; did you mean 'rate'?
    """
    return find(name)(metadata, read_settings(name, settings or {}))


def make_all(named: Mapping[str, Mapping[str, Any]], metadata: Metadata) -> Criterion:
    """The one objective of a config, or the weighted sum of several.

    Parameters
    ----------
    named
        Settings by name.
    metadata
        Core and data.

    Raises
    ------
    ConfigError
        As :func:`make`.
    """
    if len(named) == 1:
        [(name, settings)] = named.items()
        if "weight" not in settings:
            chosen = dict(settings)
            return make(chosen.pop("objective", name), metadata, chosen)
    return make("weighted", metadata, {"parts": named})


def read_settings(name: str, settings: Mapping[str, Any]) -> Settings:
    """Settings of an objective from plain values.

    Parameters
    ----------
    name
        Of the objective.
    settings
        Plain values.

    Raises
    ------
    ConfigError
        As :func:`make`.
    """
    settings_of: Settings = build_settings(find(name).Settings, settings, f"objective {name}:")
    return settings_of


def split_part(name: str, part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Registered name and settings of the objective of a part of a sum.

    Parameters
    ----------
    name
        Of the part.
    part
        Its settings.

    Examples
    --------
    >>> split_part("half", {"objective": "masked_tokens", "rate": 0.5, "weight": 2})
    ('masked_tokens', {'rate': 0.5})
    """
    settings = {key: value for key, value in part.items() if key not in _PART_KEYS}
    return part.get("objective", name), settings


def label_kinds(name: str, settings: Mapping[str, Any]) -> dict[str, LabelKind]:
    """Label columns that an objective would read, and of what kind each must be.

    Parameters
    ----------
    name
        Of the objective.
    settings
        Plain values.

    Raises
    ------
    ConfigError
        As :func:`make`.

    Examples
    --------
    >>> label_kinds("classify", {"column": "cell_type"})
    {'cell_type': 'classes'}
    """
    return find(name).label_kinds(read_settings(name, settings))
