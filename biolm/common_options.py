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
]

PRECISIONS = ("float32", "bfloat16", "float16")
"""Number types in which networks run."""
AUTO = "auto"
"""The job chooses one of them; see :mod:`biolm.jobs.precision`."""
CELLS, SEQUENCES, LONG_ROWS = ("cells",), ("sequences",), ("sequences", "documents")
"""For which kinds of data an option is."""

DATA = Option(help="Cells: h5ad, zarr, loom, 10x, csv. Sequences: FASTA ...", argument=True, panel="Input")
KEY = Option(help="Name of the result.", shown="X_MODEL", panel="Output")
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
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")]
Duplicates = Annotated[
    str,
    Option(
        help="Repeated names: error or keep.", choices=("error", "keep"), panel="Sequences", only=SEQUENCES
    ),
]
Encoder = Annotated[
    str, Option(help="Folder of an encoder, hub id, or minilm.", flags=("--model", "-m"), panel="Model")
]
Format = Annotated[str | None, Option(help="Format of the output.", shown="by the ending", panel="Output")]
Json = Annotated[bool, Option(help="Print a summary as JSON on stdout.", panel="Output")]
Letters = Annotated[Literal["error", "unknown", "skip"], LETTERS]
OutputFolder = Annotated[Path, Option(help="Folder to write.", flags=("--output", "-o"), panel="Output")]
H5AD = Option(help="h5ad file to write.", flags=("--output", "-o"), panel="Output")
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
