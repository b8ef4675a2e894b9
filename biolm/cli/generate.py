"""``biolm generate``: new proteins and DNA from a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Antibody, print_json
from biolm.common_options import Json, model_option, output_option
from biolm.errors import ConfigError
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.generate.settings import GenerateSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(GenerateSettings, Antibody):
    """Options of ``biolm generate``: those of the job, and what is read and written."""

    model: Annotated[str, model_option("Checkpoint folder or hub id, such as ProGen2 or ESM-2.")]
    output: Annotated[Path, output_option("FASTA file to write.")]
    prompt: Annotated[
        list[str] | None,
        Option(
            help="Residues or bases to begin with; _ is an open place; may be repeated.",
            flags=("--prompt", "-p"),
        ),
    ] = None
    prompts: Annotated[Path | None, Option(help="Sequence file of prompts.", shown="none")] = None
    reference: Annotated[
        Path | None, Option(help="Sequence file, such as the training data: names the nearest.", shown="none")
    ] = None
    json: Json = False


def run(chosen: Arguments) -> None:
    """Generate proteins or DNA with a model.

    Decoders continue prompts; encoders fill the open places (_) of templates.
    """
    if chosen.prompt and chosen.prompts:
        raise ConfigError("--prompt and --prompts were both given; choose one")
    from biolm.tasks.generate.run import generate_file

    prompts = chosen.prompt or chosen.prompts
    summary = generate_file(chosen.reader(chosen.model), chosen.output, prompts, chosen, chosen.reference)
    log.info("wrote %s: %d sequences", summary.output, summary.sequences)
    # What is unusual is said, as sequences that were left out cannot be seen in the file.
    for count, what in (
        (summary.empty, "ended before their first letter and were left out"),
        (summary.unfinished, "were cut at the most residues"),
        (summary.duplicates, "repeat an earlier one (duplicate_of)"),
        (summary.copies, "are near a record of the reference (copy=yes)"),
    ):
        if count:
            log.warning("%d sequences %s", count, what)
    if chosen.json:
        print_json(summary.plain())
