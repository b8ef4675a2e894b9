"""Genes and images of the same place find each other (CLIP).

Dimensions: ``b`` spots or cells · ``d`` width of the core · ``k`` image features.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from biolm.batch import Output
from biolm.core import Transformer
from biolm.errors import ConfigError, InputError
from biolm.objectives.base import LabelKind, Metadata, Objective, Prepared, Score, Settings
from biolm.objectives.contrast import projector
from biolm.objectives.pairs import Temperature, score_pairs
from biolm.settings import check_least

__all__ = ["ImageContrast", "ImageContrastSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContrastSettings(Settings):
    """Settings of :class:`ImageContrast`.

    Parameters
    ----------
    column
        Label column ``(b, k)`` of image features, from an image encoder; NaN where there is no image.
    features
        ``k``.
    width
        Of the space both are mapped to.
    hidden
        Hidden layers of each map.
    pool
        How a cell's vector is made of its tokens.
    temperature, learned
        As in contrasts of two views.
    """

    column: str = "image"
    features: int = 0
    width: int = 256
    hidden: int = 0
    pool: str = "cls"
    temperature: float = 0.07
    learned: bool = True

    def __post_init__(self) -> None:
        check_least(0, hidden=self.hidden)
        if self.features < 1 or self.width < 1:
            raise ConfigError(
                f"image_contrast needs features and width of at least 1, not {self.features} and {self.width}"
            )


class ImageContrast(Objective):
    """Symmetric cross-entropy between the vectors of cells and of their images.

    After CLIP (Radford et al. 2021).
    """

    Settings = ImageContrastSettings

    def __init__(self, metadata: Metadata, settings: ImageContrastSettings) -> None:
        super().__init__(metadata, settings)
        s = settings
        self.temperature = Temperature(s.temperature, learned=s.learned)
        self.genes = projector(metadata.core.d_model, s.width, s.hidden)
        self.images: nn.Module = projector(s.features, s.width, s.hidden)

    @classmethod
    def label_kinds(cls, settings: ImageContrastSettings) -> dict[str, LabelKind]:
        """The image features'."""
        return {settings.column: "vectors"}

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Cells with an image."""
        features = prepared.example_label(self.settings.column)
        return {"loss": float((~features.isnan().any(1)).sum())}

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss, recall and chance."""
        s: ImageContrastSettings = self.settings
        cells = self.genes(self.vectors(output, prepared, s.pool))
        features = prepared.example_label(s.column)
        if features.dim() != 2 or features.shape[1] != s.features:
            raise InputError(
                f"column {s.column!r} has shape {tuple(features.shape)}; give {s.features} features a row"
            )
        # Cells without an image are neither pairs nor negatives.
        usable = ~features.isnan().any(1) & prepared.real
        images = self.images(features.nan_to_num().to(cells.dtype))
        return score_pairs(cells, images, self.temperature(), usable=usable, everywhere=self.training)
