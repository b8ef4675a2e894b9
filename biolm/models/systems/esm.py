"""ESM-1b, ESM-1v and ESM-2 (Rives et al. 2021; Meier et al. 2021; Lin et al. 2023) as models of proteins.

A checkpoint is a folder as ``transformers`` writes it, or an original ``.pt`` file of fair-esm (alone or in a
folder), with the weights of its contact regression beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biolm.adapters.sequences import make_tokenizer
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.systems.sequence_system import Config, SequenceSystem, only_file, read_vocabulary_lines
from biolm.vocab.residues import ALPHABETS

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises", "recognises_file"]

_REGRESSION = "-contact-regression.pt"
# What all of them were trained with: 1,024 tokens, and for ESM-2 two special ones more.
_LONGEST = 1024


def _fits(config: Config, folder: Path) -> bool:
    words = read_vocabulary_lines(folder)
    known = ALPHABETS["esm"].tokens
    return config.get("model_type") == "esm" and (
        config.get("vocab_size") == 33 if words is None else words == known
    )


def _max_length(config: Config) -> int:
    positions = int(config["max_position_embeddings"])
    learned = config.get("position_embedding_type", "absolute") == "absolute"
    return positions - int(config.get("pad_token_id", 1)) - 1 if learned else positions


SYSTEM = SequenceSystem(
    name="esm",
    fits=_fits,
    tokenizer="esm",
    max_length=_max_length,
    tokenizer_files=("vocab.txt",),
)


def recognises_file(path: Path) -> bool:
    """Whether a file is named as fair-esm names its models."""
    return path.suffix == ".pt" and path.name.startswith("esm") and not path.name.endswith(_REGRESSION)


def recognises(folder: Path) -> bool:
    """Whether a folder holds ESM, as ``transformers`` or as fair-esm writes it."""
    return SYSTEM.recognises(folder) or bool(_originals(folder))


def load_tokenizer(path: Path) -> SequencePreprocessor:
    """Tokeniser and limits; the weights are not touched and torch is not imported.

    Raises
    ------
    CheckpointError
        If the config is missing a field.
    """
    if path.is_dir() and SYSTEM.recognises(path):
        return SYSTEM.load_tokenizer(path)
    name = _original(path).name
    return SequencePreprocessor(
        name=SYSTEM.name,
        tokenizer=make_tokenizer("esm"),
        max_length=_LONGEST + 2 * name.startswith("esm2"),
    )


def load(path: Path) -> SequenceModel:
    """Load a folder or an original file, strictly, with the weights of its contact regression.

    Raises
    ------
    CheckpointError, ConfigError
        If a weight is missing, extra, mis-shaped or unsafe, or the folder holds several models.

    Examples
    --------
    >>> model = load(Path("checkpoints/esm2_t6_8M_UR50D.pt"))  # doctest: +SKIP
    """
    from biolm.models.families.esm_original import contact_weights, read_original
    from biolm.models.sequence_model import SequenceModel

    preprocessor = load_tokenizer(path)
    if path.is_dir() and SYSTEM.recognises(path):
        model = SYSTEM.load(path)
        model.contact_weights = contact_weights(path)
        return model
    file = _original(path)
    beside = file.with_name(file.stem + _REGRESSION)
    files = [file, beside] if beside.is_file() else [file]
    core, regression = read_original(*files)
    return SequenceModel(preprocessor, core, files=list(files), contact_weights=regression)


def _originals(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("esm*.pt") if recognises_file(path))


def _original(path: Path) -> Path:
    """The one original file of a path."""
    return only_file(path, [path] if path.is_file() else _originals(path))
