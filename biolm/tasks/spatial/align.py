"""Which image this is, how large its pixels are, and whether the spots lie on its tissue.

Dimensions: ``n`` spots.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.spatial.orientation import Orientation, check_orientation
from biolm.adapters.spatial.scale import PixelSize, find_pixel_size
from biolm.adapters.spatial.tissue import TissueMask, find_tissue
from biolm.errors import InputError
from biolm.io.damage import closed_on_failure
from biolm.io.spatial.images import TissueImage, open_image
from biolm.io.spatial.section import Section, SectionImage
from biolm.tasks.spatial.settings import AlignSettings

__all__ = ["Alignment", "align"]

SAME_SIZE = 0.01
DISAGREE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A section on its image. Use as a context manager, which closes the image.

    Parameters
    ----------
    source
        File or array of the image.
    image, mask
        The image and its tissue.
    which
        How the image was recognised.
    places
        ``(n, 2)`` spots in pixels of the image.
    microns_per_pixel
        Of the image.
    pixel_size
        Of the coordinates, and what all sources say.
    orientation
        Result of the test.
    """

    source: Path | NDArray[Any]
    image: TissueImage
    mask: TissueMask
    which: str
    places: NDArray[np.float64]
    microns_per_pixel: float
    pixel_size: PixelSize
    orientation: Orientation

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report and for provenance."""
        return {
            "image": self.which,
            "image_pixels": f"{self.image.width} x {self.image.height}",
            "image_microns_per_pixel": self.microns_per_pixel,
            "image_notes": "; ".join(self.image.notes),
            "coordinates": self.pixel_size.as_dict(),
            "scale_disagreement": round(self.pixel_size.disagreement, 4),
            "orientation": self.orientation.as_dict(),
        }

    def __enter__(self) -> Alignment:
        return self

    def __exit__(self, *error: object) -> None:
        self.image.close()


def align(
    section: Section, source: str | Path | NDArray[Any] | None, settings: AlignSettings | None = None
) -> Alignment:
    """Open the image of a section and check that the two belong together.

    Parameters
    ----------
    section
        The section.
    source
        The image; the largest that the layout names by default.
    settings
        What the user says.

    Raises
    ------
    InputError
        If there is no image, its scale is unknown, or the spots do not lie on its tissue.
    """
    settings = settings or AlignSettings()
    named = _named(section, source)
    if named.fault and settings.image_scale is None and settings.microns_per_pixel is None:
        raise InputError(named.fault)
    image = open_image(named.source)
    with closed_on_failure(image):
        scale, which, pixel_size = _scale(section, image, named, settings)
        places = (section.xy - np.asarray(named.origin)) * scale
        mask = find_tissue(image)
        # Spots in the background say nothing on orientation.
        tested = _expected_on_tissue(section)
        inside = ((places >= 0) & (places < (image.width, image.height))).all(1)
        if settings.drop_outside:
            tested = tested & inside
            if not tested.any():
                raise InputError(f"{section.name}: no spot lies inside the image; check its scale")
        orientation = check_orientation(
            places[tested], mask, (image.width, image.height), section.name, force=settings.force_alignment
        )
        return Alignment(
            source=named.source,
            image=image,
            mask=mask,
            which=which,
            places=places,
            microns_per_pixel=pixel_size.value / scale,
            pixel_size=pixel_size,
            orientation=orientation,
        )
    # The caller closes an alignment, and gets none when this fails.


def _named(section: Section, source: str | Path | NDArray[Any] | None) -> SectionImage:
    if source is not None:
        for image in section.images:
            if isinstance(source, (str, Path)) and _is(image, source):
                return image
        return SectionImage("given", source if isinstance(source, np.ndarray) else Path(source))
    if not section.images:
        raise InputError(f"{section.name} names no image; give one (`image`)")
    order = [image.name for image in section.images]
    # Of the images that a layout names hires is the sharpest that it ships; full resolution must be given.
    return section.images[order.index("hires") if "hires" in order else 0]


def _is(image: SectionImage, source: str | Path) -> bool:
    """Whether this image of the layout is meant, by its name or its file."""
    if image.name == str(source):
        return True
    return isinstance(image.source, Path) and Path(source).resolve() == image.source.resolve()


def _scale(
    section: Section, image: TissueImage, named: SectionImage, settings: AlignSettings
) -> tuple[float, str, PixelSize]:
    """Pixels of the image per unit of the coordinates, words for the image, and µm per coordinate unit."""
    if section.unit == "um":
        stated = settings.microns_per_pixel or section.microns_per_pixel or image.microns_per_pixel
        if settings.image_scale is None and named.scale is None and stated is None:
            raise InputError(
                f"{section.name}: its coordinates are micrometres and nothing states how large a pixel of "
                "the image is; give `microns_per_pixel`"
            )
        # Coordinates in µm: the scale of the image is then all that an option can mean.
        by_option = 1 / settings.microns_per_pixel if settings.microns_per_pixel else None
        factor = settings.image_scale or by_option or named.scale or 1 / float(stated or 1)
        return factor, named.name, PixelSize(1.0, "coordinates in micrometres", {})
    scale, which = settings.image_scale, "scale given"
    if scale is None and named.scale is not None:
        scale, which = named.scale, named.name
    if scale is None:
        scale, which = recognise(section, image)
    metadata = None if image.microns_per_pixel is None else image.microns_per_pixel * scale
    pixel_size = find_pixel_size(
        section, option=settings.microns_per_pixel, image=metadata, pitch_um=settings.spot_pitch_um
    )
    # What the user states overrules the file, so that a file that is wrong can still be read.
    if pixel_size.disagreement > DISAGREE and pixel_size.source not in ("option", "microns_per_pixel"):
        others = ", ".join(f"{name} {value:.4g}" for name, value in pixel_size.others.items())
        raise InputError(
            f"{section.name}: {pixel_size.source} gives {pixel_size.value:.4g} µm per pixel but {others}; "
            "say which is right (`microns_per_pixel`)"
        )
    return scale, which, pixel_size


def recognise(section: Section, image: TissueImage) -> tuple[float, str]:
    """Scale and name of an image, by its size against those that the layout knows.

    Raises
    ------
    InputError
        If it has the size of none of them.
    """
    known: dict[str, tuple[float, float, float]] = {}
    for other in section.images:
        if other.scale:
            width, height = _size(other)
            known[other.name] = (other.scale, float(width), float(height))
            # A small image is rounded to whole pixels, so the full size is known to one of them.
            known[f"full resolution (by {other.name})"] = (1.0, width / other.scale, height / other.scale)
    slack: dict[str, float] = {name: SAME_SIZE * max(w, h) for name, (_, w, h) in known.items()}
    for other in section.images:
        if other.scale:
            # One pixel of the small image is this many of the full one.
            slack[f"full resolution (by {other.name})"] += 1 / other.scale
    for name, (scale, wide, high) in known.items():
        if max(abs(image.width - wide), abs(image.height - high)) <= slack[name]:
            return scale, name
    stated = str(section.counted.get("image_size", ""))
    if not known and stated and stated != f"{image.width} x {image.height}":
        raise InputError(
            f"{section.name} was measured on an image of {stated} pixels but this one has {image.width} x "
            f"{image.height}; give that image, or the scale of this one (`image_scale`)"
        )
    if not known:
        return 1.0, "coordinates taken for its pixels"
    sizes = "; ".join(f"{name} {w:.0f} x {h:.0f}" for name, (_, w, h) in known.items())
    raise InputError(
        f"{section.name}: an image of {image.width} x {image.height} pixels is none of those that are known "
        f"({sizes}), perhaps a crop; say how many of its pixels a unit of the coordinates has (`image_scale`)"
    )


def _size(image: SectionImage) -> tuple[int, int]:
    if isinstance(image.source, Path):
        with open_image(image.source, check=False) as opened:
            return opened.width, opened.height
    return image.source.shape[1], image.source.shape[0]


def _expected_on_tissue(section: Section) -> NDArray[np.bool_]:
    """Spots that Space Ranger calls in tissue; all where it does not say."""
    flag = section.columns.get("in_tissue")
    if flag is None:
        return np.ones(len(section), bool)
    inside = np.asarray(flag, np.float64) == 1
    return inside if inside.any() else np.ones(len(section), bool)
