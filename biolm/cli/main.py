"""The command line: ``biolm COMMAND``; every command imports what it needs when it runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

import typer

import biolm
from biolm.cli.arguments import add
from biolm.cli.last_word import leave_for_sure

__all__ = ["run"]

_NAMES = (
    "demo",
    "embed",
    "tokenize",
    "merge",
    "fit-factors",
    "name-factors",
    "pack",
    "pretrain",
    "models",
    "fetch",
    "inspect",
    "attention",
    "contacts",
    "entropy",
    "score-variants",
    "annotate fit",
    "annotate predict",
    "annotate genes",
    "search build",
    "search query",
    "impute",
    "perturb",
    "spatial check",
    "spatial prepare",
    "spatial train",
    "spatial embed",
    "spatial predict",
    "spatial retrieve",
    "spatial domains",
    "spatial deconvolve",
    "genes vectors",
    "genes network",
    "evaluate",
    "benchmark",
    "generate",
    "text convert",
    "text ner train",
    "text ner predict",
    "text embed",
    "text nearest",
    "text attention",
    "text link",
    "text relate",
    "text qa train",
    "text qa answer",
    "text qa yesno",
    "text qa choose",
    "text generate",
    "text name-cells",
    "text gene-vectors",
    "text topics",
    "text network",
    "text evaluate",
    "text pretrain",
    "schema",
)
"""Every command; its module has the same name and offers ``run`` and the dataclass ``Arguments``."""

GROUPS = {
    "annotate": "Cell-type annotation from labelled cells.",
    "search": "Find the most similar cells of a reference.",
    "genes": "Vectors and networks of genes.",
    "text": "Read, tag, embed, ask and mine the literature.",
    "text ner": "Named entities: train a tagger, tag documents.",
    "text qa": "Questions: answers in a text, yes or no, multiple choice.",
    "spatial": "Tissue sections: genes and image.",
}
"""What the commands whose names begin with a word do together."""


_OBJECTS = 10_000  # made before the collector looks for dead cycles


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"biolm {biolm.__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Foundation models on sequences and single cells."""


def _module(name: str) -> ModuleType:
    return import_module(f"biolm.cli.{name.replace(' ', '_').replace('-', '_')}")


def _made(names: Iterable[str]) -> typer.Typer:
    """The command line with some of its commands."""
    whole = typer.Typer(
        name="biolm",
        help="Foundation models on sequences and single cells.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    whole.callback()(_main)
    groups = {"": whole}
    for name in names:
        words = name.split(" ")
        for depth in range(1, len(words)):
            group = " ".join(words[:depth])
            if group not in groups:
                groups[group] = typer.Typer(name=words[depth - 1], help=GROUPS[group], no_args_is_help=True)
                groups[" ".join(words[: depth - 1])].add_typer(groups[group])
        module = _module(name)
        add(groups[" ".join(words[:-1])], words[-1], module.run, module.Arguments)
    return whole


def _asked(words: Sequence[str]) -> tuple[str, ...]:
    """The command that is named, if one is: the modules of all others are not imported."""
    if words[:1] == ["--version"]:
        return ()
    # The longest name first: "text ner train" before anything that begins alike.
    for depth in (3, 2, 1):
        name = " ".join(words[:depth])
        if name in _NAMES:
            return (name,)
    return _NAMES


@cache
def __getattr__(name: str) -> Any:
    """``app`` with every command, and ``COMMANDS``, their modules by name; made when they are asked for."""
    if name == "app":
        return _made(_NAMES)
    if name == "COMMANDS":
        return {each: _module(each) for each in _NAMES}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def run() -> None:
    """Entry point of the ``biolm`` script.

    Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted, 141 nobody reads the output.
    """
    # A scheduler that ends a job sends TERM: leave like a program that was interrupted, tidily.
    end = leave_for_sure()
    # Modules and gene tables are hundreds of thousands of objects that stay: looking for dead ones among
    # them as often as Python does by default takes a tenth of the time that a small job needs.
    gc.set_threshold(_OBJECTS)
    try:
        _made(_asked(sys.argv[1:]))(prog_name="biolm")
    finally:
        end()
