"""Save and load a gene-image model: ``config.json``, ``panel.npz`` and ``model.safetensors``.

Dimensions: ``c`` context genes · ``d`` components.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.spatial.genes import GenePanel
from biolm.core.checkpoint import load_strict, read_weights, write_weights
from biolm.errors import CheckpointError
from biolm.io.json_file import read_json
from biolm.models.systems.gene_image import GeneImageConfig, GeneImageModel
from biolm.settings import build_settings

__all__ = ["SavedModel", "load_gene_image", "save_gene_image"]

SCHEMA = "biolm.gene-image/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A model with all that is needed to run it on a section.

    Parameters
    ----------
    model, panel
        The model, and the genes it reads and predicts.
    medians
        Of the token genes, for rank tokens; None otherwise.
    neighbours
        Neighbours of a spot.
    metadata
        Encoder and patch size of its sections, training sections, settings.
    """

    model: GeneImageModel
    panel: GenePanel
    medians: NDArray[np.float64] | None
    neighbours: int
    metadata: dict[str, Any] = field(default_factory=dict)


def save_gene_image(saved: SavedModel, folder: Path) -> None:
    """Write the files of a model; the folder must exist.

    Parameters
    ----------
    saved
        Model, panel and metadata.
    folder
        That is there.
    """
    panel = saved.panel
    assert panel.components is not None
    assert panel.centre is not None
    arrays = {
        "targets": panel.targets,
        "context": panel.context,
        "tokens": panel.tokens,
        "components": panel.components,
        "centre": panel.centre,
    }
    if saved.medians is not None:
        arrays["medians"] = saved.medians
    with (folder / "panel.npz").open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # arrays by name
    write_weights(folder / "model.safetensors", saved.model.state_dict())
    content = {
        "schema": SCHEMA,
        "config": saved.model.config.as_dict(),
        "neighbours": saved.neighbours,
        "facts": saved.metadata,
    }
    text = json.dumps(content, indent=1, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def load_gene_image(folder: str | Path) -> SavedModel:
    """Open a saved model; nothing in it is executed.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged or of another kind.
    """
    folder = Path(folder)
    content = read_json(folder / "config.json")
    if content.get("schema") != SCHEMA:
        raise CheckpointError(f"{folder} is no gene-image model; give the folder of biolm spatial train")
    model = GeneImageModel(build_settings(GeneImageConfig, content["config"], "config.json"))
    load_strict(model, read_weights([folder / "model.safetensors"]), folder)
    try:
        with np.load(folder / "panel.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder / 'panel.npz'} is damaged ({error}); copy it again") from error
    medians = arrays.pop("medians", None)
    return SavedModel(
        model=model.eval(),
        panel=GenePanel(**arrays),
        medians=medians,
        neighbours=int(content["neighbours"]),
        metadata=dict(content["facts"]),
    )
