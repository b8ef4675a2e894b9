"""Tissue sections, genes and image: ``biolm.spatial.prepare``, ``train`` and others, loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biolm.adapters.spatial.graph import within_radius
    from biolm.adapters.spatial.niche import niche_composition
    from biolm.io.spatial.open import open_section
    from biolm.tasks.spatial.attention import write_attention
    from biolm.tasks.spatial.check import check
    from biolm.tasks.spatial.deconvolve import deconvolve
    from biolm.tasks.spatial.domains import domains
    from biolm.tasks.spatial.embed import embed, spot_attention
    from biolm.tasks.spatial.predict import predict
    from biolm.tasks.spatial.prepare import prepare
    from biolm.tasks.spatial.retrieve import retrieve
    from biolm.tasks.spatial.train import train

__all__ = [
    "check",
    "deconvolve",
    "domains",
    "embed",
    "niche_composition",
    "open_section",
    "predict",
    "prepare",
    "retrieve",
    "spot_attention",
    "train",
    "within_radius",
    "write_attention",
]

_HOMES = {
    "check": "biolm.tasks.spatial.check",
    "deconvolve": "biolm.tasks.spatial.deconvolve",
    "domains": "biolm.tasks.spatial.domains",
    "embed": "biolm.tasks.spatial.embed",
    "niche_composition": "biolm.adapters.spatial.niche",
    "open_section": "biolm.io.spatial.open",
    "predict": "biolm.tasks.spatial.predict",
    "prepare": "biolm.tasks.spatial.prepare",
    "retrieve": "biolm.tasks.spatial.retrieve",
    "spot_attention": "biolm.tasks.spatial.embed",
    "train": "biolm.tasks.spatial.train",
    "within_radius": "biolm.adapters.spatial.graph",
    "write_attention": "biolm.tasks.spatial.attention",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'biolm.spatial' has no attribute {name!r}")
    globals()[name] = getattr(import_module(_HOMES[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
