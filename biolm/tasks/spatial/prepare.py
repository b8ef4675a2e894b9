"""``biolm spatial prepare``: a section of any layout becomes one h5ad with counts, places and image features.

Dimensions: ``n`` spots · ``i`` tokens of a patch · ``f`` numbers of a token.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.counts import check_counts
from biolm.adapters.spatial.scale import find_pixel_size
from biolm.errors import InputError
from biolm.io.anndata.build import build
from biolm.io.anndata.columns import CellAdditions
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.provenance import plain
from biolm.io.spatial.cells import section_cells
from biolm.io.spatial.open import open_section
from biolm.io.spatial.section import Section
from biolm.models.systems.image_encoders import make_encoder
from biolm.options import refuse_others
from biolm.progress import log
from biolm.tasks.spatial.align import align
from biolm.tasks.spatial.features import content_hash, image_features
from biolm.tasks.spatial.settings import PrepareSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["FEATURES", "RECORD", "prepare"]

FEATURES = "X_image"
RECORD = "spatial"


_ASSAYS = {
    "space-ranger": "visium",
    "visium-hd": "visium-hd",
    "visium-hd-segmented": "visium-hd",
    "st": "spatial-transcriptomics",
    "xenium": "xenium",
    "cosmx": "cosmx",
    "merscope": "merscope",
}


def prepare(
    source: str | Path | AnnData,
    output: str | Path,
    *,
    image: str | Path | NDArray[Any] | None = None,
    settings: PrepareSettings | None = None,
) -> dict[str, Any]:
    """Read a section, check it against its image, encode its patches and write one h5ad.

    Parameters
    ----------
    source
        As of :func:`biolm.io.spatial.open_section`.
    output
        h5ad file to write.
    image
        The tissue image; the largest that the layout names by default, ``"none"`` for counts alone.
    settings
        See :class:`PrepareSettings`.

    Returns
    -------
    What was found, as ``uns["biolm"]["spatial"]`` holds it. The file has:

    ``obsm["spatial"]``
        float64 ``(n, 2)``: x is the column and y the row.
    ``obsm["X_image"]``
        float32 ``(n, i * f)`` features, NaN for spots without a patch.
    ``uns["biolm"]["spatial"]``
        Layout, scale and where it came from, patches, orientation, image hash.

    Raises
    ------
    InputError
        If anything does not fit; nothing is written then.
    """
    settings = settings or PrepareSettings()
    target = Path(output)
    if target.suffix != ".h5ad":
        raise InputError(f"{target}: a prepared section is an h5ad file; give a name that ends in .h5ad")
    refuse_existing(target, overwrite=settings.overwrite)
    without = isinstance(image, str) and image == "none"
    if without:
        _refuse_image_options(settings)
    with open_section(source, settings.section) as section:
        cells = section_cells(section)
        check_counts(cells, allow_normalised=settings.allow_normalised)
        record = _about(section, settings)
        matrices: dict[str, NDArray[Any]] = {"spatial": section.xy}
        if not without:
            with align(section, image, settings.align) as alignment:
                features, metadata = image_features(
                    alignment,
                    make_encoder(settings.encoder, device=settings.device),
                    settings.patches,
                    image_hash=(image_hash := content_hash(alignment.source)),
                    stain=settings.stain,
                    symmetric=settings.symmetric,
                    cache=settings.cache,
                    show=settings.progress,
                )
                # obsm holds tables; the number of image tokens in the record gives the shape back.
                matrices[FEATURES] = features.reshape(len(features), -1)
                record |= alignment.as_dict() | metadata
                record |= {"image_sha256": image_hash, "image_tokens": features.shape[1]}
                record["spots_without_patch"] = int(np.isnan(features[:, 0, 0]).sum())
        addition = CellAdditions(matrices=matrices, records={RECORD: plain(record)})
        with replacing(target, overwrite=settings.overwrite) as temporary:
            build(cells, temporary, "h5ad", addition)
    log.info("wrote %s: %d spots, %d genes", target, len(section), section.n_genes)
    return record


def _refuse_image_options(settings: PrepareSettings) -> None:
    reason = "is of an image and does nothing for `image='none'`"
    used = {field.name for field in fields(settings)} - {"encoder", "stain", "symmetric", "device"}
    refuse_others(settings, used, reason)
    # Scale and pitch are of the coordinates too; the policy at the edge has two defaults.
    refuse_others(settings.align, ("microns_per_pixel", "spot_pitch_um"), reason)
    refuse_others(settings.patches, ("edge",), reason)


def _about(section: Section, settings: PrepareSettings) -> dict[str, Any]:
    """What is known of a section without its image."""
    species = settings.species or _species(section)
    record: dict[str, Any] = {
        "section": section.name,
        "layout": section.layout,
        "unit": section.unit,
        "patient": settings.patient or _only(section, "patient"),
        "species": species,
        "assay": settings.assay or _ASSAYS.get(section.layout),
        "counted": dict(section.counted),
    }
    try:
        size = find_pixel_size(
            section, option=settings.align.microns_per_pixel, pitch_um=settings.align.spot_pitch_um
        )
    except InputError:
        # Counts alone need no scale; with an image the same is asked again and then refused.
        return record
    return record | {"microns_per_pixel": size.value, "microns_per_pixel_from": size.source}


def _only(section: Section, column: str) -> str | None:
    """The one value of a column, where it has one."""
    values = set(np.asarray(section.columns.get(column, ())).astype(str).tolist())
    # Of several values none is the section's, and a guess would split patients wrongly.
    return values.pop() if len(values) == 1 else None


def _species(section: Section) -> str | None:
    """Human or mouse, where Ensembl ids say so."""
    for names in section.source.gene_columns().values():
        first = next((name for name in names.tolist() if name.startswith("ENS")), "")
        if first.startswith("ENSMUSG"):
            return "mouse"
        if first.startswith("ENSG"):
            return "human"
    return None
