"""Commands whose arguments are the fields of a dataclass, and one way to fail for all of them.

A command is a function of one frozen dataclass. Each field is annotated the way typer wants a
parameter; options that commands share are inherited. :func:`add` makes the typer command.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from biolm.cli.messages import messages, status
from biolm.common_options import input_argument, model_option
from biolm.errors import ConfigError
from biolm.options import Option, check_options, never_used, option_of

__all__ = [
    "CELL_FILE",
    "CHECKPOINT",
    "MODEL",
    "PROTEIN_MODEL",
    "Antibody",
    "Common",
    "add",
    "annotation",
    "offered",
    "part",
    "print_json",
    "shown_fields",
    "split_names",
]


Settings = TypeVar("Settings")

MODEL = model_option("Built-in name, checkpoint folder or hub id.")
CHECKPOINT = dataclasses.replace(MODEL, help="Checkpoint folder or hub id.")
PROTEIN_MODEL = dataclasses.replace(MODEL, help="Checkpoint folder or hub id, such as ESM-2.")
CELL_FILE = input_argument("h5ad, zarr, loom, 10x .h5 or mtx folder, csv or tsv.", python="data")
"""Options that commands have in common beside those of their settings."""

PANELS = ("Input", "Model", "Output", "Cells", "Sequences", "Run")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    quiet: Annotated[
        bool, Option(help="Print nothing but errors on stderr.", flags=("--quiet", "-q"), panel="Run")
    ] = False
    debug: Annotated[bool, Option(help="Print the traceback of a failure.", panel="Run")] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Antibody(Common):
    """Chain and species, for a model of antibodies."""

    chain: Annotated[
        str | None,
        Option(help="IgLM: heavy or light chain.", shown="heavy", panel="Model", only=("sequences",)),
    ] = None
    species: Annotated[
        str | None, Option(help="IgLM: human, mouse, rat, rabbit ...", shown="human", panel="Model")
    ] = None

    def reader(self, model: str) -> Any:
        """The name of the model, or the model itself loaded for a chain or species where these are given."""
        given = {name: value for name in ("chain", "species") if (value := getattr(self, name)) is not None}
        if not given:
            return model
        from biolm.models.registry import load

        return load(model, **given)


def add(app: typer.Typer, name: str, run: Callable[[Any], None], arguments: type[Common]) -> None:
    """Add a command whose options are the fields of a dataclass.

    Parameters
    ----------
    app
        The application.
    name
        What the user types.
    run
        Does the work; its docstring is the help.
    arguments
        Dataclass of the options.
    """
    hints = get_type_hints(arguments, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=annotation(field, hints[field.name]),
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
        )
        for field in shown_fields(arguments)
    ]

    def command(**given: Any) -> None:
        with messages(arguments, quiet=given["quiet"]):
            code = status(lambda: run(_chosen(arguments, given)), arguments, debug=given["debug"])
        if code:
            raise typer.Exit(code)

    # Help wraps paragraphs to the terminal, but keeps the ends of lines that source code has inside them.
    paragraphs = inspect.cleandoc(run.__doc__ or "").split("\n\n")
    command.__doc__ = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(name, cls=_Command)(command)


class _Command(TyperCommand):
    """A command whose ``--help`` stands beside ``--quiet``, not in a panel of its own."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = "Run"
        return option


def part(chosen: Any, kind: type[Settings], **changes: Any) -> Settings:
    """The settings of a class among the arguments of a command that is made of it.

    Parameters
    ----------
    chosen
        The arguments.
    kind
        The class of settings.
    changes
        Values in place of the arguments'.
    """
    # Options of the command line alone, such as --quiet, are none of the settings.
    names = [field.name for field in dataclasses.fields(cast(Any, kind)) if field.name not in changes]
    return kind(**{name: getattr(chosen, name) for name in names}, **changes)


def print_json(record: Any) -> None:
    """Print a record, such as the summary of a job, on stdout."""
    is_record = dataclasses.is_dataclass(record) and not isinstance(record, type)
    plain = dataclasses.asdict(record) if is_record else record
    # Paths alone are spelled out: what else is no JSON is a mistake that should show.
    typer.echo(json.dumps(plain, indent=1, default=os.fspath))


def split_names(given: tuple[str, ...], option: str) -> list[str]:
    """Names of an option that may be repeated, split at commas.

    Parameters
    ----------
    given
        Texts of the option.
    option
        Its name, for messages.

    Raises
    ------
    ConfigError
        If a text names nothing, as of a variable of the shell that is not set: it is not taken for an option
        that was left out.
    """
    if not all(text.strip(", ") for text in given):
        raise ConfigError(f"`{option}` is empty; name a gene, or leave it out")
    return [name for text in given for name in text.split(",") if name.strip()]


def shown_fields(arguments: type[Common]) -> list[dataclasses.Field[Any]]:
    """The fields that the command line offers, in the order of its help.

    Panel by panel; in each what must be given comes first, then the command's own options, then those that it
    shares with others.
    """
    hints = get_type_hints(arguments, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(arguments)}
    near = [name for kind in arguments.__mro__ for name in inspect.get_annotations(kind) if name in fields]
    panels = {name: getattr(option_of(hints[name]), "panel", None) for name in fields}

    def place(name: str) -> tuple[float, bool, int]:
        # Options of a command alone have no panel; typer shows them first.
        panel = panels[name] or "Input"
        # A command's own panels stand before what is the same everywhere.
        known = PANELS.index(panel) if panel in PANELS else len(PANELS) - 1.5
        return known, fields[name].default is not dataclasses.MISSING, near.index(name)

    names = [name for name in fields if offered(hints[name]) and name not in never_used(arguments)]
    return [fields[name] for name in sorted(names, key=place)]


def offered(hint: Any) -> bool:
    """Whether the command line offers a field of that annotation."""
    option = option_of(hint)
    return option is None or option.cli


def annotation(field: dataclasses.Field[Any], hint: Any) -> Any:
    """A field's annotation as typer wants it.

    Parameters
    ----------
    field
        Of the arguments.
    hint
        Its annotation.
    """
    option = option_of(hint)
    if option is None:
        return hint
    kind = get_args(hint)[0]
    if option.argument:
        about = typer.Argument(help=option.help, rich_help_panel=option.panel)
        return Annotated[_typer_kind(kind), about]
    declared = typer.Option(
        *_flags(field, option, kind),
        help=option.help,
        show_default=option.shown or True,
        rich_help_panel=option.panel,
    )
    return Annotated[_typer_kind(kind), declared]


def _typer_kind(kind: Any) -> Any:
    """A type as typer wants it: words are checked by their declaration, repeated options make a list."""
    if get_origin(kind) is Literal:
        return str
    inner = get_args(kind)
    several = next((part for part in (kind, *inner) if get_origin(part) is tuple), None)
    if several is None:
        return kind
    many: Any = list.__class_getitem__(get_args(several)[0])
    return many | None if type(None) in inner else many


def _flags(field: dataclasses.Field[Any], option: Option, kind: Any) -> tuple[str, ...]:
    word = "--" + field.name.replace("_", "-")
    if option.flags or kind is not bool:
        return option.flags or (word,)
    return (f"{word}/--no-{word[2:]}" if field.default else word,)


_OUTPUTS = ("output", "picture", "cloud")


def _chosen(arguments: type[Common], given: dict[str, Any]) -> Common:
    """The arguments of a command; settings among its bases learn whether to draw progress."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    if any(field.name == "progress" for field in dataclasses.fields(arguments)):
        values["progress"] = not given["quiet"]
    chosen = arguments(**values)
    check_options(chosen)
    if getattr(chosen, "overwrite", False) and all(getattr(chosen, name, None) is None for name in _OUTPUTS):
        raise ConfigError("`overwrite` replaces an output, and none is written here; leave it out")
    return chosen
