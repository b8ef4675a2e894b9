"""Reading sequence files in blocks of records, whatever the format.

>>> from biolm.io.sequences import SequenceBlock
>>> SequenceBlock.of(["MKV"]).text(0)
'MKV'
"""

from __future__ import annotations

from biolm.io.sequences.block import SequenceBlock, SequenceSource, concatenate_blocks
from biolm.io.sequences.open import is_sequence_file, named_as_sequences, open_sequences, opened
from biolm.io.sequences.store import SequenceStore, build_store, holds_store

__all__ = [
    "SequenceBlock",
    "SequenceSource",
    "SequenceStore",
    "build_store",
    "concatenate_blocks",
    "holds_store",
    "is_sequence_file",
    "named_as_sequences",
    "open_sequences",
    "opened",
]
