"""Nucleotide Transformer v1 and v2 (Dalla-Torre et al. 2024) as models of DNA: ESM's shape, 6-mers."""

from __future__ import annotations

from pathlib import Path

from biolm.adapters.sequences import SequenceTokenizer, make_tokenizer
from biolm.errors import CheckpointError
from biolm.models.systems.sequence_system import Config, SequenceSystem, read_vocabulary_lines

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]

_LAYOUTS = {4105: "nt-v1", 4107: "nt-v2"}


def _fits(config: Config, folder: Path) -> bool:  # noqa: ARG001  # the config tells all
    return config.get("model_type") == "esm" and config.get("vocab_size") in _LAYOUTS


def _tokenizer(config: Config, folder: Path) -> SequenceTokenizer:
    tokenizer = make_tokenizer(_LAYOUTS[config["vocab_size"]])
    words = read_vocabulary_lines(folder)
    if words is not None and words != dict(tokenizer.vocabulary):
        raise CheckpointError(f"{folder / 'vocab.txt'} is not that of Nucleotide Transformer; copy it again")
    return tokenizer


def _max_length(config: Config) -> int:
    # Learned positions count from after the pad token; the others were trained on two fewer than they say.
    return int(config["max_position_embeddings"]) - int(config.get("pad_token_id", 1)) - 1


SYSTEM = SequenceSystem(
    name="nucleotide_transformer",
    fits=_fits,
    tokenizer=_tokenizer,
    max_length=_max_length,
    tokenizer_files=("vocab.txt",),
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
