"""Layer-wise attention of a token model over a set of cells, as a table and a picture.

Dimensions: ``l`` layers · ``h`` heads.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from biolm.common_options import Device
from biolm.errors import InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.cell_tables import open_table
from biolm.jobs.bind import bind_genes, loaded
from biolm.jobs.settings import ReadingSettings
from biolm.models.model import CellModel
from biolm.options import Option, read_options
from biolm.progress import progress
from biolm.report.picture import blank_figure, picture_format, save_figure

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.preprocessor import CellPreprocessor

__all__ = [
    "FIGURES",
    "AttentionSettings",
    "AttentionTable",
    "attention_of_cells",
    "draw_attention",
    "write_attention",
]

FIGURES = ("entropy", "entropy_share", "mean_rank", "rank_share")


@dataclass(frozen=True, slots=True)
class AttentionTable:
    """Mean figures of every layer and head over some cells.

    Parameters
    ----------
    figures
        ``entropy`` (nats), ``entropy_share`` (of the largest possible), ``mean_rank`` of the attended
        tokens and ``rank_share`` (of the cell's length), each ``(l, h)``.
    cells
        How many cells were averaged.
    model
        Name of the model.
    """

    figures: dict[str, NDArray[np.float64]]
    cells: int
    model: str


@dataclass(frozen=True, kw_only=True)
class AttentionSettings(ReadingSettings):
    """Choices of the job, beside those of :class:`~biolm.jobs.settings.ReadingSettings`.

    Parameters
    ----------
    cells
        How many cells to look at.
    device
        Where to compute.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    cells: Annotated[int, Option(help="Cells to average over, evenly spaced.", min=1)] = 100
    device: Device = "auto"


def attention_of_cells(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel,
    **options: Any,
) -> AttentionTable:
    """Entropy and mean rank of attended tokens, by layer and head, over evenly spaced cells.

    Parameters
    ----------
    data
        Cells, as for :func:`biolm.embed`.
    model
        A model that attends to genes (geneformer, scgpt, scbert, uce ...), its folder or name.
    options
        See :class:`AttentionSettings`.

    Raises
    ------
    ConfigError
        If the model has no attention between genes.
    InputError
        If no cell has two tokens.
    """
    from biolm.batch import Batch
    from biolm.core.analysis import profile_maps
    from biolm.models.running import pick_device

    settings: AttentionSettings = read_options(AttentionSettings, options, "attention")
    reader = loaded(model)
    # The method of the base class is the one that refuses; asked before the file is opened.
    if type(reader).attention is CellModel.attention:
        raise reader.lacks("has no attention between genes")
    place = pick_device(settings.device)
    preprocessor: CellPreprocessor = reader.preprocessor  # type: ignore[attr-defined]  # who attends reads tokens
    total: dict[str, NDArray[np.float64]] = {}
    used = 0
    with open_table(data, matrix=settings.matrix) as source:
        match = bind_genes(source, reader, settings)
        # Evenly spaced: files are often sorted by sample or type.
        rows = np.unique(np.linspace(0, source.n_cells - 1, min(settings.cells, source.n_cells)).astype(int))
        with progress("attention", len(rows), show=settings.progress) as advance:
            for row in rows:
                block = next(source.blocks(1, int(row), int(row) + 1))
                tokens = reader.tokenize(block, match, seed=settings.seed)
                advance(1)
                batch = Batch.from_tokens(tokens).to(place)
                # A cell without known genes has no token, and a batch of nothing no maps.
                if not batch.max_length:
                    continue
                run = partial(reader.attention, batch)
                profile = profile_maps(run, skip=preprocessor.special)
                if not profile.documents:
                    continue
                for name in FIGURES:
                    total[name] = total.get(name, 0) + getattr(profile, name).double().cpu().numpy()
                used += 1
    if not used:
        raise InputError("none of the cells has two known genes with counts; check the matrix and the genes")
    return AttentionTable({name: value / used for name, value in total.items()}, used, reader.name)


def write_attention(table: AttentionTable, output: str | Path, *, overwrite: bool = False) -> None:
    """Write the table as tab-separated text: one row a layer and head, layers and heads from 0.

    Parameters
    ----------
    table
        To write.
    output
        File.
    overwrite
        Whether it may be replaced.
    """
    target = Path(output)
    refuse_existing(target, overwrite=overwrite)
    layers, heads = table.figures["entropy"].shape
    with (
        replacing(target, overwrite=overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["layer", "head", *FIGURES])
        for layer in range(layers):
            for head in range(heads):
                figures = [f"{table.figures[name][layer, head]:.6g}" for name in FIGURES]
                writer.writerow([layer, head, *figures])


def draw_attention(table: AttentionTable, output: str | Path, *, overwrite: bool = False) -> None:
    """Draw entropy and attended rank by layer: a dot a head, a line through the means.

    Parameters
    ----------
    table
        To draw.
    output
        Picture.
    overwrite
        Whether it may be replaced.

    Raises
    ------
    ConfigError
        If the ending is not one of a picture.
    OutputError
        If the file exists and ``overwrite`` is not set.
    """
    target = Path(output)
    picture_format(target)
    refuse_existing(target, overwrite=overwrite)
    figure = blank_figure(8, 3.4)
    panels = (
        ("entropy_share", "spread: entropy / largest possible", 1.0),
        ("rank_share", "attended rank / length of cell", 0.5),
    )
    for place, (name, title, alike) in enumerate(panels):
        axes = figure.add_subplot(1, 2, place + 1)
        values = table.figures[name]
        layers = np.arange(1, len(values) + 1)
        for head in range(values.shape[1]):
            axes.scatter(layers, values[:, head], s=14, color="#7a7a7a", alpha=0.6, linewidths=0)
        axes.plot(layers, values.mean(1), color="#0072b2", marker="o", markersize=4)
        axes.axhline(alike, color="#d55e00", linewidth=0.8, linestyle=":")
        axes.set(xlabel="layer", title=title, ylim=(0, 1.05), xticks=layers[:: max(1, len(layers) // 12)])
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{table.model}: attention over {table.cells} cells (dotted: all tokens alike)")
    save_figure(figure, target, overwrite=overwrite)
