"""DNABERT-2 (Zhou et al. 2023) as a model of DNA: BERT with linear biases, byte pairs."""

from __future__ import annotations

from pathlib import Path

from biolm.models.systems.dna_bpe import bpe_of_bases, reads_bases
from biolm.models.systems.sequence_system import Config, SequenceSystem

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]


def _fits(config: Config, folder: Path) -> bool:
    return "alibi_starting_size" in config and reads_bases(folder)


def _max_length(config: Config) -> int:
    return int(config.get("max_position_embeddings", 512))


SYSTEM = SequenceSystem(
    name="dnabert2",
    fits=_fits,
    tokenizer=bpe_of_bases,
    max_length=_max_length,
    tokenizer_files=("tokenizer.json",),
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
