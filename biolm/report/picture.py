"""Pictures of cells for a file: a grid of maps coloured by cell type.

Dimensions: ``n`` cells · ``d`` width of a vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import ConfigError
from biolm.io.atomic import replacing
from biolm.report.maps import PALETTE, CellMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["blank_figure", "draw_maps", "picture_format", "save_figure", "umap_layout"]

_PICTURES = ("png", "svg", "pdf")
# Without date, version and drawn ids the same picture is the same bytes.
_UNDATED: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
NEIGHBOURS = 15  # of the neighbourhoods that are kept, capped by the number of cells
MARKERS = ("o", "s", "^")


def picture_format(path: Path) -> str:
    """``png``, ``svg`` or ``pdf``, by the ending.

    Raises
    ------
    ConfigError
        For another ending.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in _PICTURES:
        raise ConfigError(
            f"{path} names no format for a picture; use an ending among .{', .'.join(_PICTURES)}"
        )
    return kind


def blank_figure(
    width: float, height: float, *, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """A figure of matplotlib that no window and no list of open figures knows.

    Parameters
    ----------
    width, height
        In inches.
    layout
        ``constrained`` keeps titles, legends and scales clear of each other.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    # Agg whatever the user's backend: sizes of text, and so of legends, are the same on every machine.
    FigureCanvasAgg(figure)
    return figure


def save_figure(
    figure: Figure, target: Path, *, overwrite: bool = False, dpi: int = 150, tight: bool = False
) -> None:
    """Write a picture whole or not at all, the same bytes each time.

    Parameters
    ----------
    figure
        To write.
    target
        File; its ending is the format.
    overwrite
        Whether it may be replaced.
    dpi
        Dots per inch.
    tight
        Whether empty margins are cut off.

    Raises
    ------
    OutputError
        If the file exists and ``overwrite`` is not set.
    """
    from matplotlib import rc_context

    kind = target.suffix.lower().lstrip(".")
    box = "tight" if tight else None
    with replacing(target, overwrite=overwrite) as temporary, rc_context({"svg.hashsalt": "biolm"}):
        figure.savefig(temporary, format=kind, dpi=dpi, bbox_inches=box, metadata=_UNDATED.get(kind))


def umap_layout(vectors: ArrayLike, *, seed: int = 0) -> NDArray[np.float32]:
    """Two dimensions for the eye, by UMAP on the angles between vectors.

    Distances between far groups mean nothing.

    Parameters
    ----------
    vectors
        ``(n, d)``.

    Returns
    -------
    ``(n, 2)``; the same for the same input and seed.
    """
    with warnings.catch_warnings():
        # umap warns at import that its optional tensorflow part is not there.
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP

    points = np.asarray(vectors, dtype=np.float32)
    model = UMAP(min(NEIGHBOURS, len(points) - 1), min_dist=0.3, metric="cosine", random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(points), dtype=np.float32)


def draw_maps(path: Path, maps: Sequence[CellMap], *, colour_by: str) -> None:
    """Draw one row a set of cells and one column a view, with one legend a row.

    Parameters
    ----------
    path
        A PNG (or any other format of matplotlib).
    maps
        Sets of cells with the same number of views.
    colour_by
        A text column that every set holds.

    Raises
    ------
    OutputError
        If the file exists.
    """
    views = len(maps[0].views)
    figure = blank_figure(3 * views + 2.6, 3.1 * len(maps))
    axes = figure.subplots(len(maps), views, squeeze=False)
    for row, item in zip(axes, maps, strict=True):
        labels = np.asarray(item.columns[colour_by]).astype(str)
        for axis, view in zip(row, item.views, strict=True):
            _scatter(axis, view.coordinates, labels, item)
            axis.set_title(view.name, fontsize=10)
        row[0].set_ylabel(item.name, fontsize=10)
        row[-1].legend(
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            frameon=False,
            fontsize=8.5,
            handletextpad=0.2,
            markerscale=1.6,
        )
    save_figure(figure, path, dpi=100)


def _scatter(axis: Axes, points: NDArray[Any], labels: NDArray[np.str_], item: CellMap) -> None:
    names = np.unique(labels).tolist()
    for name, slot in zip(names, item.slots(names), strict=True):
        chosen = points[labels == name]
        style = {"marker": MARKERS[slot % 3], "color": PALETTE[slot % len(PALETTE)], "label": name}
        axis.scatter(chosen[:, 0], chosen[:, 1], s=9, linewidths=0, alpha=0.85, **style)
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_color("#d7dce2")
