"""``biolm spatial predict``: expression of a model's target genes from genes, image or both.

Dimensions: ``n`` spots · ``g`` predicted genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.models.systems.gene_image_store import SavedModel, load_gene_image
from biolm.report.tissue import draw_values
from biolm.scoring.expression import pearson_columns
from biolm.tasks.spatial.embed import model_arrays, write_addition
from biolm.tasks.spatial.prepared import Prepared, load_prepared
from biolm.training.spatial.fit import predict_arrays

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Predicted", "predict"]

SHOWN = 4


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predicted expression.

    Parameters
    ----------
    genes
        ``(g,)`` names.
    values
        ``(n, g)`` depth-normalised log1p values, standardised within the section, in the order of the file.
    correlation
        ``(g,)`` Pearson r with what was measured; None where the section lacks a target.
    """

    genes: NDArray[np.str_]
    values: NDArray[np.float32]
    correlation: NDArray[np.float64] | None


def predict(
    source: str | Path | AnnData | Prepared,
    model: str | Path | SavedModel,
    output: str | Path | None = None,
    *,
    mode: str = "both",
    picture: str | Path | None = None,
    device: str = "cpu",
    key: str = "predicted_expression",
    overwrite: bool = False,
) -> Predicted:
    """Predict the model's target genes in every spot; their own counts have no part in it.

    Parameters
    ----------
    source, model, mode, device, overwrite
        As of :func:`biolm.spatial.embed`.
    output
        h5ad file to write: a copy of the section with ``obsm[key]`` and ``uns["biolm"][key]``.
    picture
        PNG with the best-predicted genes on the map.
    key
        Name of the result.
    """
    saved = model if isinstance(model, SavedModel) else load_gene_image(model)
    section = load_prepared(source)
    # Where one target is missing no correlation is given, as the mean would be of other genes than elsewhere.
    measured = set(saved.panel.targets.tolist()) <= set(section.genes.tolist())
    arrays = model_arrays(saved, section, targets=measured, mode=mode)
    expression = predict_arrays(saved.model.to(device), arrays, mode, device).expression
    correlation = pearson_columns(expression, arrays.expression) if measured else None
    values = section.in_file_order(expression)
    record: dict[str, Any] = {
        "genes": saved.panel.targets,
        "mode": mode,
        "standardised": "within the section",
    }
    if correlation is not None:
        record["mean_pearson"] = float(correlation.mean())
    if output is not None:
        write_addition(source, Path(output), {key: values}, {key: record}, overwrite=overwrite)
    if picture is not None:
        best = np.argsort(-(correlation if correlation is not None else expression.var(0)), kind="stable")[
            :SHOWN
        ]
        draw_values(
            Path(picture),
            section.xy,
            {str(saved.panel.targets[place]): expression[:, place] for place in best},
            overwrite=overwrite,
        )
    return Predicted(saved.panel.targets, values, correlation)
