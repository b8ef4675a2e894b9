"""From a YAML file to :class:`~biolm.training.config.RunConfig`: every key known, every type checked."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from biolm.errors import ConfigError
from biolm.training.config import RunConfig

__all__ = ["build", "change", "nearest", "read_config", "write_config"]


def read_config(path: str | Path, changes: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file.
    changes
        Each ``path.to.key=value`` in YAML, put in place of what the file says.

    Raises
    ------
    ConfigError
        If the file is missing or no YAML, a key is unknown (the message gives the nearest), or a value is
        of another type.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no table of settings; see the tutorial on pretraining")
    for text in changes:
        change(values, text)
    return build(values)


def build(values: Mapping[str, Any]) -> RunConfig:
    """Settings from plain values.

    Raises
    ------
    ConfigError
        As :func:`read_config`.

    Examples
    --------
    >>> build({"data": {"paths": ["cells.h5ad"], "batch_token": 8}})
    Traceback (most recent call last):
    biolm.errors.ConfigError: data has no setting 'batch_token'; did you mean 'batch_tokens'?
    """
    config: RunConfig = _build(RunConfig, values, "")
    return config


def change(values: dict[str, Any], text: str) -> None:
    """Put one ``path.to.key=value`` into plain values.

    Raises
    ------
    ConfigError
        If there is no ``=``, the value is no YAML, or the path leads through a value.

    Examples
    --------
    >>> values = {"trainer": {"max_steps": 10}}
    >>> change(values, "trainer.max_steps=20")
    >>> values
    {'trainer': {'max_steps': 20}}
    """
    import yaml

    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"{text!r} is no change; write it as section.key=value")
    *sections, key = path.strip().split(".")
    place = values
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{text!r} leads through {section!r}, which is a value, not a section")
    try:
        place[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {text!r} is not valid YAML") from error


def write_config(path: Path, config: RunConfig) -> None:
    """Write the whole config, defaults included; :func:`read_config` gives the same back."""
    import yaml

    path.write_text(yaml.safe_dump(config.as_dict(), sort_keys=False), encoding="utf-8")


def _build(kind: Any, values: Any, place: str) -> Any:
    """An instance of a dataclass."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place or 'the config'} must be a section of settings, not {values!r}")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{place or 'the config'} has no setting {key!r}; {nearest(str(key), list(known))}"
            )
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{place or 'the config'} needs the setting {name!r}")
    return kind(**{key: _value(hints[key], value, _join(place, key)) for key, value in values.items()})


def _value(hint: Any, value: Any, place: str) -> Any:
    """A value of the type that a field is annotated with."""
    if is_dataclass(hint):
        return _build(hint, value, place)
    origin, options = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in options:
            raise ConfigError(f"{place} must be one of {', '.join(options)}, not {value!r}")
        return value
    if origin in (types.UnionType, Union):
        if value is None:
            return None
        kinds = [option for option in options if option is not type(None)]
        fits = [kind for kind in kinds if isinstance(kind, type) and isinstance(value, kind)]
        return _value(fits[0] if fits else kinds[0], value, place)
    if origin is tuple:
        # One path or number may stand for a list of one.
        many = value if isinstance(value, list | tuple) else [value]
        return tuple(_value(options[0], entry, place) for entry in many)
    if origin is not None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{place} must be a section of settings, not {value!r}")
        inner = options[1]
        return {str(key): entry if inner is Any else _value(inner, entry or {}, _join(place, key))
                for key, entry in value.items()}  # fmt: skip
    return _scalar(hint, value, place)


def _scalar(kind: type, value: Any, place: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):
        # YAML reads 1e-3 as text; the dot of 1.0e-3 is forgotten by all.
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise ConfigError(f"{place} must be {words[kind]}, not {value!r}")
    return value


def _join(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)


def nearest(name: str, known: list[str]) -> str:
    """What an unknown name may have meant.

    Examples
    --------
    >>> nearest("lenght", ["length", "width"])
    "did you mean 'length'?"
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
