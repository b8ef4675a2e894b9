"""Published models of sequences that are a family of the core, a tokeniser and a limit: one entry each.

Systems that need more than an entry (an original file, options, weights in parts) have a file of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biolm.adapters.sequences import SequenceTokenizer, make_tokenizer
from biolm.adapters.sequences.bpe import read_bpe
from biolm.errors import BiolmError, CheckpointError
from biolm.io.json_file import read_json
from biolm.models.systems.sequence_system import Config, SequenceSystem, entry, read_vocabulary_lines
from biolm.vocab.residues import ALPHABETS

__all__ = [
    "AMPLIFY",
    "DNABERT2",
    "GENA",
    "GENOMEOCEAN",
    "GROVER",
    "NUCLEOTIDE_TRANSFORMER",
    "PROGEN2",
    "PROTBERT",
    "PROTT5",
]

_BASES = set("ACGTN-")
_BPE, _WORDS = ("tokenizer.json",), ("vocab.txt",)
_NT_ALPHABETS = {4105: "nt-v1", 4107: "nt-v2"}  # by the number of tokens
# A byte pair of GROVER depends on what lies up to 50 bases beyond. Records are therefore read whole and
# windows cut out of their tokens, so that none begins where the whole record has no border. Who cuts bases,
# such as windows of a genome, reads this many more at each end and takes the tokens of `BpeTokenizer.inner`.
_GROVER_EDGE = 100


def _reads_bases(folder: Path) -> bool:
    """Whether a folder has a ``tokenizer.json`` whose words are made of bases."""
    try:
        words: Any = read_json(folder / "tokenizer.json")["model"]["vocab"]
    except (BiolmError, KeyError, TypeError):
        return False
    merges = [word for word in words if isinstance(word, str) and word[:1] not in "[<"]
    based = sum(set(word) <= _BASES for word in merges)
    # Not all: special tokens of other spellings are among them.
    return bool(merges) and based > 0.9 * len(merges)


def _bpe_of_bases(config: Config, folder: Path) -> SequenceTokenizer:  # noqa: ARG001  # the file tells all
    """The tokeniser of a folder; runs of N become ``-`` where that is a word."""
    tokenizer = read_bpe(folder)
    return read_bpe(folder, gap_runs=10) if "-" in tokenizer.vocabulary else tokenizer


def _nt_tokenizer(config: Config, folder: Path) -> SequenceTokenizer:
    tokenizer = make_tokenizer(_NT_ALPHABETS[config["vocab_size"]])
    words = read_vocabulary_lines(folder)
    if words is not None and words != dict(tokenizer.vocabulary):
        raise CheckpointError(f"{folder / 'vocab.txt'} is not that of Nucleotide Transformer; copy it again")
    return tokenizer


def _is_protbert(config: Config, folder: Path) -> bool:
    # Other models of the same size are only told from it by their words.
    known = read_vocabulary_lines(folder) == ALPHABETS["protbert"].tokens
    return known and config.get("model_type") == "bert" and not config.get("pre_layer_norm")


def _is_gena(config: Config, folder: Path) -> bool:
    ours = config.get("pre_layer_norm") is True or config.get("model_type") == "modernbert"
    return ours and _reads_bases(folder)


AMPLIFY = SequenceSystem(
    name="amplify",
    fits=lambda config, _: config.get("model_type") == "AMPLIFY",
    tokenizer="amplify",
    max_length=entry("max_length", 2048),
)
"""AMPLIFY (Fournier et al. 2024): proteins."""

PROGEN2 = SequenceSystem(
    name="progen2",
    fits=lambda config, _: config.get("model_type") == "progen",
    tokenizer="progen2",
    max_length=entry("n_positions"),
    both_ways=True,
)
"""ProGen2 (Nijkamp et al. 2023): proteins, a decoder, ``1`` before the N end and ``2`` after."""

PROTBERT = SequenceSystem(
    name="protbert",
    fits=_is_protbert,
    tokenizer="protbert",
    # The table of positions is longer than anything it was trained on: 2,048 residues and two special tokens.
    max_length=lambda config: min(int(config["max_position_embeddings"]), 2050),
    tokenizer_files=_WORDS,
)
"""ProtBERT (Elnaggar et al. 2021): proteins, BERT."""

PROTT5 = SequenceSystem(
    name="prott5",
    fits=lambda config, _: (
        config.get("model_type") == "t5" and config.get("vocab_size") == ALPHABETS["prott5"].size
    ),
    tokenizer="prott5",
    max_length=lambda _: None,  # distances have no end
    tokenizer_files=("spiece.model",),
)
"""ProtT5 (Elnaggar et al. 2021): proteins, T5's encoder."""

NUCLEOTIDE_TRANSFORMER = SequenceSystem(
    name="nucleotide_transformer",
    fits=lambda config, _: config.get("model_type") == "esm" and config.get("vocab_size") in _NT_ALPHABETS,
    tokenizer=_nt_tokenizer,
    # Learned positions count from after the pad token; the others were trained on two fewer than they say.
    max_length=lambda config: int(config["max_position_embeddings"]) - int(config.get("pad_token_id", 1)) - 1,
    tokenizer_files=_WORDS,
)
"""Nucleotide Transformer v1 and v2 (Dalla-Torre et al. 2024): DNA in 6-mers, ESM's shape."""

DNABERT2 = SequenceSystem(
    name="dnabert2",
    fits=lambda config, folder: "alibi_starting_size" in config and _reads_bases(folder),
    tokenizer=_bpe_of_bases,
    max_length=entry("max_position_embeddings", 512),
    tokenizer_files=_BPE,
)
"""DNABERT-2 (Zhou et al. 2023): DNA in byte pairs, BERT with linear biases."""

GENA = SequenceSystem(
    name="gena",
    fits=_is_gena,
    tokenizer=_bpe_of_bases,
    max_length=entry("max_position_embeddings"),
    tokenizer_files=_BPE,
)
"""GENA-LM (Fishman et al. 2025) and ModernGENA: DNA in byte pairs, runs of N as one token."""

GROVER = SequenceSystem(
    name="grover",
    fits=lambda config, folder: config.get("model_type") == "bert" and _reads_bases(folder),
    tokenizer=lambda _, folder: read_bpe(folder, edge=_GROVER_EDGE),
    max_length=entry("max_position_embeddings"),
    tokenizer_files=_BPE,
)
"""GROVER (Sanabria et al. 2024): DNA in byte pairs of about six hundred merges, BERT."""

GENOMEOCEAN = SequenceSystem(
    name="genomeocean",
    fits=lambda config, folder: config.get("model_type") in ("mistral", "llama") and _reads_bases(folder),
    tokenizer=_bpe_of_bases,
    max_length=entry("max_position_embeddings"),
    tokenizer_files=_BPE,
)
"""GenomeOcean (Zhou et al. 2025) and other decoders of DNA of the shape of Mistral or Llama: byte pairs."""
