"""What models of DNA that read byte pairs have in common: the tokeniser beside the weights, and its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biolm.adapters.sequences import SequenceTokenizer
from biolm.adapters.sequences.bpe import read_bpe
from biolm.errors import BiolmError
from biolm.io.json_file import read_json
from biolm.models.systems.sequence_system import Config

__all__ = ["bpe_of_bases", "reads_bases"]

_BASES = set("ACGTN-")


def reads_bases(folder: Path) -> bool:
    """Whether a folder has a ``tokenizer.json`` whose words are made of bases."""
    try:
        words: Any = read_json(folder / "tokenizer.json")["model"]["vocab"]
    except (BiolmError, KeyError, TypeError):
        return False
    merges = [word for word in words if isinstance(word, str) and word[:1] not in "[<"]
    based = sum(set(word) <= _BASES for word in merges)
    return bool(merges) and based > 0.9 * len(merges)


def bpe_of_bases(config: Config, folder: Path) -> SequenceTokenizer:  # noqa: ARG001  # the file tells all
    """The tokeniser of a folder; runs of N become ``-`` where that is a word.

    Parameters
    ----------
    config
        A ``config.json``.
    folder
        Of the checkpoint.
    """
    tokenizer = read_bpe(folder)
    return read_bpe(folder, gap_runs=10) if "-" in tokenizer.vocabulary else tokenizer
