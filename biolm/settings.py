"""Settings from plain values, as YAML or a dictionary holds them: every key known, every type checked."""

from __future__ import annotations

import difflib
import math
import reprlib
import types
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from biolm.errors import ConfigError

__all__ = ["build_settings", "check_fraction", "check_least", "nearest", "read_fields", "read_value"]

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


# A few lines of YAML can name a list of lists whose text would fill the memory.
_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxlist, _SHOWN.maxdict, _SHOWN.maxstring, _SHOWN.maxother = 3, 6, 6, 200, 200


def build_settings(kind: Any, values: Any, place: str) -> Any:
    """An instance of a dataclass, and of the dataclasses in it.

    Parameters
    ----------
    kind
        The dataclass.
    values
        Its fields by name.
    place
        What messages call it: a path such as ``trainer``, or words that end in a colon.

    Raises
    ------
    ConfigError
        If a key is unknown (the message gives the nearest) or missing, or a value is of another type.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Size:
    ...     width: int = 3
    >>> build_settings(Size, {"widht": 4}, "model")
    Traceback (most recent call last):
    biolm.errors.ConfigError: model has no setting 'widht'; did you mean 'width'?
    """
    settings = read_fields(kind, values, place)
    for field in fields(kind):
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{_name(place)} needs the setting {field.name!r}")
    return kind(**settings)


def read_fields(kind: Any, values: Any, place: str, *, hidden: tuple[str, ...] = ()) -> dict[str, Any]:
    """Values of some fields of a dataclass.

    Parameters
    ----------
    kind, values, place
        As of :func:`build_settings`.
    hidden
        Fields that are no settings.

    Raises
    ------
    ConfigError
        If a key is unknown or a value is of another type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{_name(place)} must be a section of settings, not {values!r}")
    known = [field.name for field in fields(kind) if field.name not in hidden]
    for key in values:
        if key not in known:
            raise ConfigError(f"{_name(place)} has no setting {key!r}; {nearest(str(key), known)}")
    hints = get_type_hints(kind)
    return {key: read_value(hints[key], value, _join(place, key)) for key, value in values.items()}


def read_value(hint: Any, value: Any, place: str) -> Any:
    """A value of the type that a field is annotated with.

    Parameters
    ----------
    hint
        Annotation of the field.
    value
        What was given.
    place
        Path of the setting, for messages.

    Raises
    ------
    ConfigError
        If it is of another type.

    Examples
    --------
    >>> read_value(tuple[float, ...], ["1e-3", 2], "rates")
    (0.001, 2.0)
    >>> read_value(tuple[float, float], [0.5], "keep")
    Traceback (most recent call last):
    biolm.errors.ConfigError: keep must be a list of 2, not [0.5]
    """
    if hint is Any:
        return value
    origin, options = get_origin(hint), get_args(hint)
    if value is None and (is_dataclass(hint) or origin is Mapping):
        value = {}  # how YAML reads a section whose settings are all left out, or commented out
    if is_dataclass(hint):
        return build_settings(hint, value, place)
    if origin is Literal:
        if value not in options:
            raise ConfigError(f"{place} must be one of {', '.join(options)}, not {_SHOWN.repr(value)}")
        return value
    if origin in (types.UnionType, Union):
        if value is None and type(None) in options:
            return None
        kinds = [option for option in options if option is not type(None)]
        return read_value(next((kind for kind in kinds if _fits(kind, value)), kinds[0]), value, place)
    if origin is tuple:
        return _read_tuple(options, value, place)
    if origin is not None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{place} must be a section of settings, not {_SHOWN.repr(value)}")
        empty: Any = None if options[1] is Any else {}
        return {
            str(key): read_value(options[1], empty if entry is None else entry, _join(place, key))
            for key, entry in value.items()
        }
    return _read_scalar(hint, value, place)


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of one of the types of a union."""
    plain = get_origin(kind) or kind
    if plain is Literal:
        return value in get_args(kind)
    if plain is tuple:
        return isinstance(value, list | tuple)
    return isinstance(value, plain) and (plain is bool or not isinstance(value, bool))


def _read_tuple(options: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if len(options) == 2 and options[1] is Ellipsis:
        # One path or number may stand for a list of one.
        many = value if isinstance(value, list | tuple) else [value]
        return tuple(read_value(options[0], entry, place) for entry in many)
    if not isinstance(value, list | tuple) or len(value) != len(options):
        raise ConfigError(f"{place} must be a list of {len(options)}, not {_SHOWN.repr(value)}")
    return tuple(read_value(option, entry, place) for option, entry in zip(options, value, strict=True))


def _read_scalar(kind: type, value: Any, place: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):
        # YAML reads 1e-3 as text; the dot of 1.0e-3 is forgotten by all.
        with suppress(ValueError):
            value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{place} must be {_WORDS[kind]}, not {_SHOWN.repr(value)}")
    # YAML reads .nan and .inf, which no setting means.
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place} must be a finite number, not {_SHOWN.repr(value)}")
    return value


def _name(place: str) -> str:
    return place.removesuffix(":") or "the config"


def _join(place: str, key: object) -> str:
    if place.endswith(":"):
        return f"{place} {key}"
    return f"{place}.{key}" if place else str(key)


def nearest(name: str, known: list[str]) -> str:
    """What an unknown name may have meant.

    Parameters
    ----------
    name
        What the user wrote.
    known
        What there is.

    Examples
    --------
    >>> nearest("lenght", ["length", "width"])
    "did you mean 'length'?"
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def check_fraction(name: str, value: float) -> None:
    """Refuse a fraction outside 0 to 1.

    Parameters
    ----------
    name
        Of the setting.
    value
        What was given.

    Raises
    ------
    ConfigError
        With the name of the setting.
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must lie between 0 and 1, not {value}")


def check_least(least: float, **values: float) -> None:
    """Refuse numbers below one, or that are none.

    Raises
    ------
    ConfigError
        With the name of the setting.

    Examples
    --------
    >>> check_least(0, hidden=-1)
    Traceback (most recent call last):
    biolm.errors.ConfigError: hidden must be at least 0, not -1
    """
    for name, value in values.items():
        if not value >= least:
            raise ConfigError(f"{name} must be at least {least:g}, not {value}")
