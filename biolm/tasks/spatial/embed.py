"""``biolm spatial embed``: vectors of spots before and after fusion, and attention both ways.

Dimensions: ``n`` spots · ``d`` width · ``v`` width of the contrast · ``i`` image tokens · ``g`` gene tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.anndata.columns import CellAdditions
from biolm.io.anndata.result import write_store
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.cells import open_cells
from biolm.io.provenance import plain
from biolm.models.systems.gene_image_store import SavedModel, load_gene_image
from biolm.tasks.spatial.prepared import Prepared, load_prepared
from biolm.tasks.spatial.train import ENCODED
from biolm.training.spatial.arrays import SpotArrays, section_arrays
from biolm.training.spatial.fit import predict_arrays

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["SpotAttention", "embed", "model_arrays", "spot_attention", "write_addition"]


def model_arrays(
    saved: SavedModel, section: Prepared, *, targets: bool = False, mode: str = "both"
) -> SpotArrays:
    """A section as a saved model reads it.

    Parameters
    ----------
    saved
        The model.
    section
        Prepared.
    targets
        Whether the measured targets are read.
    mode
        ``genes``, ``image`` or ``both``.

    Raises
    ------
    InputError
        If the section was encoded otherwise than those the model was trained on, or lacks an image that the
        mode needs.
    """
    if section.image is None and mode != "genes":
        raise InputError(
            f"{section.name} has no image features; prepare it with its image, or use genes alone"
        )
    for name in ENCODED if section.image is not None else ():
        # Features of another encoder or stain have the same shape, so nothing else would notice.
        own, wanted = section.record.get(name), saved.metadata.get(name)
        if own != wanted:
            raise InputError(
                f"{section.name} was prepared with {name} {own} but the model's sections with {wanted}; "
                "prepare it alike"
            )
    config = saved.model.config
    return section_arrays(
        section,
        saved.panel,
        kind=config.gene_tokens,
        medians=saved.medians,
        neighbours=saved.neighbours,
        targets=targets,
        image_shape=(config.image_tokens, config.image_width),
    )


def embed(
    source: str | Path | AnnData | Prepared,
    model: str | Path | SavedModel,
    output: str | Path | None = None,
    *,
    mode: str = "both",
    device: str = "cpu",
    key: str = "X_fused",
    overwrite: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Turn the spots of a prepared section into vectors.

    Parameters
    ----------
    source
        The section.
    model
        Folder of ``biolm spatial train``, or a loaded model.
    output
        h5ad file to write: a copy of the section with the vectors.
    mode
        What the model is given: ``genes``, ``image`` or ``both``.
    device
        Where it runs.
    key
        Name of the fused vectors in ``obsm``.
    overwrite
        Whether the output may be replaced.

    Returns
    -------
    In the order of the file, and in ``obsm`` of the output:

    ``X_fused``
        ``(n, 2d)`` after fusion.
    ``X_fused_genes``, ``X_fused_image``
        ``(n, v)`` before fusion, for retrieval; only those that the mode has.
    """
    saved = model if isinstance(model, SavedModel) else load_gene_image(model)
    section = load_prepared(source)
    predicted = predict_arrays(saved.model.to(device), model_arrays(saved, section, mode=mode), mode, device)
    vectors = {key: predicted.fused}
    if mode != "image":
        vectors[f"{key}_genes"] = predicted.gene_vector
    if mode != "genes":
        vectors[f"{key}_image"] = predicted.image_vector
    ordered = {name: section.in_file_order(values) for name, values in vectors.items()}
    if output is not None:
        record = {"model": "gene-image", "mode": mode, "sections": saved.metadata.get("sections", [])}
        write_addition(source, Path(output), ordered, {key: record}, overwrite=overwrite)
    return ordered


def write_addition(
    source: str | Path | AnnData | Prepared,
    target: Path,
    matrices: dict[str, NDArray[Any]],
    records: dict[str, dict[str, Any]],
    *,
    columns: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a copy of a section with results added, whole or not at all.

    Parameters
    ----------
    source
        The section.
    target
        h5ad to write.
    matrices
        Entries of ``obsm``.
    records
        Entries of ``uns``.
    columns
        Entries of ``obs``.
    overwrite
        Whether the target may be replaced.

    Raises
    ------
    ConfigError
        If the output is no h5ad, or the section is not in a file.
    OutputError
        If it exists and may not be replaced.
    """
    if target.suffix != ".h5ad":
        raise ConfigError(f"{target}: results go into a copy of the section; give a name that ends in .h5ad")
    if not isinstance(source, (str, Path)):
        raise ConfigError("an output file needs a section in a file; take the returned values instead")
    refuse_existing(target, overwrite=overwrite)
    addition = CellAdditions(
        columns=columns or {}, matrices=matrices, records={name: plain(one) for name, one in records.items()}
    )
    with open_cells(source) as cells, replacing(target, overwrite=overwrite) as temporary:
        write_store(cells, temporary, "h5ad", addition)


@dataclass(frozen=True, slots=True)
class SpotAttention:
    """Attention of one spot in one layer, mean over heads.

    Parameters
    ----------
    spot
        Its name.
    genes
        ``(g,)`` names of its gene tokens.
    to_image
        ``(g, i)``: what each gene looks at; image tokens are the patch, its surroundings, then its parts.
    to_genes
        ``(i, g)``: which genes each image token looks at.
    """

    spot: str
    genes: NDArray[np.str_]
    to_image: NDArray[np.float32]
    to_genes: NDArray[np.float32]

    @property
    def grid(self) -> NDArray[np.float32]:
        """``(s, s)`` attention of all genes on the parts of the patch; a patch without parts is one cell."""
        # The first two image tokens are the whole patch and its surroundings.
        parts = self.to_image[:, 2:].mean(0) if self.to_image.shape[1] > 2 else self.to_image[:, :1].mean(0)
        side = round(len(parts) ** 0.5)
        return np.asarray(parts.reshape(side, side))

    def top_genes(self, count: int = 12) -> list[tuple[str, float]]:
        """Genes that the patch looks at most."""
        weight = self.to_genes.mean(0)
        order = np.argsort(-weight, kind="stable")[:count]
        return [(str(self.genes[place]), float(weight[place])) for place in order]


def spot_attention(
    source: str | Path | AnnData | Prepared,
    model: str | Path | SavedModel,
    spots: Sequence[str] | None = None,
    *,
    layer: int = -1,
) -> list[SpotAttention]:
    """Attention both ways of some spots, or of all.

    Parameters
    ----------
    source, model
        As of :func:`embed`.
    spots
        Names; all by default.
    layer
        Fusion layer, the last by default.

    Raises
    ------
    InputError
        If a spot is not in the section.
    """
    import torch

    saved = model if isinstance(model, SavedModel) else load_gene_image(model)
    section = load_prepared(source)
    arrays = model_arrays(saved, section)
    names = section.names.tolist()
    missing = [spot for spot in spots or () if spot not in names]
    if missing:
        raise InputError(f"{section.name} has no spot {missing[0]!r}; its first is {names[0]!r}")
    rows = np.array([names.index(spot) for spot in spots], np.int64) if spots else np.arange(len(names))
    maps: list[Any] = []
    with torch.inference_mode():
        saved.model.eval()(arrays.batch(rows), maps)
    around = arrays.known.shape[1]
    own = saved.panel.context[saved.panel.tokens]
    out = []
    for place, row in enumerate(rows.tolist()):
        # Before its genes a spot has itself, three words of context and its neighbours.
        skip = 4 + int(arrays.known[row].sum()) if around else 4
        ids = arrays.tokens[row].ids
        to_image = maps[layer].genes[place].mean(0)[skip:]
        to_genes = maps[layer].image[place].mean(0)[:, skip:]
        out.append(SpotAttention(names[row], own[ids], to_image.numpy(), to_genes.numpy()))
    return out
