"""``biolm generate``: new proteins and DNA from a model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Antibody
from biolm.errors import ConfigError
from biolm.progress import log
from biolm.tasks.generate.settings import GenerateSettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Antibody):
    """Options of ``biolm generate``."""

    model: Annotated[
        str, typer.Option("--model", "-m", help="Checkpoint folder or hub id, such as ProGen2 or ESM-2.")
    ]
    output: Annotated[Path, typer.Option("--output", "-o", help="FASTA file to write.")]
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", help="Letters to begin with; _ is an open place; may be repeated."),
    ] = None
    prompts: Annotated[Path | None, typer.Option(help="Sequence file of prompts.", show_default="none")] = (
        None
    )
    number: Annotated[int, typer.Option("--number", "-n", help="Sequences for each prompt.")] = 1
    max_length: Annotated[int, typer.Option(help="Most residues of a sequence, prompt included.")] = 512
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest.")] = 1.0
    top_k: Annotated[int, typer.Option(help="Draw among so many likeliest tokens; 0 for all.")] = 0
    top_p: Annotated[float, typer.Option(help="Draw among the fewest with this probability.")] = 1.0
    repetition_penalty: Annotated[
        float, typer.Option(help="Over 1 makes tokens rarer that were there before.")
    ] = 1.0
    direction: Annotated[str, typer.Option(help="forward, backward or both (ProGen2).")] = "forward"
    steps: Annotated[
        int, typer.Option(help="Passes in which an encoder fills in; 0 for one place a pass.")
    ] = 0
    sweeps: Annotated[int, typer.Option(help="Times that an encoder draws every place again.")] = 0
    ambiguous: Annotated[bool, typer.Option("--ambiguous", help="Also write letters such as X and N.")] = (
        False
    )
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Sequence file, such as the training data: names the nearest.", show_default="none"
        ),
    ] = None
    near: Annotated[float, typer.Option(help="Identity from which on one counts as a copy.")] = 0.9
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences made together.")] = 32
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")] = False


def run(chosen: Arguments) -> None:
    """Make proteins or DNA with a model.

    Decoders write on from prompts; encoders fill the open places (_) of templates.
    """
    if chosen.prompt and chosen.prompts:
        raise ConfigError("--prompt and --prompts were both given; choose one")
    names = {entry.name for entry in dataclasses.fields(GenerateSettings)} - {"progress"}
    settings = GenerateSettings(**{name: getattr(chosen, name) for name in names}, progress=not chosen.quiet)
    from biolm.tasks.generate.run import generate_file

    prompts = chosen.prompt or chosen.prompts
    summary = generate_file(chosen.reader(chosen.model), chosen.output, prompts, settings, chosen.reference)
    log.info("wrote %s: %d sequences", summary.output, summary.sequences)
    for count, what in (
        (summary.empty, "ended before their first letter and were left out"),
        (summary.unfinished, "were cut at the most residues"),
        (summary.duplicates, "repeat an earlier one (duplicate_of)"),
        (summary.copies, "are near a record of the reference (copy=yes)"),
    ):
        if count:
            log.warning("%d sequences %s", count, what)
    if chosen.json:
        typer.echo(json.dumps(summary.plain(), indent=1))
