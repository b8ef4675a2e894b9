"""GROVER (Sanabria et al. 2024) as a model of DNA: BERT, byte pairs of about six hundred merges.

Its merges depend on what lies up to 50 letters beyond. Records are therefore read whole and windows cut out
of their tokens, so that none begins where the whole record has no border. Who cuts letters, such as windows
of a genome, reads ``edge`` letters more at each end and takes the tokens of
:meth:`~biolm.adapters.sequences.bpe.BpeTokenizer.inner`.
"""

from __future__ import annotations

from pathlib import Path

from biolm.adapters.sequences import SequenceTokenizer
from biolm.adapters.sequences.bpe import read_bpe
from biolm.models.systems.dna_bpe import reads_bases
from biolm.models.systems.sequence_system import Config, SequenceSystem

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]

_EDGE = 100


def _fits(config: Config, folder: Path) -> bool:
    return config.get("model_type") == "bert" and reads_bases(folder)


def _max_length(config: Config) -> int:
    return int(config["max_position_embeddings"])


def _tokenizer(config: Config, folder: Path) -> SequenceTokenizer:  # noqa: ARG001  # the file tells all
    return read_bpe(folder, edge=_EDGE)


SYSTEM = SequenceSystem(
    name="grover",
    fits=_fits,
    tokenizer=_tokenizer,
    max_length=_max_length,
    tokenizer_files=("tokenizer.json",),
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
