"""Alphabets in which one letter is one token: residues, single bases, bytes.

Ids are those of the published tokenisers; the source of each stands beside it. Letters are matched in
upper case unless an alphabet says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

__all__ = ["ALPHABETS", "NONE", "Alphabet", "SpecialTokens"]

NONE = 255
"""Marks a letter without a token in a table of 256 bytes."""

Kind = Literal["protein", "dna", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Ids that stand for no letter; None where a vocabulary has no such token.

    Parameters
    ----------
    pad, mask, unknown
        Ids of these tokens. ``unknown`` may be a letter, such as X.
    prefix, suffix
        Ids put before and after every sequence.
    others
        Further ids that are never masked or predicted.
    """

    pad: int | None = None
    mask: int | None = None
    unknown: int | None = None
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    others: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Alphabet:
    """Letters and their ids.

    Parameters
    ----------
    name
        Names it in settings.
    kind
        ``protein``, ``dna`` or ``text``.
    tokens
        Token to id, special tokens included.
    special
        Which of them stand for no letter.
    replace
        Letters read as another: U, Z, O and B as X in ProtBERT.
    fold_case
        Whether lower case means the same as upper case.
    size
        Rows of the embedding, where it is padded beyond the last token; 0 for none.
    """

    name: str
    kind: Kind
    tokens: Mapping[str, int]
    special: SpecialTokens
    replace: Mapping[str, str] = field(default_factory=dict)
    fold_case: bool = True
    size: int = 0

    @cached_property
    def table(self) -> bytes:
        """256 bytes: the id of each ASCII letter, :data:`NONE` where it has none.

        Marks that the tokeniser puts round a sequence are no letters, though ProGen2 spells them 1 and 2.
        """
        table = np.full(256, NONE, np.uint8)
        marks = {*self.special.prefix, *self.special.suffix}
        for token, number in self.tokens.items():
            if len(token) == 1 and number not in marks:
                table[ord(token)] = number
        for letter, other in self.replace.items():
            table[ord(letter)] = table[ord(other)]
        # After what is read as another letter, so that u is read as T where U is.
        if self.fold_case:
            upper = np.arange(ord("A"), ord("Z") + 1)
            table[upper + 32] = table[upper]
        return table.tobytes()


def _numbered(special: tuple[str, ...], letters: str, after: tuple[str, ...] = ()) -> dict[str, int]:
    return {token: number for number, token in enumerate((*special, *letters, *after))}


_ESM = ("<cls>", "<pad>", "<eos>", "<unk>")
_ESM_LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO.-"
_ESM_SPECIAL = SpecialTokens(pad=1, mask=32, unknown=3, prefix=(0,), suffix=(2,), others=(31,))
_TO_X = dict.fromkeys("UZOB", "X")
_RNA = {"U": "T"}
_IUPAC = "ACGTURYSWKMBDHVN"
_EVO = {letter: ord(letter) for letter in _IUPAC + _IUPAC.lower()} | {"<eod>": 0, "<pad>": 1}

_ALL = (
    # fair-esm, esm/data.py; the same ids in transformers' vocab.txt of ESM-2.
    Alphabet(
        name="esm",
        kind="protein",
        tokens=_numbered(_ESM, _ESM_LETTERS, ("<null_1>", "<mask>")),
        special=_ESM_SPECIAL,
    ),
    # Biohub/esm, tokenization/sequence_tokenizer.py: "|" breaks chains; 64 rows of embedding.
    Alphabet(
        name="esmc",
        kind="protein",
        tokens=_numbered(_ESM, _ESM_LETTERS, ("|", "<mask>")),
        special=_ESM_SPECIAL,
        size=64,
    ),
    # Rostlab/prot_bert, vocab.txt; U, Z, O, B are read as X (its README).
    Alphabet(
        name="protbert",
        kind="protein",
        tokens=_numbered(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), "LAGVESIKRDTPNQFYMHCWXUBZO"),
        special=SpecialTokens(pad=0, mask=4, unknown=1, prefix=(2,), suffix=(3,)),
        replace=_TO_X,
    ),
    # Rostlab/prot_t5_xl_uniref50, spiece.model; 100 sentinels follow the letters.
    Alphabet(
        name="prott5",
        kind="protein",
        tokens=_numbered(("<pad>", "</s>", "<unk>"), "ALGVSREDTIPKFQNYMHWCXBOUZ"),
        special=SpecialTokens(pad=0, unknown=2, suffix=(1,)),
        replace=_TO_X,
        size=128,
    ),
    # salesforce/progen, tokenizer.json: "1" opens and "2" closes a sequence read from its N end.
    Alphabet(
        name="progen2",
        kind="protein",
        tokens=_numbered(("<|pad|>", "<|bos|>", "<|eos|>", "1", "2"), "ABCDEFGHIKLMNOPQRSTUVWXYZ"),
        special=SpecialTokens(pad=0, unknown=27, prefix=(3,), suffix=(4,), others=(1, 2)),
        size=32,
    ),
    # chandar-lab/AMPLIFY, tokenizer.json.
    Alphabet(
        name="amplify",
        kind="protein",
        tokens=_numbered(("<pad>", "<unk>", "<mask>", "<bos>", "<eos>", "|"), "LAGVSERTIDPKQNFYMHWCB"),
        special=SpecialTokens(pad=0, mask=2, unknown=1, prefix=(3,), suffix=(4,), others=(5,)),
    ),
    # biolm's own, for models trained from scratch on single bases.
    Alphabet(
        name="dna",
        kind="dna",
        tokens=_numbered(("<pad>", "<mask>", "<cls>", "<eos>", "<unk>"), "ACGTN"),
        special=SpecialTokens(pad=0, mask=1, unknown=9, prefix=(2,), suffix=(3,), others=(4,)),
        replace=_RNA,
    ),
    # HazyResearch/hyena-dna and Caduceus, tokenization: seven special tokens, then bases.
    Alphabet(
        name="base",
        kind="dna",
        tokens=_numbered(("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]"), "ACGTN"),
        special=SpecialTokens(pad=4, mask=3, unknown=6, suffix=(1,), others=(0, 2, 5)),
        replace=_RNA,
    ),
    # Text as bytes; 0 ends a document and 1 pads. 255 is no byte of UTF-8 and marks what has no token.
    Alphabet(
        name="byte",
        kind="text",
        tokens={chr(code): code for code in range(2, 255)} | {"<eod>": 0, "<pad>": 1},
        special=SpecialTokens(pad=1, others=(0,)),
        fold_case=False,
        size=512,
    ),
    # Evo 1 and 2: bytes of IUPAC letters in either case, which are other tokens; Evo 1 puts 0 in front.
    Alphabet(
        name="evo2",
        kind="dna",
        tokens=_EVO,
        special=SpecialTokens(pad=1, others=(0,)),
        fold_case=False,
        size=512,
    ),
    Alphabet(
        name="evo1",
        kind="dna",
        tokens=_EVO,
        special=SpecialTokens(pad=1, prefix=(0,)),
        fold_case=False,
        size=512,
    ),
)

ALPHABETS: Mapping[str, Alphabet] = {alphabet.name: alphabet for alphabet in _ALL}
"""Every published alphabet by name."""
