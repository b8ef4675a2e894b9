"""``biolm contacts``: which residues of a protein touch, from a model's attention."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Letters
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Letters):
    """Options of ``biolm contacts``."""

    input: Annotated[Path, typer.Argument(help="Proteins: FASTA, FASTQ, GenBank or EMBL.")]
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .tsv (pairs) or .npz (whole maps).")
    ]
    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint folder or hub id, such as ESM-2.")]
    least: Annotated[float, typer.Option(help="Least probability of a pair in the table.")] = 0.1
    structure: Annotated[
        str | None,
        typer.Option(help="FILE or FILE:CHAIN of the first protein, for precision.", show_default="none"),
    ] = None
    fit: Annotated[
        list[str] | None,
        typer.Option(
            help="Structure to weigh the heads on; may be repeated.", show_default="the model's own"
        ),
    ] = None
    picture: Annotated[
        Path | None, typer.Option(help="Also draw the first: .png, .svg or .pdf.", show_default="none")
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")] = False


def run(chosen: Arguments) -> None:
    """Predict which residues of proteins touch.

    Reads the attention of a protein model; needs the weights of its contact regression, or structures.
    """
    from biolm.tasks.contacts.run import ContactSettings, contacts_file

    names = {entry.name for entry in dataclasses.fields(ContactSettings)}
    options = {name: value for name, value in vars(chosen).items() if name in names}
    settings = ContactSettings(**options | {"fit": tuple(chosen.fit or ())})
    summary = contacts_file(chosen.input, chosen.output, chosen.model, settings)
    log.info("wrote %s: %d proteins, %d pairs", summary.output, summary.sequences, summary.pairs)
    for name, share in summary.precision.items():
        log.info("precision at L, %s range: %.3f", name, share)
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
