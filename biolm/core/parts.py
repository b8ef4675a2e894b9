"""Embeddings and heads of other systems by name, so that a saved config says what a model is made of.

The core sums up embeddings and has three heads of its own. A system with others gives them a name here, and
``CoreConfig(embedder=name)`` or ``CoreConfig(output=name)`` makes them, with options of their own from
``part_options[name]``. So no system needs a field of the config for itself, and its models are saved and
loaded as all others are.

=============  =======================================================================
``embedder``   called with a :class:`~biolm.batch.Batch`, gives the first states ``(t, d)``; its
               table of tokens is the attribute ``token``, an ``nn.Embedding``
``output``     called with states ``(t, d)`` and that table's weight, gives ``Output.logits``
``norm``       norms states ``(t, d)``: ``CoreConfig(norms={"layers": name, "final": name})``
=============  =======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from biolm.core.config import CoreConfig
from biolm.core.registry import Registry
from biolm.errors import ConfigError

__all__ = ["Part", "find_part", "make_part", "read_options", "register_part"]

KINDS = ("embedder", "output", "norm")


@dataclass(frozen=True, kw_only=True)
class Part:
    """How an embedder or a head is made.

    Parameters
    ----------
    name
        What a config calls it.
    kind
        ``embedder``, ``output`` or ``norm``.
    factory
        ``factory(config, options)`` makes the module.
    options
        Dataclass of the part's own options, read from ``config.part_options[name]``; None for none.

    Raises
    ------
    ConfigError
        In the constructor, for another kind.
    """

    name: str
    kind: str
    factory: Callable[[CoreConfig, Any], nn.Module]
    options: type[Any] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"a part is of kind {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {self.kind!r}")


def read_options(what: str, options: type[Any] | None, values: Mapping[str, Any], field: str) -> Any:
    """Options of a mixer or a part from plain values.

    Parameters
    ----------
    what
        Names it in messages.
    options
        Dataclass of its options; None for none.
    values
        As a config holds them.
    field
        Field of the config that held them.

    Raises
    ------
    ConfigError
        For an option that it does not have, or a value that it refuses.
    """
    known = [] if options is None else [entry.name for entry in fields(options)]
    for name in values:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"{what} has no option {name!r}; {has}")
    try:
        return None if options is None else options(**values)
    except TypeError as error:
        raise ConfigError(f"{field} of {what} do not fit: {error}") from error


# As values of entry points: the module, imported on first use, and the name of the Part in it.
_BUILT_IN = {
    "normed_values": "biolm.models.systems.scgpt_heads:NORMED_VALUES",
    "ranked_genes": "biolm.models.systems.scconcept:RANKED_GENES",
    "binned_genes": "biolm.models.systems.tahoe:BINNED_GENES",
    "discretised_genes": "biolm.models.systems.scfoundation_model:DISCRETISED_GENES",
    "genes_and_classes": "biolm.models.systems.scprint_model:GENES_AND_CLASSES",
    "layer_norm": "biolm.core.norm:LAYER_NORM",
    "group_norm": "biolm.core.norm:GROUP_NORM",
    "counts_of_cells": "biolm.models.systems.cellplm_network:COUNTS_OF_CELLS",
}
_PARTS = Registry(Part, "biolm.parts", _BUILT_IN)


def register_part(part: Part) -> None:
    """Offer a part in this process.

    Saved models that use it load only where it is registered; a package that brings parts names them in the
    entry point group ``biolm.parts`` instead (``name = "module:PART"``).

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    _PARTS.register(part)


def find_part(kind: str, name: str) -> Part:
    """The part of that name.

    Parameters
    ----------
    kind
        ``embedder``, ``output`` or ``norm``.
    name
        As it is registered.

    Raises
    ------
    ConfigError
        If there is none, it is of the other kind, or it cannot be imported.
    """
    part = _PARTS.find(name, kind)
    if part.kind != kind:
        raise ConfigError(f"the part {name!r} is of kind {part.kind}, not {kind}")
    return part


def make_part(kind: str, config: CoreConfig, place: str = "") -> nn.Module | None:
    """The embedder, head or norm that a config names; None where it names none.

    Parameters
    ----------
    kind
        ``embedder``, ``output`` or ``norm``.
    config
        Of the core.
    place
        Of a norm: ``layers`` or ``final``.

    Raises
    ------
    ConfigError
        If there is none of that name, or it gets options that it does not have.
    """
    name = config.norms.get(place, "") if kind == "norm" else getattr(config, kind)
    if not name:
        return None
    part = find_part(kind, name)
    what = f"{kind} {name!r}"
    options = read_options(what, part.options, config.part_options.get(name, {}), "part_options")
    return part.factory(config, options)
