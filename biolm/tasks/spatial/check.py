"""``biolm spatial check``: whether this is the image, at this scale, this way round; and pictures to look at.

Two faults that no number shows, a section moved in the run itself and a patch at the wrong place, are seen
on the contact sheet.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.spatial.patches import PatchSettings, cut_patches
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.spatial.open import SectionOptions, open_section
from biolm.io.spatial.section import Section
from biolm.report.tissue import draw_contact_sheet, draw_overlay
from biolm.tasks.spatial.align import Alignment, align
from biolm.tasks.spatial.settings import AlignSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["check", "check_text"]

PATCHES = 24


def check(
    source: str | Path | AnnData,
    output: str | Path | None = None,
    *,
    image: str | Path | NDArray[Any] | None = None,
    section: SectionOptions | None = None,
    settings: AlignSettings | None = None,
    patches: PatchSettings | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Check a section against its image, and draw what to look at.

    Parameters
    ----------
    source, image
        As of :func:`biolm.spatial.prepare`.
    output
        Folder to write: ``check.json``, ``overlay.png`` and ``contact_sheet.png``.
    section, settings, patches
        Reading, scale, and size of the patches. The orientation is reported and refuses nothing here.
    overwrite
        Whether the folder may be replaced.

    Returns
    -------
    Scale, orientation and patches, as ``check.json`` holds them.

    Raises
    ------
    InputError
        If the section or the image cannot be read, or nothing states the scale.
    """
    target = None if output is None else Path(output)
    if target is not None:
        refuse_existing(target, overwrite=overwrite)
    # A check reports a wrong orientation where every other task refuses it.
    settings = replace(settings or AlignSettings(), force_alignment=True)
    with open_section(source, section) as opened, align(opened, image, settings) as alignment:
        metadata: dict[str, Any] = {
            "section": opened.name,
            "layout": opened.layout,
            "counted": dict(opened.counted),
            **alignment.as_dict(),
        }
        size = alignment.image.width, alignment.image.height
        inside = ((alignment.places >= 0) & (alignment.places < size)).all(1)
        metadata["spots_outside"] = int((~inside).sum())
        if target is not None:
            with replacing(target, overwrite=overwrite) as folder:
                folder.mkdir()
                if inside.any():
                    metadata |= _draw(folder, opened, alignment, patches or PatchSettings())
                text = json.dumps(metadata, indent=1, default=str)
                (folder / "check.json").write_text(text + "\n", encoding="utf-8")
    return metadata


def _draw(folder: Path, section: Section, alignment: Alignment, settings: PatchSettings) -> dict[str, Any]:
    pixels, factor = alignment.image.thumbnail()
    planned = cut_patches(
        alignment.image,
        alignment.places,
        alignment.microns_per_pixel,
        # Padded, so that spots at the edge are shown too, which is where a shift is seen first.
        replace(settings, edge="pad"),
        name=section.name,
    )
    draw_overlay(
        folder / "overlay.png",
        pixels,
        alignment.places / factor,
        mask=alignment.mask.mask,
        boxes=planned.side / factor,
        title=f"{section.name}: {alignment.orientation.verdict}, {alignment.microns_per_pixel:.4g} µm/px",
    )
    chosen = planned.rows[np.linspace(0, len(planned) - 1, min(PATCHES, len(planned))).astype(int)]
    cut = [planned.patch(int(row)) for row in chosen]
    draw_contact_sheet(folder / "contact_sheet.png", cut, section.names[chosen].tolist())
    return planned.as_dict()


def check_text(checked: dict[str, Any]) -> str:
    """What was found, in a few lines."""
    orientation, scale = checked["orientation"], checked["coordinates"]
    on_tissue = orientation["on_tissue"]
    others = {name: value for name, value in on_tissue.items() if name != "as stored"}
    best = max(others, key=lambda name: others[name])
    lines = [
        f"{checked['section']} ({checked['layout']}), image {checked['image_pixels']}: {checked['image']}",
        f"scale: {scale['microns_per_pixel']:.4g} µm per unit of the coordinates, from {scale['source']}",
    ]
    lines += [f"  {name} says {value:.4g}" for name, value in scale["others"].items()]
    lines += [
        f"orientation: {orientation['verdict']}",
        f"  spots on tissue: {on_tissue['as stored']:.2f} as stored, {others[best]:.2f} when {best}",
        f"  spots outside the image: {checked['spots_outside']}",
        f"  tissue covers {orientation['tissue']:.0%} of the image",
    ]
    return "\n".join(lines)
