"""ProtBERT (Elnaggar et al. 2021) as a model of proteins: BERT, a token for each residue."""

from __future__ import annotations

from pathlib import Path

from biolm.adapters.sequences import SequenceTokenizer, make_tokenizer
from biolm.models.systems.sequence_system import Config, SequenceSystem, read_vocabulary_lines
from biolm.vocab.residues import ALPHABETS

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]


def _fits(config: Config, folder: Path) -> bool:
    # Other models of the same size are only told from it by their words.
    known = read_vocabulary_lines(folder) == ALPHABETS["protbert"].tokens
    return known and config.get("model_type") == "bert" and not config.get("pre_layer_norm")


def _tokenizer(config: Config, folder: Path) -> SequenceTokenizer:  # noqa: ARG001  # nothing differs
    return make_tokenizer("protbert")


def _max_length(config: Config) -> int:
    # The table of positions is longer than anything it was trained on: 2,048 residues and two special tokens.
    return min(int(config["max_position_embeddings"]), 2050)


SYSTEM = SequenceSystem(
    name="protbert",
    fits=_fits,
    tokenizer=_tokenizer,
    max_length=_max_length,
    tokenizer_files=("vocab.txt",),
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
