"""JSON Schemas of dataclasses: what a workflow's config and sample sheet may hold.

A field's type gives its JSON type, its default the default; an annotation with ``help`` gives the
description, ``min``, ``max`` and ``pattern`` the limits. So the options of a command describe themselves.
"""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from biolm.cli.arguments import offered
from biolm.options import never_used

__all__ = ["Section", "schema_of"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NAMES: dict[Any, str] = {
    str: "string",
    Path: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}

_LIMITS = {"minimum": "min", "maximum": "max", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A field that holds some fields of another dataclass.

    Parameters
    ----------
    of
        The dataclass, such as the arguments of a command.
    without
        Its fields that the workflow sets itself.
    help
        One sentence.
    whole
        Whether fields without a default must be given.
    """

    of: type[Any]
    without: frozenset[str]
    help: str
    whole: bool = False


def schema_of(kind: type[Any], title: str) -> dict[str, Any]:
    """JSON Schema of a mapping with the fields of a dataclass, and no others.

    Parameters
    ----------
    kind
        The dataclass. Fields without a default are required.
    title
        What the schema is of.

    Raises
    ------
    TypeError
        If a field is of a type that JSON does not have.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Sheet:
    ...     path: str
    ...     cells: int = 5
    >>> schema_of(Sheet, "a sheet")["properties"]
    {'path': {'type': 'string'}, 'cells': {'type': 'integer', 'default': 5}}
    """
    return {"$schema": _DRAFT, "title": title, **_object(kind)}


def _object(kind: type[Any], without: frozenset[str] = frozenset(), *, whole: bool = True) -> dict[str, Any]:
    """The fields of a dataclass as properties."""
    hints = get_type_hints(kind, include_extras=True)
    fields = [
        field
        for field in dataclasses.fields(kind)
        if field.name not in (*without, *never_used(kind)) and offered(hints[field.name])
    ]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: _field(field, hints[field.name]) for field in fields},
        "additionalProperties": False,
    }
    required = [field.name for field in fields if _default(field) is dataclasses.MISSING]
    if required and whole:
        schema["required"] = required
    return schema


def _field(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    """One field: type, limits, default, description."""
    extras = getattr(hint, "__metadata__", ())
    section = next((extra for extra in extras if isinstance(extra, Section)), None)
    if section is not None:
        schema = _object(section.of, section.without, whole=section.whole)
        return {**schema, "description": section.help}
    about = extras[0] if extras else None
    schema = _type(hint.__origin__ if get_origin(hint) is Annotated or extras else hint)
    pattern = getattr(about, "pattern", None)
    if pattern is not None and schema["type"] == "object":
        schema["propertyNames"] = {"pattern": f"^{pattern}$"}
    elif pattern is not None:
        schema["pattern"] = f"^{pattern}$"
    for name, limit in _LIMITS.items():
        if getattr(about, limit, None) is not None:
            schema[name] = getattr(about, limit)
    if choices := getattr(about, "choices", ()):
        schema["enum"] = [*choices, None] if "null" in schema["type"] else list(choices)
    default = _default(field)
    if default is not dataclasses.MISSING:
        schema["default"] = list(default) if isinstance(default, tuple) else default
    if getattr(about, "help", None):
        schema["description"] = about.help  # type: ignore[union-attr]  # it has one
    return schema


def _type(hint: Any) -> dict[str, Any]:
    """The JSON type of a Python type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        parts = [_type(part) for part in inner]
        merged = {name: value for part in parts for name, value in part.items()}
        return {**merged, "type": [part["type"] for part in parts]}
    if origin is Literal:
        return {"type": "string"}
    if origin in (list, tuple):
        return {"type": "array", "items": _type(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(inner[1])}
    if hint not in _NAMES:
        raise TypeError(f"{hint} has no type in JSON")
    return {"type": _NAMES[hint]}


def _default(field: dataclasses.Field[Any]) -> Any:
    """What the field holds where it is not given; MISSING where it must be."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
