"""K-mers of bases and their ids: bases in the order A, T, C, G, k-mers in that order as well.

Dimensions: ``v`` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError
from biolm.vocab.residues import NONE, SpecialTokens

__all__ = ["BASES", "LAYOUTS", "KmerVocabulary", "Layout"]

BASES = "ATCG"
"""Order of the bases in Nucleotide Transformer and DNABERT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Special tokens before the k-mers, and whether single bases and N follow them.

    Parameters
    ----------
    special
        Names of the tokens from id 0.
    pad, mask, unknown, prefix, suffix
        Which of them is what.
    singles
        Whether A, T, C, G and N are tokens of their own, after the k-mers.
    """

    special: tuple[str, ...]
    pad: str
    mask: str
    unknown: str
    prefix: tuple[str, ...]
    suffix: tuple[str, ...] = ()
    singles: bool = True


LAYOUTS: Mapping[str, Layout] = {
    # instadeepai/nucleotide-transformer, tokenizers.py: the models take <cls> alone.
    "nt-v1": Layout(
        special=("<unk>", "<pad>", "<mask>", "<cls>"),
        pad="<pad>",
        mask="<mask>",
        unknown="<unk>",
        prefix=("<cls>",),
    ),
    "nt-v2": Layout(
        special=("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>"),
        pad="<pad>",
        mask="<mask>",
        unknown="<unk>",
        prefix=("<cls>",),
    ),
    # jerryji1993/DNABERT, tokenization_dna.py: overlapping k-mers, nothing else.
    "dnabert": Layout(
        special=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        pad="[PAD]",
        mask="[MASK]",
        unknown="[UNK]",
        prefix=("[CLS]",),
        suffix=("[SEP]",),
        singles=False,
    ),
}
"""Published vocabularies by name."""


@dataclass(frozen=True, kw_only=True)
class KmerVocabulary:
    """All k-mers of a length and the tokens beside them.

    Parameters
    ----------
    layout
        One of :data:`LAYOUTS`.
    k
        Bases of a k-mer, 2 to 10.

    Raises
    ------
    ConfigError
        If a value is out of range.

    Examples
    --------
    >>> words = KmerVocabulary(layout="nt-v2", k=6)
    >>> words.size, words.tokens["AAAAAA"], words.tokens["N"]
    (4107, 6, 4106)
    """

    layout: str = "nt-v2"
    k: int = 6

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, not {self.layout!r}")
        if not 2 <= self.k <= 10:
            raise ConfigError(f"k must be 2 to 10, not {self.k}")

    @cached_property
    def tokens(self) -> Mapping[str, int]:
        """Token to id."""
        layout = LAYOUTS[self.layout]
        words = ["".join(letters) for letters in product(BASES, repeat=self.k)]
        names = [*layout.special, *words, *(f"{BASES}N" if layout.singles else "")]
        return {name: number for number, name in enumerate(names)}

    @property
    def first(self) -> int:
        """Id of the first k-mer."""
        return len(LAYOUTS[self.layout].special)

    @cached_property
    def size(self) -> int:
        """``v``."""
        words: int = 4**self.k
        return self.first + words + (5 if LAYOUTS[self.layout].singles else 0)

    @cached_property
    def special(self) -> SpecialTokens:
        """Ids that stand for no letter."""
        layout = LAYOUTS[self.layout]
        place = {name: number for number, name in enumerate(layout.special)}
        return SpecialTokens(
            pad=place[layout.pad],
            mask=place[layout.mask],
            unknown=place[layout.unknown],
            prefix=tuple(place[name] for name in layout.prefix),
            suffix=tuple(place[name] for name in layout.suffix),
            others=tuple(place[name] for name in ("<eos>", "<bos>") if name in place),
        )

    @cached_property
    def codes(self) -> bytes:
        """256 bytes: 0 to 3 for a base, :data:`~biolm.vocab.residues.NONE` for any other letter."""
        table = np.full(256, NONE, np.uint8)
        for code, base in enumerate(BASES):
            table[[ord(base), ord(base.lower())]] = code
        table[[ord("U"), ord("u")]] = BASES.index("T")
        return table.tobytes()

    @cached_property
    def singles(self) -> NDArray[np.int32]:
        """``(256,)`` ids of single letters, the unknown token's where they have none."""
        assert self.special.unknown is not None
        table = np.full(256, self.special.unknown, np.int32)
        if LAYOUTS[self.layout].singles:
            after = self.first + 4**self.k
            for place, base in enumerate(f"{BASES}N"):
                table[[ord(base), ord(base.lower())]] = after + place
            table[[ord("U"), ord("u")]] = table[ord("T")]
        return table
