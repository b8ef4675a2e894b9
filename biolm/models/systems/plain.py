"""A folder of a published transformer family, of any language: the bare core, without cells.

``biolm.load("esm2-folder")`` gives the core with its weights; it takes a :class:`biolm.Batch` and reads
no tables of cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from biolm.errors import BiolmError, ConfigError
from biolm.io.json_file import read_json

if TYPE_CHECKING:
    from biolm.core import Transformer

__all__ = ["load", "load_tokenizer", "recognises"]


def recognises(folder: Path) -> bool:
    """Whether a folder has a ``config.json`` that names its family, as ``save_pretrained`` writes it."""
    try:
        return "model_type" in read_json(folder / "config.json")
    except BiolmError:
        return False


def load(folder: Path) -> Transformer:
    """Load the core and its weights, strictly.

    Raises
    ------
    CheckpointError, ConfigError
        If weights are missing, extra or mis-shaped, or the family is not known.
    """
    from biolm.models.families.hf import from_hf

    return from_hf(folder)


def load_tokenizer(folder: Path) -> NoReturn:
    """Refuse: the core knows no genes.

    Raises
    ------
    ConfigError
        Always.
    """
    raise ConfigError(
        f"{folder} holds a bare transformer without genes, so it cannot read cells; "
        "copy the gene dictionaries of its system into the folder, or choose another model"
    )
