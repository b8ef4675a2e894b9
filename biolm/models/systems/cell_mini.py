"""The small transformer of cells that ships with biolm, trained by ``biolm pretrain``.

It is better than the built-in ``genetext`` on panels of a few hundred genes, and worse in label transfer
between sets over all genes; ``docs/benchmarks.md`` has the figures, ``data/cell-mini/README.md`` says how it
was made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biolm.errors import CheckpointError
from biolm.models import native
from biolm.models.preprocessor import CellPreprocessor
from biolm.resources import shipped

if TYPE_CHECKING:
    from biolm.models.token_model import TokenCellModel

__all__ = ["load", "load_tokenizer", "recognises"]

_FOLDER = "cell-mini"


def recognises(folder: Path) -> bool:  # noqa: ARG001  # asked of every system
    """Never: folders of this kind are opened as models trained with biolm (``native``)."""
    return False


def load(path: Path | None = None) -> TokenCellModel:
    """The model that ships, or one of its kind in a folder.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra or mis-shaped, or the folder holds a model of sequences.

    Examples
    --------
    >>> model = load()
    >>> model.name, model.width
    ('biolm-cell-mini', 64)
    """
    from biolm.models.token_model import TokenCellModel

    folder = shipped(_FOLDER) if path is None else path
    model = native.load(folder)
    if not isinstance(model, TokenCellModel):
        raise CheckpointError(f"{folder} holds a model of sequences; open it with biolm.load(folder)")
    return model


def load_tokenizer(path: Path | None = None) -> CellPreprocessor:
    """Its genes and tokeniser; torch is not imported.

    Raises
    ------
    CheckpointError
        If a file is missing, or the folder holds a model of sequences.
    """
    folder = shipped(_FOLDER) if path is None else path
    preprocessor = native.load_tokenizer(folder)
    if not isinstance(preprocessor, CellPreprocessor):
        raise CheckpointError(f"{folder} holds a model of sequences; open it with biolm.load(folder)")
    return preprocessor
