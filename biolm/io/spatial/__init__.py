"""Tissue sections: counts with places, and the images they belong to; every layout through one door."""

from __future__ import annotations

from biolm.io.spatial.open import SectionOptions, open_section
from biolm.io.spatial.section import Section, SectionImage

__all__ = ["Section", "SectionImage", "SectionOptions", "open_section"]
