"""Tell proteins from nucleotides by their letters, and refuse the wrong ones.

Dimensions: ``r`` letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from biolm.errors import InputError
from biolm.io.sequences import SequenceBlock, open_sequences

__all__ = ["check_kind", "check_one_kind", "looks_like"]

_FEWEST = 40  # letters below which a peptide of A, C, G, N and T is no surprise
_SHARE = 0.85
_WORDS = {"protein": "protein", "dna": "DNA", "rna": "RNA"}


def looks_like(block: SequenceBlock) -> Literal["dna", "rna", "protein", "unknown"]:
    """What a block of sequences holds.

    A, C, G, T, U and N make up a quarter of proteins and nearly all of nucleotides, so at 85 % the two
    cannot be confused but in a handful of letters, which are ``unknown``.

    Examples
    --------
    >>> looks_like(SequenceBlock.of(["MKVLAAGIVGLLLAGCSSNAKIDQLSSDVQTLNAKVDQLS"]))
    'protein'
    """
    counts = np.bincount(block.letters, minlength=256)
    upper = counts[65:91] + counts[97:123]
    of = {chr(65 + place): int(count) for place, count in enumerate(upper)}
    total = sum(of.values())
    bases = sum(of[letter] for letter in "ACGTUN")
    if total < _FEWEST:
        return "unknown"
    # Every base is a letter of proteins too, so only how often they occur can tell.
    if bases < _SHARE * total:
        return "protein"
    return "rna" if of["U"] and not of["T"] else "dna"


def check_kind(block: SequenceBlock, kind: str, *, name: str) -> None:
    """Refuse proteins for a model of DNA, and the reverse.

    Parameters
    ----------
    block
        The first records of a file.
    kind
        ``protein``, ``dna`` or ``text``: what the model reads.
    name
        Of the file, for the message.

    Raises
    ------
    InputError
        If they are of the other kind.
    """
    seen = looks_like(block)
    if seen == "unknown" or kind == "text" or (seen == "protein") == (kind == "protein"):
        return
    raise InputError(
        f"{name} holds {_WORDS[seen]} sequences but the model reads {_WORDS[kind]}; "
        f"give {_WORDS[kind]} sequences or a model of {_WORDS[seen]}"
    )


def check_one_kind(paths: Sequence[Path]) -> None:
    """Look at the first records of several files.

    Raises
    ------
    InputError
        If one holds proteins and another nucleotides: their letters overlap, so nothing else would tell.
    """
    first = ""
    for path in paths if len(paths) > 1 else ():
        with open_sequences(path) as source:
            seen: str = looks_like(next(iter(source.blocks(records=256)), SequenceBlock.of([])))
        kind = "nucleotide" if seen in ("dna", "rna") else seen
        first = first or ("" if kind == "unknown" else kind)
        if kind not in ("unknown", first):
            raise InputError(
                f"{path} holds {kind} sequences, the files before it {first} ones; give one kind"
            )
