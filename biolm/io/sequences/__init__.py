"""Reading sequence files in blocks of records, whatever the format.

>>> from biolm.io.sequences import SequenceBlock
>>> SequenceBlock.of(["MKV"]).text(0)
'MKV'
"""

from __future__ import annotations

from biolm.io.sequences.block import SequenceBlock, SequenceSource, concatenate_blocks
from biolm.io.sequences.open import open_sequences

__all__ = ["SequenceBlock", "SequenceSource", "concatenate_blocks", "open_sequences"]
