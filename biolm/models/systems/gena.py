"""GENA-LM (Fishman et al. 2025) and ModernGENA as models of DNA: byte pairs, runs of N as one token."""

from __future__ import annotations

from pathlib import Path

from biolm.models.systems.dna_bpe import bpe_of_bases, reads_bases
from biolm.models.systems.sequence_system import Config, SequenceSystem

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]


def _fits(config: Config, folder: Path) -> bool:
    ours = config.get("pre_layer_norm") is True or config.get("model_type") == "modernbert"
    return ours and reads_bases(folder)


def _max_length(config: Config) -> int:
    return int(config["max_position_embeddings"])


SYSTEM = SequenceSystem(
    name="gena",
    fits=_fits,
    tokenizer=bpe_of_bases,
    max_length=_max_length,
    tokenizer_files=("tokenizer.json",),
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
