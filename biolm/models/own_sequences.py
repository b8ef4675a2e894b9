"""Models of sequences trained with biolm: the folder that ``biolm pretrain`` writes.

As :mod:`biolm.models.own`, but ``preprocessing.json`` holds the settings of a tokeniser of sequences under
``sequences``, and the longest input as ``max_length``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biolm.errors import BiolmError, CheckpointError
from biolm.io.json_file import read_json
from biolm.models.own import FORMAT_VERSION, MODEL_TYPE
from biolm.models.sequence_language import SequenceLanguage, sequence_language

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["load", "load_tokenizer", "recognises"]


def recognises(folder: Path) -> bool:
    """Whether a folder holds a model that was trained on sequences."""
    try:
        ours = read_json(folder / "config.json").get("model_type") == MODEL_TYPE
        return ours and "sequences" in read_json(folder / "preprocessing.json")
    except BiolmError:
        return False


def load_tokenizer(folder: Path) -> SequenceLanguage:
    """Tokeniser and limits of a folder; torch is not imported.

    Raises
    ------
    CheckpointError
        If a file is missing, incomplete or of a later version.
    """
    facts = read_json(folder / "preprocessing.json")
    if facts.get("format_version", 0) > FORMAT_VERSION:
        raise CheckpointError(f"{folder} was written by a later biolm; update biolm to read it")
    try:
        return sequence_language(
            facts,
            str(read_json(folder / "config.json").get("name", MODEL_TYPE)),
            (folder / "preprocessing.json",),
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is incomplete: {error} is missing or wrong; train or copy it again"
        ) from error


def load(folder: Path) -> SequenceModel:
    """Load a folder, strictly.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra or mis-shaped.

    Examples
    --------
    >>> model = load(Path("runs/proteins/model"))  # doctest: +SKIP
    """
    from biolm.core import CoreConfig, Transformer
    from biolm.core.checkpoint import find_weights, load_strict, read_weights
    from biolm.models.heads import load_heads
    from biolm.models.sequence_model import SequenceModel

    config = read_json(folder / "config.json")
    files = find_weights(folder)
    core = Transformer(CoreConfig.from_dict(dict(config.get("core", {}))))
    load_strict(core, read_weights(files), folder)
    heads = load_heads(folder, core.config)
    model = SequenceModel(
        load_tokenizer(folder),
        core,
        pool=config.get("pool", "mean"),
        hidden_state=int(config.get("hidden_state", -1)),
        files=files,
    )
    model.heads = heads
    return model
