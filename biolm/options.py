"""Options: each is declared once, as an annotated field of a settings dataclass.

The declaration gives the Python check, the command line, YAML and the JSON Schema of a workflow. An option
that a job does not use is refused by name.

Messages name an option as Python writes it, in backquotes: "choose another output or allow it to be replaced
(`overwrite=True`)". :func:`spelled` turns that into what another face writes, such as ``--overwrite``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, get_args, get_type_hints

from biolm.errors import ConfigError
from biolm.settings import nearest

__all__ = [
    "Option",
    "check_needs",
    "check_options",
    "chosen_options",
    "never_used",
    "option_of",
    "options_of",
    "read_options",
    "refuse_others",
    "refuse_unused",
    "spelled",
    "unused_options",
]

_MARK = re.compile(r"`(?P<name>[a-z]\w*)(?:=(?P<value>[^`]*))?`")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """What a field of settings means and which values it takes, for ``Annotated``.

    Parameters
    ----------
    help
        One sentence.
    min, max
        Limits of a number, or of every number of a list.
    above, below
        Limits that the number itself must not reach.
    choices
        The words that are allowed.
    pattern
        Regular expression that the text, or every name of a mapping, matches from end to end.
    only
        Kinds of data that it is for; all where it is empty.
    needs
        Options of which one must be chosen too, or this one does nothing: ``"picture"`` for one that was
        given, ``"kind=perplexity"`` for a value.
    panel
        Heading under which the command line shows it.
    shown
        What help says instead of the default.
    flags
        Names on the command line, where they are not ``--the-name``.
    python
        Name in Python, where the command line has another.
    argument
        Whether the command line takes it without a name.
    cli
        Whether the command line offers it.

    Examples
    --------
    >>> from typing import Annotated
    >>> rows = Annotated[int, Option(help="Rows at a time.", min=1)]
    >>> checked = {"__post_init__": check_options}
    >>> Settings = dataclasses.make_dataclass("Settings", [("rows", rows, 8)], namespace=checked)
    >>> Settings(0)
    Traceback (most recent call last):
    biolm.errors.ConfigError: `rows` must be at least 1, not 0
    """

    help: str
    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    only: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    panel: str | None = None
    shown: str | None = None
    flags: tuple[str, ...] = ()
    python: str | None = None
    argument: bool = False
    cli: bool = True

    def refusal(self, value: Any) -> str:
        """What is wrong with a value, as the end of a sentence; empty where nothing is."""
        if value is None:
            return ""
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {value!r}"
        if not isinstance(value, int | float) or isinstance(value, bool):
            return ""
        # NaN fails every comparison.
        kept = [
            limit is None or holds
            for limit, holds in (
                (self.min, value >= (self.min or 0)),
                (self.max, value <= (self.max or 0)),
                (self.above, value > (self.above or 0)),
                (self.below, value < (self.below or 0)),
            )
        ]
        return "" if all(kept) else f"must be {self._limits()}, not {value:g}"

    def _limits(self) -> str:
        words = ((self.min, "at least"), (self.above, "above"), (self.max, "at most"), (self.below, "below"))
        return " and ".join(f"{word} {limit:g}" for limit, word in words if limit is not None)


def option_of(hint: Any) -> Option | None:
    """The declaration in an annotation, if there is one."""
    return next((entry for entry in get_args(hint)[1:] if isinstance(entry, Option)), None)


def options_of(settings: type[Any] | Any) -> dict[str, Option]:
    """Every declared option of a settings dataclass by name."""
    return _declared(settings if isinstance(settings, type) else type(settings)).copy()


@cache
def _declared(kind: type[Any]) -> dict[str, Option]:
    hints = get_type_hints(kind, include_extras=True)
    declared = {field.name: option_of(hints[field.name]) for field in dataclasses.fields(kind)}
    return {name: option for name, option in declared.items() if option is not None}


def check_options(settings: Any) -> None:
    """Check every declared option of a settings object.

    Raises
    ------
    ConfigError
        If one is out of its range or no known word, or does nothing without another that was not chosen.
    """
    for name, option in options_of(settings).items():
        value = getattr(settings, name)
        for entry in value if isinstance(value, tuple | list) else (value,):
            if refusal := option.refusal(entry):
                raise ConfigError(f"`{name}` {refusal}")
    check_needs(settings)


def check_needs(settings: Any, **beside: Any) -> None:
    """Refuse options that do nothing because another that they need was not chosen.

    Parameters
    ----------
    settings
        Settings of a job, or the arguments of a command.
    beside
        Arguments that a function takes beside its settings. Options that need one are only checked where some
        are given: a settings object alone cannot know.

    Raises
    ------
    ConfigError
        If one was chosen in vain.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    chosen = {name: getattr(settings, name) for name in defaults} | beside
    for name, option in options_of(settings).items():
        # A value equal to the default cannot be distinguished from none, and does the same.
        if not option.needs or chosen[name] == defaults[name]:
            continue
        pairs = [need.partition("=")[::2] for need in option.needs]
        if not beside and not all(other in defaults for other, _ in pairs):
            continue
        if not any(
            str(chosen.get(other)) == value if value else _given(chosen.get(other), defaults.get(other))
            for other, value in pairs
        ):
            needed = " or ".join(f"`{need}`" for need in option.needs)
            raise ConfigError(f"`{name}` does nothing without {needed}; give both or leave it out")


def _given(value: Any, default: Any) -> bool:
    # Tables of cells refuse to be compared, arrays compare entry by entry: what is no plain value was given.
    if isinstance(value, str | int | float | tuple | list):
        return value != default and value != ()
    return value is not None


def read_options(kind: type[Any], given: Mapping[str, Any], job: str) -> Any:
    """Settings from keyword arguments of a function.

    Parameters
    ----------
    kind
        The settings dataclass.
    given
        Values by name.
    job
        Names the job in messages, such as ``embed``.

    Raises
    ------
    ConfigError
        If the job has no such option (the nearest is named), or a value is out of range.
    """
    known = [field.name for field in dataclasses.fields(kind) if field.name not in never_used(kind)]
    # Here and not by the dataclass, whose own error names neither the job nor the nearest option.
    for name in given:
        if name not in known:
            raise ConfigError(f"{job} has no option {name}; {nearest(name, known)}")
    return kind(**given)


def chosen_options(settings: Any, kind: type[Any]) -> dict[str, Any]:
    """The options of a settings class that were given another value than their default.

    Parameters
    ----------
    settings
        An object of the class, or of one made of it.
    kind
        The class.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    values = {name: getattr(settings, name) for name in defaults}
    return {name: value for name, value in values.items() if value != defaults[name]}


def unused_options(settings: type[Any] | Any, modality: str) -> dict[str, str]:
    """Options that mean nothing for a kind of data, and why.

    A settings class names in ``unused`` what it inherits but does not use: names of options by kind of data,
    ``*`` for every kind.

    Parameters
    ----------
    settings
        Settings of a job, or their class.
    modality
        The kind of data that it reads, such as ``cells``.

    Returns
    -------
    By name: the end of a sentence.
    """
    reasons = {}
    left_out = getattr(settings, "unused", {}).get(modality, ())
    for name, option in options_of(settings).items():
        if option.only and modality not in option.only:
            reasons[name] = f"is for {' and '.join(option.only)} and means nothing for {modality}"
        elif name in left_out or name in never_used(settings):
            reasons[name] = f"is not used for {modality} here"
    return reasons


def never_used(settings: type[Any] | Any) -> tuple[str, ...]:
    """Options that a settings class inherits and uses for no kind of data."""
    names: tuple[str, ...] = getattr(settings, "unused", {}).get("*", ())
    return names


def refuse_unused(settings: Any, modality: str) -> None:
    """Refuse options that mean nothing for a kind of data.

    Parameters
    ----------
    settings
        Settings of a job.
    modality
        The kind of data that it reads, such as ``cells``.

    Raises
    ------
    ConfigError
        If an option that is not used has another value than its default.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, reason in unused_options(settings, modality).items():
        if getattr(settings, name) != defaults[name]:
            raise ConfigError(f"`{name}` {reason}; leave it out")


def refuse_others(settings: Any, used: Collection[str], reason: str) -> None:
    """Refuse options that one way of doing a job does not use.

    Parameters
    ----------
    settings
        Settings of a job, or the arguments of a command.
    used
        Options that it uses.
    reason
        The end of a sentence whose subject is the option.

    Raises
    ------
    ConfigError
        If another option has another value than its default.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, option in options_of(settings).items():
        if name not in used and option.cli and getattr(settings, name) != defaults[name]:
            raise ConfigError(f"`{name}` {reason}; leave it out")


def spelled(message: str, spell: Callable[[str, str | None], str | None]) -> str:
    """A message with its options written as another face writes them.

    Parameters
    ----------
    message
        Names options in backquotes, alone or with a value as Python writes it.
    spell
        Of a name and a value (without quotation marks; None for the name alone): what to write in their
        place; None leaves them as they are.

    Examples
    --------
    >>> spelled("replace it (`overwrite=True`)", lambda name, value: f"data.{name}: {value.lower()}")
    'replace it (data.overwrite: true)'
    """

    def replaced(mark: re.Match[str]) -> str:
        value = mark["value"]
        # Quotation marks are Python's; other faces have their own.
        if value is not None and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        return spell(mark["name"], value) or mark[0]

    return _MARK.sub(replaced, message)
