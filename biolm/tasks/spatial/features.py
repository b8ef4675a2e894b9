"""Image features of a section, made once: cached by the content they depend on.

Dimensions: ``n`` spots · ``i`` tokens of a patch · ``f`` numbers of a token.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.spatial.patches import Patches, PatchSettings, cut_patches, symmetry
from biolm.adapters.spatial.stain import StainNormaliser
from biolm.io.atomic import replacing
from biolm.io.locks import alone
from biolm.io.provenance import digest
from biolm.models.systems.image_encoders import ImageEncoder
from biolm.progress import log, progress
from biolm.tasks.spatial.align import Alignment

__all__ = ["cache_folder", "content_hash", "image_features"]

STAIN_PATCHES = 64


def cache_folder() -> Path:
    """Where features are kept: ``biolm/image-features`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "biolm" / "image-features"


def content_hash(source: Path | NDArray[Any]) -> str:
    """sha256 of a file's bytes or of an array's shape, type and values."""
    hashed = hashlib.sha256()
    if isinstance(source, Path):
        with source.open("rb") as file:
            while chunk := file.read(1 << 22):
                hashed.update(chunk)
    else:
        hashed.update(f"{source.shape} {source.dtype.str}".encode())
        hashed.update(np.ascontiguousarray(source).tobytes())
    return hashed.hexdigest()


def image_features(
    alignment: Alignment,
    encoder: ImageEncoder,
    settings: PatchSettings,
    *,
    image_hash: str,
    stain: bool = False,
    symmetric: bool = False,
    cache: Path | None = None,
    show: bool = False,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Features of every spot, ``(n, i, f)``, NaN where it has no patch; and what they were made of.

    Parameters
    ----------
    alignment
        The section on its image.
    encoder, settings
        Encoder and size of the patches.
    image_hash
        Of the image's content, see :func:`content_hash`.
    stain
        Normalise the stains first, fitted on this section's tissue.
    symmetric
        Average over the eight flips and turns of each patch, as ST-Net does at test time.
    cache
        Folder of earlier features; None to make them anew.
    show
        Draw progress.
    """
    patches = cut_patches(
        alignment.image, alignment.places, alignment.microns_per_pixel, settings, name=alignment.which
    )
    metadata = {**encoder.describe(), **patches.as_dict(), "stain_normalised": stain, "symmetric": symmetric}
    key = digest(
        {
            "image": image_hash,
            "places": content_hash(alignment.places),
            "scale": repr(alignment.microns_per_pixel),
            **metadata,
        }
    )
    # Everything that changes a feature is in the key, so a stale entry cannot be taken for a fresh one.
    kept = None if cache is None else cache / f"{key}.npy"
    if kept is not None and kept.is_file():
        log.info("image features: taken from the cache")
        return np.load(kept, allow_pickle=False), metadata
    # Fitted on this section alone: stains of another slide would carry its scanner over.
    normalise = _fit_stain(patches) if stain else None
    features = np.full((len(alignment.places), encoder.tokens, encoder.width), np.nan, np.float32)
    with progress("encoding patches", len(patches), show=show, unit="patches") as advance:
        for block in patches.blocks():
            pixels = block.pixels if normalise is None else normalise(block.pixels)
            turned = [symmetry(pixels, number) for number in range(8)] if symmetric else [pixels]
            # The mean over the eight flips and turns: a slide has no up, so the features should have none.
            features[block.rows] = np.mean([encoder(each) for each in turned], axis=0)
            advance(len(block.rows))
    if kept is not None:
        # Two jobs on one section may finish at once; the file is whole in either case.
        with alone(kept), replacing(kept, overwrite=True) as temporary:
            np.save(temporary, features)
    return features, metadata


def _fit_stain(patches: Patches) -> StainNormaliser:
    """Stains of some patches all over the section."""
    chosen = patches.rows[np.linspace(0, len(patches) - 1, min(STAIN_PATCHES, len(patches))).astype(int)]
    # The two stains are directions of colour: every fourth pixel gives the same at a sixteenth of the cost.
    return StainNormaliser.fit(np.stack([patches.patch(int(row))[::4, ::4] for row in chosen]))
