"""``biolm embed``: cells of a file to vectors in a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.tasks.embed_settings import EmbedSettings
from biolm.tasks.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm embed``."""

    input: Annotated[Path, typer.Argument(help="h5ad, zarr, loom, 10x .h5 or mtx folder, csv or tsv.")]
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .h5ad, .zarr, .parquet or .npy.")
    ]
    model: Annotated[
        str, typer.Option("--model", "-m", help="Built-in name, checkpoint folder or hub id.")
    ] = "genetext"
    layer: Annotated[str | None, typer.Option(help="Matrix to read: a layer, or raw.", show_default="X")] = (
        None
    )
    key: Annotated[str | None, typer.Option(help="Name of the result.", show_default="X_MODEL")] = None
    pool: Annotated[
        str | None, typer.Option(help="How tokens become one vector.", show_default="the model's own")
    ] = None
    hidden_state: Annotated[
        int | None, typer.Option(help="State to pool: -1 the last, -2 ...", show_default="the model's own")
    ] = None
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32"
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens packed into one batch.")] = 16_384
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted job.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False
    allow_normalised: Annotated[
        bool, typer.Option("--allow-normalised", help="Take values that are not counts.")
    ] = False
    gene_column: Annotated[
        str | None, typer.Option(help="index or a var column with gene names.", show_default="found")
    ] = None
    minimum_match: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of genes the model must know.")
    ] = 0.1
    species: Annotated[
        str | None, typer.Option(help="human or mouse.", show_default="told from the names")
    ] = None
    compile: Annotated[bool, typer.Option("--compile", help="Compile the layers first (GPU).")] = False
    centre: Annotated[bool, typer.Option("--centre", help="Take the dataset's mean from its vectors.")] = (
        False
    )
    format: Annotated[
        str | None, typer.Option(help="h5ad, zarr, parquet or npy.", show_default="by the ending")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")] = False


def run(chosen: Arguments) -> None:
    """Turn every cell of a file into a vector.

    Writes obsm["X_MODEL"] into a copy of the input, or the vectors alone.
    """
    names = {field.name for field in dataclasses.fields(EmbedSettings)}
    given = {name: value for name, value in vars(chosen).items() if name in names}
    settings = EmbedSettings(progress=not chosen.quiet, **given)
    from biolm.tasks.embed_file import embed_file

    summary = embed_file(chosen.input, chosen.output, chosen.model, settings)
    log.info(
        "wrote %s: %s cells, %s, %d wide, %.1f s",
        summary.output,
        f"{summary.cells:,}",
        summary.key,
        summary.width,
        summary.seconds,
    )
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
