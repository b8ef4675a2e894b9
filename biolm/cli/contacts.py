"""``biolm contacts``: which residues of a protein touch, from a model's attention."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import PROTEIN_MODEL, Common, print_json
from biolm.common_options import Json, input_argument, output_option
from biolm.progress import log
from biolm.tasks.attention.contacts_file import ContactSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ContactSettings, Common):
    """Options of ``biolm contacts``: those of the job, and what is read and written."""

    input: Annotated[Path, input_argument("Proteins: FASTA, FASTQ, GenBank or EMBL.")]
    output: Annotated[Path, output_option("File to write: .tsv (pairs) or .npz (whole maps).")]
    model: Annotated[str, PROTEIN_MODEL]
    json: Json = False


def run(chosen: Arguments) -> None:
    """Predict the contacts between residues of proteins.

    Reads the attention of a protein model; needs the weights of its contact regression, or structures.
    """
    from biolm.tasks.attention.contacts_file import contacts_file

    summary = contacts_file(chosen.input, chosen.output, chosen.model, chosen)
    log.info("wrote %s: %d proteins, %d pairs", summary.output, summary.sequences, summary.pairs)
    for name, fraction in summary.precision.items():
        log.info("precision at L, %s range: %.3f", name, fraction)
    if chosen.json:
        print_json(summary)
