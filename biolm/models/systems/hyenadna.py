"""HyenaDNA (Nguyen et al. 2023) as a model of human DNA, single bases, ``[SEP]`` at the end.

A folder holds ``config.json`` and safetensors, or the first release's ``config.json`` and ``weights.ckpt``.
The models were trained on left-padded inputs without a mask; nothing is padded here, so a sequence stands
alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.adapters.sequences import make_tokenizer
from biolm.errors import BiolmError, CheckpointError
from biolm.io.json_file import read_json
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.systems import striped_folder

if TYPE_CHECKING:
    from torch import Tensor

    from biolm.models.sequence_model import SequenceModel

__all__ = ["load", "load_tokenizer", "recognises"]

_ORIGINAL = "weights.ckpt"


def recognises(folder: Path) -> bool:
    """Whether a folder holds HyenaDNA, in either layout."""
    try:
        config = read_json(folder / "config.json")
    except BiolmError:
        return False
    return config.get("model_type") == "hyenadna" or "l_max" in (config.get("layer") or {})


def load_tokenizer(folder: Path) -> SequencePreprocessor:
    """Tokeniser and limits; the weights are not touched and torch is not imported.

    Raises
    ------
    CheckpointError
        If the config is missing, damaged or lacks its longest input.
    """
    config = read_json(folder / "config.json")
    longest = config.get("max_seq_len", (config.get("layer") or {}).get("l_max"))
    if longest is None:
        raise CheckpointError(f"{folder / 'config.json'} lacks the field 'max_seq_len'")
    return SequencePreprocessor(name="hyenadna", tokenizer=make_tokenizer("base"), max_length=int(longest))


def load(folder: Path, *, dtype: str = "auto") -> SequenceModel:
    """Load a folder, strictly.

    Parameters
    ----------
    folder
        Of a checkpoint.
    dtype
        ``auto`` (as stored), ``float32`` or ``bfloat16``.

    Raises
    ------
    CheckpointError, ConfigError
        If a file or weight is missing, extra, mis-shaped or unsafe, or memory is too small.

    Examples
    --------
    >>> model = load(Path("checkpoints/hyenadna-tiny-1k-seqlen"))  # doctest: +SKIP
    """
    from biolm.core.checkpoint import find_weights
    from biolm.models.families import hyenadna
    from biolm.models.sequence_model import SequenceModel

    with striped_folder.reading_config(folder):
        config = hyenadna.core_config(read_json(folder / "config.json"))
    original = folder / _ORIGINAL
    tensors = _read_original(original) if original.is_file() else None
    if tensors is None:
        tensors = striped_folder.read_tensors(folder, hyenadna.KEYS, config)
    if not hyenadna.same_frequencies(tensors):
        raise CheckpointError(
            f"{folder}: the copies of a layer's freq differ, but they are one in published models"
        )
    core = striped_folder.fill(config, hyenadna.KEYS, tensors, folder, dtype)
    files = [original] if original.is_file() else find_weights(folder)
    return SequenceModel(load_tokenizer(folder), core, files=list(files))


def _read_original(path: Path) -> dict[str, Tensor]:
    """Weights of a Lightning checkpoint, whose layers may be wrapped for gradient checkpointing."""
    from torch import Tensor

    from biolm.core.checkpoint import read_torch

    state: Any = read_torch(path).get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} holds no state_dict of tensors; fetch it again")
    return {
        name.replace(".mixer.layer.", ".mixer.").replace(".mlp.layer.", ".mlp."): t
        for name, t in state.items()
    }
