"""``biolm entropy``: how unsure a model of DNA is along a region."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common, print_json
from biolm.common_options import Json, input_argument, model_option, output_option
from biolm.progress import log
from biolm.tasks.variants.entropy import EntropySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(EntropySettings, Common):
    """Options of ``biolm entropy``: those of the job, and what is read and written."""

    input: Annotated[Path, input_argument("Genome: FASTA, or a store of biolm pack.")]
    output: Annotated[Path, output_option("File to write: .bedgraph.")]
    model: Annotated[str, model_option("Checkpoint folder or hub id, such as Evo 2.")]
    json: Json = False


def run(chosen: Arguments) -> None:
    """Write the entropy of a DNA model at each base of a region.

    How uncertain its prediction of the next base is, in bits, as bedGraph.
    """
    from biolm.tasks.variants.entropy import entropy_file

    summary = entropy_file(chosen.input, chosen.output, chosen.model, chosen)
    bases = summary.end - summary.start
    log.info("wrote %s: %s bases, mean %.3f bits", summary.output, f"{bases:,}", summary.mean)
    if chosen.json:
        print_json(summary)
