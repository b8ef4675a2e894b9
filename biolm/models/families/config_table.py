"""Fields of a ``config.json`` and of the core, line by line: one table reads and writes.

A family is a list of parts. Most are a :class:`Field`, one entry of the file for one or several fields of the
core; a :class:`Rule` is for what needs more than one entry, such as a window that some layers have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.fields import activation, activation_name

__all__ = [
    "ConfigTable",
    "Field",
    "Part",
    "Rule",
    "activation_field",
    "required",
    "scaled_embedding",
    "tied_field",
    "write_always",
]

_REQUIRED = object()


def _nothing(_: object) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Rule:
    """Entries that are read or written together.

    Parameters
    ----------
    read
        Fields of the core by a ``config.json``.
    write
        Entries of the file by a core config.
    """

    read: Callable[[Mapping[str, Any]], dict[str, Any]] = _nothing
    write: Callable[[CoreConfig], dict[str, Any]] = _nothing


@dataclass(frozen=True)
class Field:
    """One entry of the file.

    Parameters
    ----------
    theirs
        Published name.
    ours
        Fields of the core that it sets; the first one is written.
    default
        Where the file lacks the entry; without one, the entry must be there.
    reads, writes
        From the published value to the core's and back; None where they are the same.

    Examples
    --------
    >>> Field("type_vocab_size", "n_segments", 2).read({})
    {'n_segments': 2}
    """

    theirs: str
    ours: str | tuple[str, ...]
    default: Any = _REQUIRED
    reads: Callable[[Any], Any] | None = None
    writes: Callable[[Any], Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Ours, as a tuple."""
        return (self.ours,) if isinstance(self.ours, str) else self.ours

    def read(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of the core; a KeyError for an entry that must be there."""
        # An entry that says null differs from a missing one: null may mean "no window", "no such token".
        value = config[self.theirs] if self.default is _REQUIRED else config.get(self.theirs, self.default)
        return dict.fromkeys(self.names, value if self.reads is None else self.reads(value))

    def write(self, core: CoreConfig) -> dict[str, Any]:
        """The entry."""
        value = getattr(core, self.names[0])
        return {self.theirs: value if self.writes is None else self.writes(value)}


Part = Field | Rule


def required(**names: str) -> tuple[Field, ...]:
    """Entries that every file has and whose values are the core's: published name to the core's field."""
    return tuple(Field(theirs, ours) for theirs, ours in names.items())


def activation_field(theirs: str, default: str, *ours: str) -> Field:
    """Entry of an activation.

    Parameters
    ----------
    theirs
        Published name of the entry.
    default
        Published name of the activation where the file names none.
    ours
        Fields of the core; ``activation`` without any.
    """
    return Field(theirs, ours or "activation", default, activation, activation_name)


def scaled_embedding(width: str, default: bool) -> Rule:
    """Entry of BART and BioGPT: whether embeddings are multiplied by the root of the width.

    Parameters
    ----------
    width
        Published name of the width.
    default
        The family's.
    """
    return Rule(
        lambda config: {
            "embed_scale": math.sqrt(config[width]) if config.get("scale_embedding", default) else 1.0
        },
        lambda core: {"scale_embedding": core.embed_scale != 1.0},
    )


def tied_field(default: bool) -> Field:
    """Whether the head is the token embedding itself; ``default`` is the family's."""
    return Field(
        "tie_word_embeddings", "tied", default, lambda value: default if value is None else bool(value)
    )


def write_always(**entries: Any) -> Rule:
    """Entries that are the same in every file, and are not read."""
    return Rule(write=lambda _: entries)


class ConfigTable:
    """Both directions of a family's ``config.json``.

    Parameters
    ----------
    *parts
        Entries in the order in which they are written; of two that read one field, the later one counts.
    **fixed
        Fields of the core that every model of the family has alike.

    Examples
    --------
    >>> names = {"vocab_size": "vocab_size", "n_embd": "d_model", "n_layer": "n_layers", "n_head": "n_heads"}
    >>> table = ConfigTable(*required(**names), d_ff=64, causal=True)
    >>> core = table.core_config({"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2})
    >>> table.hf_config(core)
    {'vocab_size': 40, 'n_embd': 16, 'n_layer': 2, 'n_head': 2}
    """

    def __init__(self, *parts: Part, **fixed: Any) -> None:
        self._parts = parts
        self._fixed = fixed

    def core_config(self, config: Mapping[str, Any]) -> CoreConfig:
        """Core config of a ``config.json``, in its v4 or v5 spelling."""
        # Parts come later, so that an entry of the file counts more than what its relatives have alike.
        fields = dict(self._fixed)
        for part in self._parts:
            fields |= part.read(config)
        return CoreConfig(**fields)

    def hf_config(self, core: CoreConfig) -> dict[str, Any]:
        """The ``config.json`` for a core config of this family."""
        entries: dict[str, Any] = {}
        for part in self._parts:
            entries |= part.write(core)
        return entries
