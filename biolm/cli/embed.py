"""``biolm embed``: cells, sequences or another kind of data of a file to vectors in a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from biolm.cli.arguments import MODEL, Antibody, print_json
from biolm.common_options import Json, input_argument, output_option
from biolm.jobs.settings import EmbedSettings
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.options import unused_options
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(EmbedSettings, Antibody):
    """Options of ``biolm embed``: those of the job, and what is read and written."""

    input: Annotated[
        Path,
        input_argument(
            "Cells: h5ad, zarr, loom, 10x, csv. Sections: the instrument's folder. "
            "Sequences: FASTA, FASTQ, GenBank; - for stdin. Documents: jsonl, pubtator, BioC ..."
        ),
    ]
    output: Annotated[Path, output_option("File to write: .h5ad, .zarr, .parquet, .npy; sequences: .pt.")]
    model: Annotated[str, MODEL] = DEFAULT_MODEL
    json: Json = False


def run(chosen: Arguments) -> None:
    """Turn every cell or sequence of a file into a vector.

    Writes obsm["X_MODEL"] into a copy of the table of cells or a new table of sequences, or vectors alone.
    """
    from biolm.jobs.modality import modality_of
    from biolm.tasks.embed import embed_file

    settings: EmbedSettings = chosen
    model: Any = chosen.model
    # A species says how genes are read; where there are none, it is given to the model.
    if "species" in unused_options(EmbedSettings, modality_of(chosen.input).reads):
        settings, model = dataclasses.replace(chosen, species=None, chain=None), chosen.reader(chosen.model)
    summary = embed_file(chosen.input, chosen.output, model, settings)
    log.info(
        "wrote %s: %s rows, %s, %d wide, %.1f s",
        summary.output,
        f"{summary.cells:,}",
        summary.key,
        summary.width,
        summary.seconds,
    )
    if chosen.json:
        print_json(summary)
