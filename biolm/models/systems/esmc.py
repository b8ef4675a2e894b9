"""ESM C (EvolutionaryScale 2024) as a model of proteins: a folder of ``transformers``, or a ``.pth``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biolm.adapters.sequences import make_tokenizer
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.systems.sequence_system import SequenceSystem, entry, only_file

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises", "recognises_file"]

_LONGEST = 2048


SYSTEM = SequenceSystem(
    name="esmc",
    fits=lambda config, _: config.get("model_type") == "esmc",
    tokenizer="esmc",
    max_length=entry("max_position_embeddings", _LONGEST),
)


def recognises_file(path: Path) -> bool:
    """Whether a file is named as the first release names its models."""
    return path.suffix == ".pth" and path.name.startswith("esmc")


def recognises(folder: Path) -> bool:
    """Whether a folder holds ESM C, as ``transformers`` or as its first release writes it."""
    return SYSTEM.recognises(folder) or any(map(recognises_file, folder.glob("*.pth")))


def load_tokenizer(path: Path) -> SequencePreprocessor:
    """Tokeniser and limits; the weights are not touched and torch is not imported."""
    if path.is_dir() and SYSTEM.recognises(path):
        return SYSTEM.load_tokenizer(path)
    return SequencePreprocessor(name=SYSTEM.name, tokenizer=make_tokenizer("esmc"), max_length=_LONGEST)


def load(path: Path) -> SequenceModel:
    """Load a folder or a file of the first release, strictly.

    Raises
    ------
    CheckpointError, ConfigError
        If a weight is missing, extra, mis-shaped or unsafe, or the folder holds several models.
    """
    from biolm.models.families.esmc import from_pth
    from biolm.models.sequence_model import SequenceModel

    if path.is_dir() and SYSTEM.recognises(path):
        return SYSTEM.load(path)
    files = [path] if path.is_file() else sorted(filter(recognises_file, path.glob("*.pth")))
    return SequenceModel(load_tokenizer(path), from_pth(only_file(path, files)), files=files)
