"""Options of commands that read a section and its image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from biolm.cli.arguments import Common
from biolm.options import Option

if TYPE_CHECKING:
    from biolm.adapters.spatial.patches import PatchSettings
    from biolm.io.spatial.open import SectionOptions
    from biolm.tasks.spatial.align import AlignSettings

__all__ = ["ModelArguments", "SectionArguments"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SectionArguments(Common):
    """A section, its image, and what the user says about both."""

    input: Annotated[
        Path,
        Option(
            help="Space Ranger outs, Xenium, CosMx or MERSCOPE folder, ST tables, SpatialData zarr or h5ad.",
            argument=True,
            panel="Input",
        ),
    ]
    image: Annotated[
        str | None,
        Option(help="Image file; hires or lowres of the layout; or none.", shown="the layout's largest"),
    ] = None
    layer: Annotated[str, Option(help="Matrix to read: X, raw or a layer.")] = "X"
    bin_um: Annotated[int | None, Option(help="Visium HD: 2, 8 or 16 µm bins.", shown="8")] = None
    segmented: Annotated[bool, Option(help="Visium HD: read segmented cells.")] = False
    library: Annotated[
        str | None, Option(help="Section to read of a file with several.", shown="the only one")
    ] = None
    library_column: Annotated[
        str | None, Option(help="Column that says which spot is of which.", shown="found")
    ] = None
    allow_unmatched: Annotated[
        bool,
        Option(help="Go on where fewer than 90 % of the barcodes have a place."),
    ] = False
    microns_per_pixel: Annotated[
        float | None, Option(help="Scale of the coordinates.", shown="stated, or from the grid")
    ] = None
    image_scale: Annotated[
        float | None,
        Option(help="Pixels of the image per unit of the coordinates.", shown="recognised"),
    ] = None
    spot_pitch_um: Annotated[
        float | None, Option(help="Distance of spots: Visium 100, ST 200.", shown="the layout's")
    ] = None
    force_alignment: Annotated[bool, Option(help="Go on where spots do not lie on tissue.")] = False
    patch_um: Annotated[float, Option(help="Micrometres along a patch.", min=1)] = 112.0
    patch_pixels: Annotated[int, Option(help="Pixels along a finished patch.", min=8)] = 224
    edge: Annotated[str, Option(help="Patches that leave the image: drop, pad or error.")] = "error"

    def section_options(self) -> SectionOptions:
        """How the section is read."""
        from biolm.io.spatial.open import SectionOptions

        return SectionOptions(
            matrix=self.layer,
            bin_um=self.bin_um,
            segmented=self.segmented,
            library=self.library,
            library_column=self.library_column,
            allow_unmatched=self.allow_unmatched,
        )

    def align_settings(self) -> AlignSettings:
        """How its image is placed."""
        from biolm.tasks.spatial.align import AlignSettings

        return AlignSettings(
            microns_per_pixel=self.microns_per_pixel,
            image_scale=self.image_scale,
            spot_pitch_um=self.spot_pitch_um,
            force_alignment=self.force_alignment,
            drop_outside=self.edge == "drop",
        )

    def patch_settings(self) -> PatchSettings:
        """How patches are cut."""
        from biolm.adapters.spatial.patches import PatchSettings

        return PatchSettings(side_um=self.patch_um, pixels=self.patch_pixels, edge=self.edge)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelArguments(Common):
    """A prepared section and the model that reads it."""

    input: Annotated[
        Path, Option(help="Section that biolm spatial prepare wrote.", argument=True, panel="Input")
    ]
    model: Annotated[
        Path, Option(help="Folder of biolm spatial train.", flags=("--model", "-m"), panel="Model")
    ]
    mode: Annotated[str, Option(help="What the model is given: genes, image or both.")] = "both"
    device: Annotated[str, Option(help="cpu, cuda, cuda:1 ...", panel="Run")] = "cpu"
    overwrite: Annotated[bool, Option(help="Replace existing outputs.", panel="Output")] = False
