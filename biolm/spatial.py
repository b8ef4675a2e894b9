"""Tissue sections, genes and image: ``biolm.spatial.prepare``, ``train`` and others, loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biolm.io.spatial.open import open_section
    from biolm.tasks.spatial.check import check
    from biolm.tasks.spatial.prepare import prepare
    from biolm.tasks.spatial.train import train

__all__ = ["check", "open_section", "prepare", "train"]

_HOMES = {
    "check": "biolm.tasks.spatial.check",
    "open_section": "biolm.io.spatial.open",
    "prepare": "biolm.tasks.spatial.prepare",
    "train": "biolm.tasks.spatial.train",
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
