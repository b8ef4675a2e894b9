"""``biolm tokenize``: cells of a file to tokens in a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.tasks.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm tokenize``."""

    input: Annotated[Path, typer.Argument(help="h5ad, zarr, loom, 10x .h5 or mtx folder, csv or tsv.")]
    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint folder, name or hub id.")]
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .parquet, .arrow or .zarr.")]
    layer: Annotated[str | None, typer.Option(help="Matrix to read: a layer, or raw.", show_default="X")] = (
        None
    )
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0
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
    workers: Annotated[int, typer.Option(min=1, help="Threads that tokenise.")] = 1
    format: Annotated[
        str | None, typer.Option(help="parquet, arrow or zarr.", show_default="by the ending")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")] = False


def run(chosen: Arguments) -> None:
    """Turn every cell of a file into tokens of a model."""
    from biolm.tasks.tokenize import TokenizeSettings, tokenize_file

    names = {field.name for field in dataclasses.fields(TokenizeSettings)}
    given = {name: value for name, value in vars(chosen).items() if name in names}
    settings = TokenizeSettings(progress=not chosen.quiet, **given)
    summary = tokenize_file(chosen.input, chosen.output, chosen.model, settings, chosen.format)
    log.info("wrote %s: %s cells, %s tokens", summary.output, f"{summary.cells:,}", f"{summary.tokens:,}")
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
