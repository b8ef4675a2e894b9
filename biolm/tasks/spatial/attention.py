"""Attention both ways, as tables and pictures: what genes look at, and genes that the patch looks at.

Dimensions: ``n`` spots · ``i`` image tokens · ``g`` gene tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.adapters.spatial.patches import Patches, PatchSettings, cut_patches
from biolm.errors import InputError
from biolm.io.atomic import replacing
from biolm.io.spatial.images import open_image
from biolm.io.table import write_table
from biolm.report.tissue import draw_attention, draw_values
from biolm.tasks.spatial.embed import SpotAttention, spot_attention
from biolm.tasks.spatial.prepared import Prepared, load_prepared

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["write_attention"]

SHOWN = 6


def write_attention(
    source: str | Path | AnnData | Prepared,
    model: Any,
    folder: str | Path,
    *,
    image: str | Path | None = None,
    spots: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[SpotAttention]:
    """Write attention of the last fusion layer.

    Parameters
    ----------
    source, model
        As of :func:`biolm.spatial.embed`.
    folder
        Folder to write: ``genes_to_image.tsv`` and ``image_to_genes.tsv`` (mean over spots), a picture of
        each spot shown, and ``map.png``: how much the patch itself and its surroundings are looked at, over
        the tissue where the image is given.
    image
        Full-resolution image for the background of the pictures; it must be the one that was prepared.
    spots
        Spots to draw; six all over the section by default.
    overwrite
        Whether the folder may be replaced.

    Raises
    ------
    InputError
        If a spot is not there, or the image is another one than that of the section.
    """
    section = load_prepared(source)
    # All spots in one pass: the means need every one, and those that are drawn are among them.
    everything = spot_attention(section, model)
    names = section.names.tolist()
    shown = list(spots or (names[int(n)] for n in np.linspace(0, len(names) - 1, min(SHOWN, len(names)))))
    missing = [spot for spot in shown if spot not in names]
    if missing:
        raise InputError(f"{section.name} has no spot {missing[0]!r}; its first is {names[0]!r}")
    target = Path(folder)
    with replacing(target, overwrite=overwrite) as temporary:
        temporary.mkdir()
        _write_means(temporary, everything)
        patch = np.array([one.to_image[:, 0].mean() for one in everything])
        around = np.array([one.to_image[:, 1].mean() for one in everything])
        patches = None if image is None else _patches(section, Path(image))
        pixels, places = None, section.xy
        if patches is not None:
            pixels, factor = patches.image.thumbnail()
            places = patches.centres / factor
        draw_values(
            temporary / "map.png",
            places,
            {"genes look at the patch": patch, "genes look at its surroundings": around},
            pixels=pixels,
        )
        for number, spot in enumerate(shown):
            row = names.index(spot)
            draw_attention(
                temporary / f"spot_{number + 1}.png",
                None if patches is None else patches.patch(row),
                everything[row].grid.astype(np.float64),
                everything[row].top_genes(),
                title=spot,
            )
    return everything


def _write_means(folder: Path, spots: Sequence[SpotAttention]) -> None:
    """Mean attention of every gene on every image token, and of every image token on every gene."""
    genes = sorted({str(gene) for one in spots for gene in one.genes})
    place = {gene: number for number, gene in enumerate(genes)}
    tokens = spots[0].to_image.shape[1]
    sums, counts = np.zeros((2, len(genes), tokens)), np.zeros(len(genes))
    for one in spots:
        rows = np.array([place[str(gene)] for gene in one.genes], np.int64)
        sums[0, rows] += one.to_image
        sums[1, rows] += one.to_genes.T
        counts[rows] += 1
    # A gene that few spots express is averaged over those.
    mean = sums / np.maximum(counts, 1)[None, :, None]
    labels = ["patch", "surroundings", *(f"part_{number + 1}" for number in range(tokens - 2))]
    for name, table in (("genes_to_image", mean[0]), ("image_to_genes", mean[1])):
        columns: dict[str, Any] = {"gene": np.array(genes, np.str_)}
        columns |= {label: table[:, number] for number, label in enumerate(labels)}
        metadata = {"spots": len(spots), "average": "spots and heads"}
        write_table(folder / f"{name}.tsv", [columns], schema="biolm.attention/1", facts=metadata)


def _patches(section: Prepared, image: Path) -> Patches:
    """Patches of the spots out of the full-resolution image."""
    record = section.record
    opened = open_image(image)
    stated = str(record.get("image_pixels", ""))
    if stated and stated != f"{opened.width} x {opened.height}":
        opened.close()
        raise InputError(
            f"{image} has {opened.width} x {opened.height} pixels but {section.name} used {stated}"
        )
    scale = float(record["image_microns_per_pixel"])
    # Places are in units of the coordinates, patches in pixels of the image.
    factor = float(record.get("microns_per_pixel", scale)) / scale
    settings = PatchSettings(side_um=float(record.get("patch_um", 112.0)), edge="pad")
    return cut_patches(opened, section.xy * factor, scale, settings, name=section.name)
