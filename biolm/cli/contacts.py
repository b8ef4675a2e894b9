"""``biolm contacts``: which residues of a protein touch, from a model's attention."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import PROTEIN_MODEL, Common
from biolm.common_options import Json
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.attention.contacts_file import ContactSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ContactSettings, Common):
    """Options of ``biolm contacts``: those of the job, and what is read and written."""

    input: Annotated[
        Path, Option(help="Proteins: FASTA, FASTQ, GenBank or EMBL.", argument=True, panel="Input")
    ]
    output: Annotated[
        Path,
        Option(
            help="File to write: .tsv (pairs) or .npz (whole maps).", flags=("--output", "-o"), panel="Output"
        ),
    ]
    model: Annotated[str, PROTEIN_MODEL]
    json: Json = False


def run(chosen: Arguments) -> None:
    """Predict which residues of proteins touch.

    Reads the attention of a protein model; needs the weights of its contact regression, or structures.
    """
    from biolm.tasks.attention.contacts_file import contacts_file

    summary = contacts_file(chosen.input, chosen.output, chosen.model, chosen)
    log.info("wrote %s: %d proteins, %d pairs", summary.output, summary.sequences, summary.pairs)
    for name, fraction in summary.precision.items():
        log.info("precision at L, %s range: %.3f", name, fraction)
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
