"""``biolm text embed``: a vector of every document."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text embed``."""

    output: Annotated[
        Path, Option(help="File to write: .parquet, .tsv or .csv.", flags=("--output", "-o"), panel="Output")
    ]
    model: Annotated[
        str, Option(help="Folder of an encoder, hub id, or minilm.", flags=("--model", "-m"), panel="Model")
    ] = "minilm"
    pool: Annotated[str | None, Option(help="mean or cls.", shown="the folder's own", panel="Model")] = None
    overlap: Annotated[
        int | None, Option(help="Pieces that windows share.", shown="a quarter of a window")
    ] = None
    batch_tokens: Annotated[int, Option(help="Pieces of a batch.", min=1, panel="Run")] = 8192
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"


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
