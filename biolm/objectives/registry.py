"""Objectives by name.

Built-ins are listed here and imported on first use; other packages add theirs through the entry point group
``biolm.objectives``, whose values are ``module:Class``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from biolm.errors import ConfigError

if TYPE_CHECKING:
    from biolm.objectives.base import Criterion, Facts, LabelKind, Settings

__all__ = ["available", "find", "label_kinds", "make", "make_all", "read_settings"]

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "nothing"}

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
        raise ConfigError(f"there is no objective {name!r}; {_nearest(name, list(known))}")
    module, _, kind = known[name].partition(":")
    found: type[Criterion] = getattr(import_module(module), kind)
    return found


def make(name: str, facts: Facts, settings: Mapping[str, Any] | None = None) -> Criterion:
    """Build an objective from plain settings.

    Raises
    ------
    ConfigError
        For an unknown name, an unknown setting or an impossible value.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> from biolm.objectives.base import Facts
    >>> core = CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, head="linear")
    >>> make("masked_tokens", Facts(core=core, mask_id=1), {"rtae": 0.3})
    Traceback (most recent call last):
    biolm.errors.ConfigError: objective masked_tokens has no setting 'rtae'; did you mean 'rate'?
    """
    return find(name)(facts, read_settings(name, settings or {}))


def make_all(named: Mapping[str, Mapping[str, Any]], facts: Facts) -> Criterion:
    """The one objective of a config, or the weighted sum of several.

    Raises
    ------
    ConfigError
        As :func:`make`.
    """
    if len(named) == 1:
        [(name, settings)] = named.items()
        if "weight" not in settings:
            chosen = dict(settings)
            return make(chosen.pop("objective", name), facts, chosen)
    return make("weighted", facts, {"parts": named})


def read_settings(name: str, settings: Mapping[str, Any]) -> Settings:
    """Settings of an objective from plain values.

    Raises
    ------
    ConfigError
        As :func:`make`.
    """
    kind = find(name)
    known = [field.name for field in fields(kind.Settings)]
    for key in settings:
        if key not in known:
            raise ConfigError(f"objective {name} has no setting {key!r}; {_nearest(key, known)}")
    hints = get_type_hints(kind.Settings)
    return kind.Settings(**{key: _typed(name, key, hints[key], value) for key, value in settings.items()})


def label_kinds(name: str, settings: Mapping[str, Any]) -> dict[str, LabelKind]:
    """Label columns that an objective would read, and of what kind each must be.

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


def _typed(objective: str, key: str, hint: Any, value: Any) -> Any:
    """A plain value of the type that a setting has; what is no plain value is left to the settings."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not all(kind in _WORDS for kind in kinds):
        return value
    if float in kinds and type(value) is int and int not in kinds:
        return float(value)
    if float in kinds and isinstance(value, str) and str not in kinds:
        # YAML reads 1e-3 as text.
        try:
            return float(value)
        except ValueError:
            pass
    if type(value) not in kinds:
        wanted = " or ".join(_WORDS[kind] for kind in kinds)
        raise ConfigError(f"objective {objective}: {key} must be {wanted}, not {value!r}")
    return value


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
