"""Evo 1 and 1.5 (Nguyen et al. 2024) as models of prokaryotic DNA, one base a token.

The begin token (0) stands in front of every sequence, as in the authors' scores, so that all bases are
scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biolm.adapters.sequences import make_tokenizer
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.systems import striped_folder
from biolm.models.systems.evo2 import PUBLISHED_NAMES

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["load", "load_tokenizer", "recognises"]


def recognises(folder: Path) -> bool:
    """Whether a folder holds Evo 1."""
    return striped_folder.holds(folder, "hyena_layer_idxs")


def load_tokenizer(folder: Path) -> SequencePreprocessor:
    """Tokeniser and limits; the weights are not touched and torch is not imported.

    Raises
    ------
    CheckpointError
        If the config is missing or damaged.
    """
    config = striped_folder.config_of(folder)
    return SequencePreprocessor(
        name="evo1",
        tokenizer=make_tokenizer("evo1"),
        # The begin token comes on top of the bases that the model was trained to read.
        max_length=int(config.get("max_seqlen") or 8192) + 1,
        published=PUBLISHED_NAMES,
    )


def load(folder: Path, *, dtype: str = "auto", factor: float | None = None) -> SequenceModel:
    """Load a folder, strictly.

    Parameters
    ----------
    folder
        Of a checkpoint.
    dtype
        ``auto`` (as stored), ``float32`` or ``bfloat16``.
    factor
        By which rotary positions are divided; as of :func:`biolm.models.families.evo1.core_config`.

    Raises
    ------
    CheckpointError, ConfigError
        If a file or weight is missing, extra, mis-shaped or unsafe, or memory is too small.

    Examples
    --------
    >>> model = load(Path("checkpoints/evo-1-131k-base"))  # doctest: +SKIP
    """
    from biolm.models.families import evo1
    from biolm.models.sequence_model import SequenceModel

    with striped_folder.reading_config(folder):
        config = evo1.core_config(striped_folder.config_of(folder), factor=factor)
    tensors = striped_folder.read_tensors(folder, evo1.KEYS, config)
    striped_folder.check_tied(tensors, folder, "backbone.")
    core = striped_folder.fill(config, evo1.KEYS, tensors, folder, dtype)
    return SequenceModel(load_tokenizer(folder), core, files=list(striped_folder.weight_files(folder)))
