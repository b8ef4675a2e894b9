"""AMPLIFY (Fournier et al. 2024) as a model of proteins."""

from __future__ import annotations

from pathlib import Path

from biolm.adapters.sequences import SequenceTokenizer, make_tokenizer
from biolm.models.systems.sequence_system import Config, SequenceSystem

__all__ = ["SYSTEM", "load", "load_tokenizer", "recognises"]


def _fits(config: Config, folder: Path) -> bool:  # noqa: ARG001  # the config tells all
    return config.get("model_type") == "AMPLIFY"


def _tokenizer(config: Config, folder: Path) -> SequenceTokenizer:  # noqa: ARG001  # nothing differs
    return make_tokenizer("amplify")


def _max_length(config: Config) -> int:
    return int(config.get("max_length", 2048))


SYSTEM = SequenceSystem(name="amplify", fits=_fits, tokenizer=_tokenizer, max_length=_max_length)
load, load_tokenizer, recognises = SYSTEM.load, SYSTEM.load_tokenizer, SYSTEM.recognises
