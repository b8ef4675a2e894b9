"""``biolm annotate predict``: cells or sequences of a file named by an annotator."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common, print_json
from biolm.common_options import DATA, Json, model_option, output_option
from biolm.options import Option
from biolm.progress import log
from biolm.tasks.annotate.settings import PredictSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(PredictSettings, Common):
    """Options of ``biolm annotate predict``: those of the job, and what is read and written."""

    input: Annotated[Path, DATA]
    annotator: Annotated[
        Path, Option(help="Folder that biolm annotate fit wrote.", flags=("--annotator", "-a"), panel="Model")
    ]
    output: Annotated[
        Path, output_option("File to write: .h5ad or .zarr (of sequences also .tsv); a folder for a shard.")
    ]
    model: Annotated[str | None, model_option("The annotator's model.", shown="where it was")] = None
    json: Json = False


def run(chosen: Arguments) -> None:
    """Annotate the cells or sequences of a file.

    Writes a copy of the input with obs["biolm_LABEL"], its confidence and its probabilities.
    """
    from biolm.tasks.annotate.predict import annotate_file

    done = annotate_file(chosen.input, chosen.output, chosen.annotator, chosen, chosen.model)
    for key, sizes in (done.counts or {}).items():
        shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)
        log.info("%s: %s", key, shown)
    log.info("wrote %s: %s %s", chosen.output, f"{done.rows:,}", done.unit)
    if chosen.json:
        counted = done.rows if done.counts is None else done.counts
        print_json({"output": str(chosen.output), done.unit: counted})
