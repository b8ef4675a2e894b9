"""ProGen2 (Nijkamp et al. 2023) as a model of proteins: a decoder, ``1`` before the N end and ``2`` after."""

from __future__ import annotations

from pathlib import Path

from biolm.adapters.sequences import SequenceTokenizer, make_tokenizer
from biolm.models.systems.sequence_system import Config, SequenceSystem

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]


def _fits(config: Config, folder: Path) -> bool:  # noqa: ARG001  # the config tells all
    return config.get("model_type") == "progen"


def _tokenizer(config: Config, folder: Path) -> SequenceTokenizer:  # noqa: ARG001  # nothing differs
    return make_tokenizer("progen2")


def _max_length(config: Config) -> int:
    return int(config["n_positions"])


SYSTEM = SequenceSystem(
    name="progen2", fits=_fits, tokenizer=_tokenizer, max_length=_max_length, both_ways=True
)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
