"""``biolm spatial retrieve``: genes that look for their image and images that look for their genes.

Dimensions: ``n`` spots of all sections.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.io.atomic import refuse_existing
from biolm.models.systems.gene_image_store import SavedModel, load_gene_image
from biolm.report.picture import blank_figure, save_figure
from biolm.scoring.retrieval import RECALLS, retrieve_both_ways
from biolm.tasks.spatial.embed import model_arrays
from biolm.tasks.spatial.prepared import Prepared, load_prepared
from biolm.training.spatial.fit import predict_arrays

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["retrieval_text", "retrieve"]


def retrieve(
    sections: Sequence[str | Path | AnnData | Prepared],
    model: str | Path | SavedModel,
    *,
    picture: str | Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> dict[str, dict[str, Any]]:
    """Recall at 1, 5 and 10 and median rank, both ways, by vectors that were made before fusion.

    Parameters
    ----------
    sections
        Prepared sections, which the model should not have been trained on.
    model
        Folder of ``biolm spatial train``, or a loaded model.
    picture
        PNG with recall at 1 to 50 beside chance.
    device
        Where it runs.
    overwrite
        Whether the picture may be replaced.

    Returns
    -------
    By section (and ``across sections``, whose gallery is all of them), then by direction, the numbers of
    :meth:`biolm.scoring.retrieval.Retrieval.as_dict`. ``trained_on`` says whether the model has seen it.
    """
    if picture is not None:
        refuse_existing(Path(picture), overwrite=overwrite)
    saved = model if isinstance(model, SavedModel) else load_gene_image(model)
    prepared = [load_prepared(section) for section in sections]
    genes, image, result = [], [], {}
    curves = {}
    for section in prepared:
        arrays = model_arrays(saved, section)
        # A spot without an image cannot be found by one.
        rows = np.flatnonzero(arrays.has_image)
        prediction = predict_arrays(saved.model.to(device), arrays, device=device)
        genes.append(prediction.gene_vector[rows])
        image.append(prediction.image_vector[rows])
        both = retrieve_both_ways(genes[-1], image[-1])
        curves[section.name] = both
        result[section.name] = {
            **{way: one.as_dict() for way, one in both.items()},
            "trained_on": section.name in saved.metadata.get("sections", []),
        }
    if len(prepared) > 1:
        both = retrieve_both_ways(np.concatenate(genes), np.concatenate(image))
        curves["across sections"] = both
        result["across sections"] = {way: one.as_dict() for way, one in both.items()}
    if picture is not None:
        _draw(Path(picture), curves, overwrite)
    return result


def retrieval_text(result: dict[str, dict[str, Any]]) -> str:
    """A line for each section and direction."""
    lines = []
    for name, ways in result.items():
        if ways.get("trained_on"):
            lines.append(f"{name}: the model was trained on this section, so it says little")
        for way in ("genes to image", "image to genes"):
            one = ways[way]
            recalls = ", ".join(
                f"recall@{k} {one[f'recall_at_{k}']['value']:.3f} "
                f"({one[f'recall_at_{k}']['low']:.3f} to {one[f'recall_at_{k}']['high']:.3f}, chance "
                f"{one[f'recall_at_{k}']['chance']:.3f})"
                for k in RECALLS
            )
            median = f"median rank {one['median_rank']:g} of {one['gallery']}"
            lines.append(f"{name}, {way}: {recalls}; {median}")
    return "\n".join(lines)


def _draw(path: Path, curves: dict[str, Any], overwrite: bool) -> None:
    figure = blank_figure(4.5, 3.4, layout=None)
    axes = figure.subplots()
    for name, both in curves.items():
        for way, one in both.items():
            ks = np.arange(1, min(50, one.gallery) + 1)
            style = "-" if way.startswith("genes") else ":"
            axes.plot(ks, [one.recall(int(k)) for k in ks], style, linewidth=1, label=f"{name}, {way}")
        # Recall at k by chance is k over the size of the gallery.
        axes.plot(ks, ks / one.gallery, color="#999", linewidth=0.6)
    axes.set_xlabel("k (grey: chance)")
    axes.set_ylabel("recall at k")
    axes.legend(fontsize=5, frameon=False)
    save_figure(figure, path, overwrite=overwrite, dpi=130, tight=True)
