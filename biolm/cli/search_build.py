"""``biolm search build``: files of reference cells to an index."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import ReadingOptions
from biolm.jobs.settings import EmbedSettings
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(ReadingOptions):
    """Options of ``biolm search build``."""

    references: Annotated[
        list[Path], Option(help="Files of reference cells, as for biolm embed.", argument=True, panel="Input")
    ]
    output: Annotated[
        Path, Option(help="Folder of the index to write.", flags=("--output", "-o"), panel="Output")
    ]
    model: Annotated[
        str,
        Option(help="Built-in name, checkpoint folder or hub id.", flags=("--model", "-m"), panel="Model"),
    ] = "genetext"
    label: Annotated[str | None, Option(help="Column of labels to transfer to queries.", shown="none")] = None
    batch: Annotated[str | None, Option(help="Column of batches, left out as a whole.", shown="none")] = None
    metric: Annotated[str, Option(help="cosine or euclidean.")] = "cosine"
    index: Annotated[str, Option(help="exact; hnsw or ivf for millions of cells.")] = "exact"
    threads: Annotated[int, Option(help="Threads that build hnsw; more than 1 vary.", min=1, panel="Run")] = 1
    pool: Annotated[
        str | None, Option(help="How tokens become one vector.", shown="the model's own", panel="Model")
    ] = None
    hidden_state: Annotated[
        int | None, Option(help="State to pool: -1 the last, -2 ...", shown="the model's own", panel="Model")
    ] = None
    batch_tokens: Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")] = 16_384
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"
    resume: Annotated[bool, Option(help="Go on with an interrupted build.", panel="Run")] = False


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
