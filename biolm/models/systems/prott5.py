"""ProtT5 (Elnaggar et al. 2021) as a model of proteins: T5's encoder, a token for each residue."""

from __future__ import annotations

from pathlib import Path

from biolm.adapters.sequences import SequenceTokenizer, make_tokenizer
from biolm.models.systems.sequence_system import Config, SequenceSystem
from biolm.vocab.residues import ALPHABETS

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]


def _fits(config: Config, folder: Path) -> bool:  # noqa: ARG001  # the config tells all
    return config.get("model_type") == "t5" and config.get("vocab_size") == ALPHABETS["prott5"].size


def _tokenizer(config: Config, folder: Path) -> SequenceTokenizer:  # noqa: ARG001  # nothing differs
    return make_tokenizer("prott5")


def _max_length(config: Config) -> None:  # noqa: ARG001  # distances have no end
    return None


SYSTEM = SequenceSystem(
    name="prott5",
    fits=_fits,
    tokenizer=_tokenizer,
    max_length=_max_length,
    tokenizer_files=("spiece.model",),
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
