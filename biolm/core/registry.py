"""Things by name that this package, this process and other packages offer: mixers, parts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from biolm.errors import ConfigError

__all__ = ["Registry"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=_Named)


class Registry(Generic[Entry]):
    """Entries of one type; those of modules are imported on first use.

    Parameters
    ----------
    kind
        The type of the entries, whose name tells what they are.
    group
        Entry point group in which other packages name theirs.
    built_in
        Our own as values of entry points, ``module:NAME``.
    known
        Entries that need no import.
    """

    def __init__(
        self, kind: type[Entry], group: str, built_in: Mapping[str, str], known: tuple[Entry, ...] = ()
    ) -> None:
        self._kind, self._group, self._built_in = kind, group, built_in
        self._found = {entry.name: entry for entry in known}

    def register(self, entry: Entry) -> None:
        """Offer an entry in this process.

        Raises
        ------
        ConfigError
            If the name is taken.
        """
        if entry.name in self._found or entry.name in self._built_in:
            what = self._kind.__name__.lower()
            raise ConfigError(f"a {what} named {entry.name!r} is registered already; choose another name")
        self._found[entry.name] = entry

    def find(self, name: str, field: str) -> Entry:
        """The entry of that name.

        Parameters
        ----------
        name
            As it is registered.
        field
            What the config calls it, for messages.

        Raises
        ------
        ConfigError
            If there is none, or it cannot be imported.
        """
        if name in self._found:
            return self._found[name]
        # Our own come last: a package cannot take the name of one.
        places = {point.name: point.value for point in entry_points(group=self._group)} | {**self._built_in}
        if name not in places:
            known = ", ".join(sorted(places.keys() | self._found.keys()))
            raise ConfigError(f"{field} must be one of {known}, not {name!r}")
        module, _, attribute = places[name].partition(":")
        try:
            entry = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{field} {name!r} cannot be loaded from {places[name]}: {error}") from error
        if not isinstance(entry, self._kind):
            kind, wanted = type(entry).__name__, self._kind.__name__
            raise ConfigError(f"{field} {name!r}: {places[name]} is a {kind}, not a {wanted}")
        return self._found.setdefault(name, entry)
