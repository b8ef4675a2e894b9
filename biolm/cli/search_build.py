"""``biolm search build``: files of reference cells to an index."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import ReadingOptions
from biolm.jobs.settings import EmbedSettings
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ReadingOptions):
    """Options of ``biolm search build``."""

    references: Annotated[list[Path], typer.Argument(help="Files of reference cells, as for biolm embed.")]
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index to write.")]
    model: Annotated[
        str, typer.Option("--model", "-m", help="Built-in name, checkpoint folder or hub id.")
    ] = "genetext"
    label: Annotated[
        str | None, typer.Option(help="Column of labels to transfer to queries.", show_default="none")
    ] = None
    batch: Annotated[
        str | None, typer.Option(help="Column of batches, left out as a whole.", show_default="none")
    ] = None
    metric: Annotated[str, typer.Option(help="cosine or euclidean.")] = "cosine"
    index: Annotated[str, typer.Option(help="exact; hnsw or ivf for millions of cells.")] = "exact"
    threads: Annotated[int, typer.Option(min=1, help="Threads that build hnsw; more than 1 vary.")] = 1
    pool: Annotated[
        str | None, typer.Option(help="How tokens become one vector.", show_default="the model's own")
    ] = None
    hidden_state: Annotated[
        int | None, typer.Option(help="State to pool: -1 the last, -2 ...", show_default="the model's own")
    ] = None
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens packed into one batch.")] = 16_384
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted build.")] = False


def run(chosen: Arguments) -> None:
    """Make an index of reference cells.

    Writes a folder with vectors, names, labels and the usual distance between cells.
    """
    from biolm.tasks.search.build import build

    made = build(
        chosen.references,
        model=chosen.model,
        output=chosen.output,
        label=chosen.label,
        batch=chosen.batch,
        metric=chosen.metric,
        index=chosen.index,
        threads=chosen.threads,
        **chosen.among(EmbedSettings),
    )
    log.info("wrote %s: %s cells, %s, %s", chosen.output, f"{len(made):,}", made.metric, chosen.index)
