"""GROVER (Sanabria et al. 2024) as a model of DNA: BERT, byte pairs of about six hundred merges."""

from __future__ import annotations

from pathlib import Path

from biolm.models.dna_bpe import bpe_of_bases, reads_bases
from biolm.models.sequence_system import Config, SequenceSystem

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]


def _fits(config: Config, folder: Path) -> bool:
    return config.get("model_type") == "bert" and reads_bases(folder)


def _max_length(config: Config) -> int:
    return int(config["max_position_embeddings"])


SYSTEM = SequenceSystem(
    name="grover",
    fits=_fits,
    tokenizer=bpe_of_bases,
    max_length=_max_length,
    tokenizer_files=("tokenizer.json",),
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
