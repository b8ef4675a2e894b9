"""Options that several jobs and commands have, each declared here once: type, bounds, help and panel.

A settings class gives the default and, where a job has its own limits, the kinds of data with
``dataclasses.replace``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from biolm.options import Option

__all__ = [
    "AUTO",
    "CELLS",
    "DATA",
    "DEVICE",
    "H5AD",
    "KEY",
    "LETTERS",
    "LONG_ROWS",
    "PRECISIONS",
    "ROWS",
    "SEED",
    "SEQUENCES",
    "SHARD",
    "SPECIES",
    "AllowNormalised",
    "BatchTokens",
    "Device",
    "Duplicates",
    "Encoder",
    "Format",
    "Json",
    "Letters",
    "OutputFolder",
    "OutputH5ad",
    "Overwrite",
    "Pool",
    "Precision",
    "Progress",
    "Resume",
    "Seed",
    "input_argument",
    "model_option",
    "output_option",
    "picture_option",
]

PRECISIONS = ("float32", "bfloat16", "float16")
"""Number types in which networks run."""
AUTO = "auto"
"""The job chooses one of them; see :mod:`biolm.jobs.precision`."""
CELLS, SEQUENCES, LONG_ROWS = ("cells",), ("sequences",), ("sequences", "documents")
"""For which kinds of data an option is."""


def input_argument(text: str, *, python: str | None = None) -> Option:
    """What a command reads: given without a name.

    Parameters
    ----------
    text
        The help.
    python
        Its name in Python, where that is another.
    """
    return Option(help=text, argument=True, panel="Input", python=python)


def output_option(text: str, *, shown: str | None = None) -> Option:
    """What a command writes.

    Parameters
    ----------
    text
        The help.
    shown
        What help says instead of the default.
    """
    return Option(help=text, flags=("--output", "-o"), shown=shown, panel="Output")


def picture_option(text: str) -> Option:
    """A picture that a command draws beside its result."""
    return Option(help=text, shown="none", panel="Output")


def model_option(text: str, *, shown: str | None = None) -> Option:
    """The model of a command.

    Parameters
    ----------
    text
        The help.
    shown
        What help says instead of the default.
    """
    return Option(help=text, flags=("--model", "-m"), shown=shown, panel="Model")


DATA = input_argument("Cells: h5ad, zarr, loom, 10x, csv. Sequences: FASTA ...")
KEY = Option(help="Name of the result.", shown="X_MODEL", panel="Output")
DEVICE = Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")
LETTERS = Option(
    help="Residues or bases the model does not know: error, unknown or skip the record.",
    choices=("error", "unknown", "skip"),
    panel="Sequences",
    only=SEQUENCES,
)
ROWS = Option(help="Rows worked on at a time.", min=1, panel="Run")
SEED = Option(help="Seed of everything random.", min=0, panel="Run")
SHARD = Option(help="Do part i of n, such as 2/7, into a folder for biolm merge.", shown="all", panel="Run")
SPECIES = Option(help="human or mouse.", shown="inferred", panel="Cells", only=CELLS)

AllowNormalised = Annotated[bool, Option(help="Take values that are not counts.", panel="Cells", only=CELLS)]
BatchTokens = Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")]
Device = Annotated[str, DEVICE]
Duplicates = Annotated[
    str,
    Option(
        help="Repeated names: error or keep.", choices=("error", "keep"), panel="Sequences", only=SEQUENCES
    ),
]
Encoder = Annotated[str, model_option("Folder of an encoder, hub id, or minilm.")]
Format = Annotated[str | None, Option(help="Format of the output.", shown="by the ending", panel="Output")]
Json = Annotated[bool, Option(help="Print a summary as JSON on stdout.", panel="Output")]
Letters = Annotated[Literal["error", "unknown", "skip"], LETTERS]
OutputFolder = Annotated[Path, output_option("Folder to write.")]
H5AD = output_option("h5ad file to write.")
OutputH5ad = Annotated[Path, H5AD]
Overwrite = Annotated[bool, Option(help="Replace an existing output.", panel="Output")]
Pool = Annotated[
    str | None, Option(help="How tokens become one vector.", shown="the model's own", panel="Model")
]
Precision = Annotated[
    str,
    Option(
        help="float32, bfloat16, float16, or auto: bfloat16 on CPUs that have it, if vectors stay the same.",
        choices=(*PRECISIONS, AUTO),
        panel="Model",
    ),
]
Progress = Annotated[bool, Option(help="Show progress on stderr.", cli=False)]
Resume = Annotated[bool, Option(help="Go on with an interrupted job.", panel="Run")]
Seed = Annotated[int, SEED]
