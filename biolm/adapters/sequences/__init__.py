"""Sequences as tokens: residues, bases, k-mers, byte pairs.

>>> from biolm.adapters.sequences import make_tokenizer
>>> from biolm.io.sequences import SequenceBlock
>>> make_tokenizer("esm").tokenize(SequenceBlock.of(["MKV"])).ids.tolist()
[0, 20, 15, 7, 2]
"""

from __future__ import annotations

from biolm.adapters.sequences.base import Policy, SequenceTokenizer, Tally, check_policy
from biolm.adapters.sequences.bpe import BpeTokenizer, read_bpe
from biolm.adapters.sequences.clusters import cluster_sequences, write_clusters
from biolm.adapters.sequences.kind import check_kind, looks_like
from biolm.adapters.sequences.kmers import KmerTokenizer
from biolm.adapters.sequences.letters import LetterTokenizer
from biolm.adapters.sequences.make import NAMES, make_tokenizer
from biolm.adapters.sequences.reading import admitted, cleaned

__all__ = [
    "NAMES",
    "BpeTokenizer",
    "KmerTokenizer",
    "LetterTokenizer",
    "Policy",
    "SequenceTokenizer",
    "Tally",
    "admitted",
    "check_kind",
    "check_policy",
    "cleaned",
    "cluster_sequences",
    "looks_like",
    "make_tokenizer",
    "read_bpe",
    "write_clusters",
]
