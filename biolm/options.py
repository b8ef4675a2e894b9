"""Options: each is declared once, as an annotated field of a settings dataclass.

The declaration gives the Python check, the command line, YAML and the JSON Schema of a workflow. An option
that a job does not use is refused by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from biolm.errors import ConfigError
from biolm.settings import nearest

__all__ = [
    "Option",
    "check_options",
    "chosen_options",
    "option_of",
    "options_of",
    "read_options",
    "refuse_unused",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """What a field of settings means and which values it takes, for ``Annotated``.

    Parameters
    ----------
    help
        One sentence.
    min, max
        Limits of a number, or of every number of a list.
    choices
        The words that are allowed.
    pattern
        Regular expression that the text, or every name of a mapping, matches from end to end.
    only
        Kinds of data that it is for; all where it is empty.
    panel
        Heading under which the command line shows it.
    shown
        What help says instead of the default.
    flags
        Names on the command line, where they are not ``--the-name``.
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
    biolm.errors.ConfigError: rows must be at least 1, not 0
    """

    help: str
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    only: tuple[str, ...] = ()
    panel: str | None = None
    shown: str | None = None
    flags: tuple[str, ...] = ()
    cli: bool = True


def option_of(hint: Any) -> Option | None:
    """The declaration in an annotation, if there is one."""
    return next((entry for entry in get_args(hint)[1:] if isinstance(entry, Option)), None)


def options_of(settings: type[Any] | Any) -> dict[str, Option]:
    """Every declared option of a settings dataclass by name."""
    kind = settings if isinstance(settings, type) else type(settings)
    hints = get_type_hints(kind, include_extras=True)
    found = {field.name: option_of(hints[field.name]) for field in dataclasses.fields(kind)}
    return {name: option for name, option in found.items() if option is not None}


def check_options(settings: Any) -> None:
    """Check every declared option of a settings object.

    Raises
    ------
    ConfigError
        If one is out of its range or no known word.
    """
    for name, option in options_of(settings).items():
        value = getattr(settings, name)
        for entry in value if isinstance(value, tuple | list) else (value,):
            _check(name.replace("_", " "), entry, option)


def _check(name: str, value: Any, option: Option) -> None:
    if value is None:
        return
    if option.choices and value not in option.choices:
        raise ConfigError(f"{name} must be one of {', '.join(option.choices)}, not {value!r}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    # NaN fails both comparisons.
    if option.min is not None and option.max is not None and not option.min <= value <= option.max:
        raise ConfigError(f"{name} must lie from {option.min:g} to {option.max:g}, not {value:g}")
    if option.min is not None and not value >= option.min:
        raise ConfigError(f"{name} must be at least {option.min:g}, not {value:g}")
    if option.max is not None and not value <= option.max:
        raise ConfigError(f"{name} must be at most {option.max:g}, not {value:g}")


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
    known = [field.name for field in dataclasses.fields(kind)]
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
    held = {name: getattr(settings, name) for name in defaults}
    return {name: value for name, value in held.items() if value != defaults[name]}


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
        If an option for other kinds alone has another value than its default.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, option in options_of(settings).items():
        if option.only and modality not in option.only and getattr(settings, name) != defaults[name]:
            raise ConfigError(
                f"{name} is for {' and '.join(option.only)} and means nothing for {modality}; leave it out"
            )
