"""``biolm text embed``: a vector of every document."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.text_arguments import PieceBatch, TextInput
from biolm.common_options import KEY, Device, Encoder, output_option
from biolm.jobs.settings import EmbedSettings, RunSettings
from biolm.options import Option, options_of
from biolm.progress import log
from biolm.text.settings import Overlap


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput, RunSettings):
    """Options of ``biolm text embed``."""

    output: Annotated[Path, output_option("File to write: .h5ad, .zarr, .parquet or .npy.")]
    model: Encoder = "minilm"
    key: Annotated[str | None, KEY] = None
    pool: Annotated[str | None, Option(help="mean or cls.", shown="the folder's own", panel="Model")] = None
    overlap: Overlap = None
    batch_tokens: PieceBatch = 8192
    block_rows: Annotated[
        int | None, Option(help="Documents worked on at a time.", min=1, shown="256", panel="Run")
    ] = None
    device: Device = "auto"


def run(chosen: Arguments) -> None:
    """Turn every document into a vector; texts longer than the model are read in windows, never cut."""
    from biolm.tasks.embed import embed_file
    from biolm.text.documents import DocumentFile

    # The command has only those options of the job that mean something for text.
    own = set(options_of(EmbedSettings)) & set(options_of(Arguments))
    settings = EmbedSettings(progress=not chosen.quiet, **{name: getattr(chosen, name) for name in own})
    data = DocumentFile(chosen.input, chosen.reading())
    summary = embed_file(data, chosen.output, chosen.model, settings)
    log.info("wrote %s: %d documents, %d wide", summary.output, summary.cells, summary.width)
