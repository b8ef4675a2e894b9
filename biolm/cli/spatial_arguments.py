"""Options of commands that read a section and its image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.adapters.spatial.patches import Edge, PatchSettings
from biolm.cli.arguments import Common, part
from biolm.common_options import Overwrite, input_argument, model_option
from biolm.io.spatial.open import SectionOptions
from biolm.options import Option
from biolm.tasks.spatial.settings import AlignSettings, SectionDevice

__all__ = ["OBSM_KEY", "ModelArguments", "SectionArguments", "TrainedModel"]

OBSM_KEY = Option(help="Name of the result in obsm.", panel="Output")
TrainedModel = Annotated[Path, model_option("Folder of biolm spatial train.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SectionArguments(SectionOptions, AlignSettings, PatchSettings, Common):
    """A section, its image, and what the user says about both."""

    input: Annotated[
        Path,
        input_argument(
            "Space Ranger outs, Xenium, CosMx or MERSCOPE folder, ST tables, SpatialData zarr or h5ad."
        ),
    ]
    image: Annotated[
        str | None,
        Option(help="Image file; hires or lowres of the layout; or none.", shown="the layout's largest"),
    ] = None
    # Python drops them; a command says that they are there.
    edge: Edge = "error"

    def section_options(self) -> SectionOptions:
        """How the section is read."""
        return part(self, SectionOptions)

    def align_settings(self) -> AlignSettings:
        """How its image is placed."""
        return part(self, AlignSettings, drop_outside=self.edge == "drop")

    def patch_settings(self) -> PatchSettings:
        """How patches are cut."""
        return part(self, PatchSettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelArguments(Common):
    """A prepared section and the model that reads it."""

    input: Annotated[Path, input_argument("Section that biolm spatial prepare wrote.")]
    model: TrainedModel
    mode: Annotated[str, Option(help="What the model is given: genes, image or both.")] = "both"
    device: SectionDevice = "cpu"
    overwrite: Overwrite = False
