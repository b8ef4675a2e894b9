"""``biolm text embed``: a vector of every document."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text embed``."""

    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .parquet, .tsv or .csv.")]
    model: Annotated[str, typer.Option("--model", "-m", help="Folder of an encoder, hub id, or minilm.")] = (
        "minilm"
    )
    pool: Annotated[str | None, typer.Option(help="mean or cls.", show_default="the folder's own")] = None
    overlap: Annotated[
        int | None, typer.Option(help="Pieces that windows share.", show_default="a quarter of a window")
    ] = None
    batch_tokens: Annotated[int, typer.Option(min=1, help="Pieces of a batch.")] = 8192
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"


def run(chosen: Arguments) -> None:
    """Turn every document into a vector; texts longer than the model are read in windows, never cut."""
    import numpy as np

    from biolm.io.table import check_table, write_table
    from biolm.text.embed import embed_texts, load_encoder
    from biolm.text.models import model_folder
    from biolm.text.windows import LengthReport

    check_table(chosen.output, overwrite=chosen.overwrite)
    documents, _ = documents_of(chosen)
    encoder = load_encoder(model_folder(chosen.model), pool=chosen.pool)
    lengths = LengthReport(encoder.longest)
    vectors = embed_texts(
        encoder,
        [document.text for document in documents],
        overlap=chosen.overlap,
        batch_tokens=chosen.batch_tokens,
        device=chosen.device,
        report=lengths,
    )
    columns = {"document": np.array([document.name for document in documents])}
    columns |= {f"axis_{axis}": vectors[:, axis] for axis in range(vectors.shape[1])}
    facts = {
        "model": chosen.model,
        "pool": encoder.pool,
        "normalised": encoder.normalise,
        "lengths": str(lengths),
    }
    write_table(chosen.output, [columns], facts, schema="biolm.text_vectors/1", overwrite=chosen.overwrite)
    log.info("%s", lengths)
    log.info("wrote %s: %d documents, %d wide", chosen.output, *vectors.shape)
