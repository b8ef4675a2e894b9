"""Sections to numbers: patches, colours, tissue, neighbours, niches and context tokens; numpy, no torch."""

from __future__ import annotations

from biolm.adapters.spatial.colour import COLOUR_NAMES, colour_features
from biolm.adapters.spatial.context import ContextVocabulary
from biolm.adapters.spatial.genes import GenePanel, choose_targets, normalised_targets
from biolm.adapters.spatial.graph import Neighbours, nearest, within_radius
from biolm.adapters.spatial.niche import niche_composition
from biolm.adapters.spatial.orientation import Orientation, check_orientation
from biolm.adapters.spatial.patches import Patches, PatchSettings, cut_patches
from biolm.adapters.spatial.scale import PixelSize, find_pixel_size, fit_grid
from biolm.adapters.spatial.stain import StainNormaliser
from biolm.adapters.spatial.tissue import TissueMask, find_tissue

__all__ = [
    "COLOUR_NAMES",
    "ContextVocabulary",
    "GenePanel",
    "Neighbours",
    "Orientation",
    "PatchSettings",
    "Patches",
    "PixelSize",
    "StainNormaliser",
    "TissueMask",
    "check_orientation",
    "choose_targets",
    "colour_features",
    "cut_patches",
    "find_pixel_size",
    "find_tissue",
    "fit_grid",
    "nearest",
    "niche_composition",
    "normalised_targets",
    "within_radius",
]
