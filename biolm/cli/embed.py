"""``biolm embed``: cells or sequences of a file to vectors in a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Antibody, Letters, Reading, Sharded
from biolm.jobs.embed_settings import EmbedSettings
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Reading, Sharded, Letters, Antibody):
    """Options of ``biolm embed``."""

    input: Annotated[
        Path,
        typer.Argument(
            help="Cells: h5ad, zarr, loom, 10x, csv. Sequences: FASTA, FASTQ, GenBank; - for stdin."
        ),
    ]
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write: .h5ad, .zarr, .parquet, .npy; sequences: .pt."),
    ]
    model: Annotated[
        str, typer.Option("--model", "-m", help="Built-in name, checkpoint folder or hub id.")
    ] = "genetext"
    key: Annotated[str | None, typer.Option(help="Name of the result.", show_default="X_MODEL")] = None
    pool: Annotated[
        str | None, typer.Option(help="How tokens become one vector.", show_default="the model's own")
    ] = None
    hidden_state: Annotated[
        int | None, typer.Option(help="State to pool: -1 the last, -2 ...", show_default="the model's own")
    ] = None
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32"
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens packed into one batch.")] = 16_384
    block_rows: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows worked on at a time; shards begin there.", show_default="the model's own"
        ),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted job.")] = False
    compile: Annotated[bool, typer.Option("--compile", help="Compile the layers first (GPU).")] = False
    centre: Annotated[bool, typer.Option("--centre", help="Take the dataset's mean from its vectors.")] = (
        False
    )
    format: Annotated[
        str | None, typer.Option(help="h5ad, zarr, parquet, npy or pt.", show_default="by the ending")
    ] = None
    duplicates: Annotated[str, typer.Option(help="Sequences: repeated names are an error, or keep.")] = (
        "error"
    )
    windows: Annotated[
        bool, typer.Option("--windows/--no-windows", help="Sequences: read long ones in overlapping windows.")
    ] = True
    window: Annotated[
        int | None, typer.Option(min=1, help="Sequences: tokens of a window.", show_default="the model's own")
    ] = None
    overlap: Annotated[
        int | None,
        typer.Option(min=0, help="Sequences: tokens that windows share.", show_default="a quarter"),
    ] = None
    per_residue: Annotated[
        bool, typer.Option("--per-residue", help="Sequences: a row for each residue, base or token.")
    ] = False
    species: Annotated[
        str | None,
        typer.Option(help="human or mouse; of antibodies also rat ...", show_default="told from the names"),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")] = False


def run(chosen: Arguments) -> None:
    """Turn every cell or sequence of a file into a vector.

    Writes obsm["X_MODEL"] into a copy of the table of cells or a new table of sequences, or vectors alone.
    """
    from biolm.tasks.embed_sequences_settings import (
        SequenceSettings,
        cell_options,
        is_sequence_file,
        sequence_settings,
    )

    if is_sequence_file(chosen.input):
        from biolm.tasks.embed_sequences_file import embed_sequences_file

        options = chosen.among(EmbedSettings) | chosen.among(SequenceSettings) | {"species": None}
        reader = chosen.reader(chosen.model)
        summary = embed_sequences_file(chosen.input, chosen.output, reader, sequence_settings(options))
    else:
        from biolm.jobs.run import embed_file

        chosen.refuse_for_cells("chain")
        cell_options(chosen.among(SequenceSettings))
        settings = EmbedSettings(**chosen.among(EmbedSettings))
        summary = embed_file(chosen.input, chosen.output, chosen.model, settings)
    log.info(
        "wrote %s: %s rows, %s, %d wide, %.1f s",
        summary.output,
        f"{summary.cells:,}",
        summary.key,
        summary.width,
        summary.seconds,
    )
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
