"""``biolm entropy``: how unsure a model of DNA is along a region."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.common_options import Json
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.variants.entropy import EntropySettings

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(EntropySettings, Common):
    """Options of ``biolm entropy``: those of the job, and what is read and written."""

    input: Annotated[
        Path, Option(help="Genome: FASTA, or a store of biolm pack.", argument=True, panel="Input")
    ]
    output: Annotated[
        Path, Option(help="File to write: .bedgraph.", flags=("--output", "-o"), panel="Output")
    ]
    model: Annotated[
        str,
        Option(help="Checkpoint folder or hub id, such as Evo 2.", flags=("--model", "-m"), panel="Model"),
    ]
    json: Json = False


def run(chosen: Arguments) -> None:
    """Write how unsure a model of DNA is at each base of a region.

    The entropy of the prediction of the next base, in bits, as bedGraph.
    """
    from biolm.tasks.variants.entropy import entropy_file

    summary = entropy_file(chosen.input, chosen.output, chosen.model, chosen)
    bases = summary.end - summary.start
    log.info("wrote %s: %s bases, mean %.3f bits", summary.output, f"{bases:,}", summary.mean)
    if chosen.json:
        typer.echo(json.dumps(dataclasses.asdict(summary) | {"output": str(summary.output)}, indent=1))
