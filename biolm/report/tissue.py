"""Pictures of sections: spots over tissue, contact sheets of patches, values and attention on the map.

Dimensions: ``n`` spots · ``m`` pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.report.maps import PALETTE
from biolm.report.picture import blank_figure, save_figure

__all__ = ["draw_attention", "draw_contact_sheet", "draw_labels", "draw_overlay", "draw_values"]

OUTLINE = "#0b6"


def draw_overlay(
    path: Path,
    pixels: NDArray[np.uint8],
    places: NDArray[np.float64],
    *,
    mask: NDArray[np.bool_] | None = None,
    boxes: float = 0.0,
    title: str = "",
) -> None:
    """Spots over a small copy of the image, with the outline of the tissue.

    Parameters
    ----------
    path
        Picture to write.
    pixels
        Small copy of the image.
    places
        ``(n, 2)`` in its pixels.
    mask
        Tissue, of the same size.
    boxes
        Side of the patches in its pixels; 0 for none.
    """
    height, width = pixels.shape[:2]
    figure = blank_figure(7, 7 * height / width + 0.3, layout=None)
    axes = figure.subplots()
    axes.imshow(pixels)
    if mask is not None and mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=OUTLINE, linewidths=0.8)
    axes.scatter(places[:, 0], places[:, 1], s=9, c="none", edgecolors="#c00", linewidths=0.7)
    if boxes:
        from matplotlib.patches import Rectangle

        for x, y in places:
            corner = (x - boxes / 2, y - boxes / 2)
            axes.add_patch(Rectangle(corner, boxes, boxes, fill=False, edgecolor="#06c", linewidth=0.4))
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
    save_figure(figure, path, dpi=130, tight=True)


def draw_contact_sheet(path: Path, patches: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> None:
    """Patches beside each other, each with its name and a dot at its centre, where the spot is.

    Parameters
    ----------
    path
        PNG to write.
    patches
        ``(n, o, o, 3)``.
    names
        ``(n,)``.
    """
    columns = min(8, max(1, len(patches)))
    lines = -(-len(patches) // columns)
    figure = blank_figure(1.5 * columns, 1.7 * lines, layout=None)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, patch, name in zip(grid.ravel(), patches, names, strict=False):
        axes.imshow(patch)
        axes.plot([patch.shape[1] / 2], [patch.shape[0] / 2], "+", color="#c00", markersize=6)
        axes.set_title(name[:18], fontsize=6)
    save_figure(figure, path, dpi=130, tight=True)


def draw_values(
    path: Path,
    places: NDArray[np.float64],
    values: Mapping[str, NDArray[Any]],
    *,
    pixels: NDArray[np.uint8] | None = None,
    overwrite: bool = False,
) -> None:
    """Numbers of spots on the map, a panel each.

    Parameters
    ----------
    path
        PNG to write.
    places
        ``(n, 2)`` coordinates.
    values
        ``(n,)`` numbers by title.
    pixels
        Image to draw on.
    overwrite
        Whether the file may be replaced.
    """
    figure, grid = _panels(len(values), 3.9, 3.4)
    for axes, (name, column) in zip(grid[0], values.items(), strict=True):
        _ground(axes, places, pixels)
        drawn = axes.scatter(*places.T, c=column, s=_size(places), cmap="viridis", linewidths=0)
        figure.colorbar(drawn, ax=axes, fraction=0.04)
        axes.set_title(name, fontsize=9)
    save_figure(figure, path, overwrite=overwrite, dpi=130, tight=True)


def draw_labels(
    path: Path,
    places: NDArray[np.float64],
    labels: Mapping[str, NDArray[np.str_]],
    *,
    overwrite: bool = False,
) -> None:
    """Kinds of spots on the map, a panel each, with a legend.

    Parameters
    ----------
    path
        PNG to write.
    places
        ``(n, 2)`` coordinates.
    labels
        ``(n,)`` names by title.
    overwrite
        Whether the file may be replaced.
    """
    figure, grid = _panels(len(labels), 4.4, 3.8)
    for axes, (name, column) in zip(grid[0], labels.items(), strict=True):
        _ground(axes, places, None)
        # Sorted, so that a kind has one colour in every panel.
        for number, kind in enumerate(sorted(set(column.tolist()))):
            chosen = column == kind
            axes.scatter(*places[chosen].T, s=_size(places), color=PALETTE[number % len(PALETTE)], label=kind)
        axes.set_title(name, fontsize=9)
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save_figure(figure, path, overwrite=overwrite, dpi=130, tight=True)


def draw_attention(
    path: Path,
    patch: NDArray[np.uint8] | None,
    grid: NDArray[np.float64],
    genes: Sequence[tuple[str, float]],
    *,
    title: str = "",
    overwrite: bool = False,
) -> None:
    """What the genes of a spot look at in its patch, and which genes the patch looks at.

    Parameters
    ----------
    path
        Picture to write.
    patch
        The spot's patch; None where it is not at hand.
    grid
        ``(s, s)`` attention on the parts of the patch.
    genes
        Names and attention of the genes that the patch looks at most.
    """
    figure, ((left, right),) = _panels(2, 3.6, 3.2)
    side = 224 if patch is None else patch.shape[0]
    if patch is not None:
        left.imshow(patch)
    left.imshow(grid, extent=(0, side, side, 0), cmap="magma", alpha=0.55 if patch is not None else 1.0)
    left.set_axis_off()
    left.set_title("genes look at", fontsize=9)
    names, weights = zip(*reversed(genes), strict=True)
    right.barh(names, weights, color=PALETTE[0])
    right.tick_params(labelsize=7)
    right.set_title("the patch looks at", fontsize=9)
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path, overwrite=overwrite, dpi=130, tight=True)


def _panels(count: int, width: float, height: float) -> tuple[Any, Any]:
    """Panels in a row, whose legends, scales and names keep clear of each other."""
    figure = blank_figure(width * count, height)
    return figure, figure.subplots(1, count, squeeze=False)


def _ground(axes: Any, places: NDArray[np.float64], pixels: NDArray[np.uint8] | None) -> None:
    if pixels is not None:
        axes.imshow(pixels, alpha=0.5)
    else:
        # y grows downwards, as in an image.
        low, high = places.min(0), places.max(0)
        margin = 0.04 * max(float((high - low).max()), 1.0)
        axes.set_xlim(low[0] - margin, high[0] + margin)
        axes.set_ylim(high[1] + margin, low[1] - margin)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _size(places: NDArray[np.float64]) -> float:
    return float(np.clip(9000 / max(len(places), 1), 1, 40))
