"""Byte pairs of a ``tokenizer.json`` as tokens: DNABERT-2, GENA-LM, GROVER, ProGen2 and their kin.

Dimensions: ``n`` records of a block · ``r`` letters · ``t`` tokens.

The merging is done by the library ``tokenizers``. Round it, letters are looked at first, so that one without
a token is never dropped in silence, and special tokens are put as the file's own template puts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences.base import Policy, Tally, screen
from biolm.adapters.sequences.letters import frame
from biolm.batch import Tokens
from biolm.errors import CheckpointError, InputError
from biolm.io.sequences.block import SequenceBlock
from biolm.io.sequences.letters import look_up, upper
from biolm.vocab.residues import Kind, SpecialTokens

__all__ = ["BpeTokenizer", "read_bpe"]

_NAMES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>"),
    "mask": ("[MASK]", "<mask>"),
    "unknown": ("[UNK]", "<unk>"),
}
_GAP = "-"
# RNA is read as DNA by models that know no U, as by those of single bases and k-mers.
_THYMINE = bytes(range(256)).replace(b"U", b"T")


@dataclass(frozen=True)
class BpeTokenizer:
    """Tokens of a ``tokenizer.json``; see :class:`~biolm.adapters.sequences.base.SequenceTokenizer`.

    Parameters
    ----------
    content
        Text of the file.
    kind
        What it reads.
    gap_runs
        Runs of at least so many N become the one token ``-`` (GENA-LM: 10); 0 for never.
    edge
        Letters at each end of a window whose tokens depend on what lies beyond: GROVER needs 100 letters
        more on each side; see :meth:`inner`.

    Raises
    ------
    CheckpointError
        If the text is no tokeniser.
    """

    content: str
    kind: Kind = "dna"
    gap_runs: int = 0
    edge: int = 0

    family = "bpe"
    one_to_one = False

    def __post_init__(self) -> None:
        if self.gap_runs and _GAP not in self.vocabulary:
            raise CheckpointError("the tokeniser has no token '-' for runs of N; set gap_runs to 0")

    @cached_property
    def _merger(self) -> Any:
        from tokenizers import Tokenizer

        try:
            merger = Tokenizer.from_str(self.content)
        except Exception as error:
            raise CheckpointError(f"the tokenizer.json cannot be read ({error}); copy it again") from error
        # A tokenizer.json may ask for both; padding is nowhere needed here, and nothing is cut unseen.
        merger.no_padding()
        merger.no_truncation()
        return merger

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Token to id."""
        vocabulary: dict[str, int] = self._merger.get_vocab()
        return dict(sorted(vocabulary.items(), key=lambda pair: pair[1]))

    @property
    def size(self) -> int:
        """Rows of the embedding."""
        return max(self.vocabulary.values()) + 1

    @cached_property
    def special(self) -> SpecialTokens:
        """Ids that stand for no letter: by their names, and by where the file's template puts them."""
        # Any one letter: what the template puts around it are the special tokens.
        letter = next(token for token in self.vocabulary if len(token) == 1 and token.isalpha())
        encoded = self._merger.encode(letter)
        marks = encoded.special_tokens_mask
        first = marks.index(0)
        last = len(marks) - marks[::-1].index(0)
        ids = {
            role: next((self.vocabulary[name] for name in names if name in self.vocabulary), None)
            for role, names in _NAMES.items()
        }
        added = self._merger.get_added_tokens_decoder()
        used = {*ids.values(), *encoded.ids[:first], *encoded.ids[last:]}
        return SpecialTokens(
            **ids,
            prefix=tuple(encoded.ids[:first]),
            suffix=tuple(encoded.ids[last:]),
            others=tuple(number for number, token in added.items() if token.special and number not in used),
        )

    @cached_property
    def stride(self) -> int:
        """Letters of a token: the mean over the vocabulary, as texts of any kind use shorter ones."""
        lengths = [len(token) for token in self.vocabulary if token.isalpha()]
        return max(1, round(sum(lengths) / len(lengths)))

    @cached_property
    def _illegal(self) -> bytes:
        """256 bytes: 1 for letters that are no token."""
        known = {ord(token) for token in self.vocabulary if len(token) == 1 and token.isascii()}
        return bytes(0 if code in known else 1 for code in range(256))

    def tokenize(
        self, block: SequenceBlock, *, policy: Policy = "unknown", tally: Tally | None = None
    ) -> Tokens:
        """Packed tokens of a block.

        Parameters
        ----------
        block
            Records.
        policy
            Of residues or bases that are not known: ``error``, ``unknown`` or ``skip``.
        tally
            Counts what was met; None where nobody asks.
        """
        texts, numbers = self._texts(block, policy, tally)
        encoded = self._merger.encode_batch_fast(texts, add_special_tokens=False)
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(each.ids) for each in encoded], out=offsets[1:])
        ids = np.fromiter((token for each in encoded for token in each.ids), np.int32, count=offsets[-1])
        return frame(ids, offsets, numbers, self.special)

    def spans(self, block: SequenceBlock, tokens: Tokens) -> NDArray[np.int64]:
        """``(t, 2)`` letters of each token."""
        part = block.take(tokens.index - block.start)
        texts, _ = self._texts(part, "unknown", None)
        before, after = len(self.special.prefix), len(self.special.suffix)
        spans: list[NDArray[np.int64]] = []
        for text, length, whole in zip(texts, tokens.lengths.tolist(), part.lengths.tolist(), strict=True):
            places = np.array(self._merger.encode(text, add_special_tokens=False).offsets, np.int64)
            if self.gap_runs:
                places = self._places(part.text(len(spans)))[places.reshape(-1, 2)]
            ends = np.full((after, 2), whole, np.int64)
            framed = np.concatenate([np.zeros((before, 2), np.int64), places.reshape(-1, 2), ends])
            # Tokens may have been cut to a model's length; the closing special ones stay.
            spans.append(np.concatenate([framed[: length - after], ends]))
        return np.concatenate(spans) if spans else np.zeros((0, 2), np.int64)

    def inner(self, block: SequenceBlock, left: NDArray[np.int64], right: NDArray[np.int64]) -> Tokens:
        """Tokens of windows that are read with some letters more at each end.

        Parameters
        ----------
        block
            Windows with :attr:`edge` letters more on each side, where there are so many.
        left, right
            ``(n,)`` letters of each that lie before and after its window.

        Returns
        -------
        The tokens that begin inside the windows: those of neighbouring windows together are the tokens of
        the whole.
        """
        tokens = self.tokenize(block)
        starts = self.spans(block, tokens)[:, 0]
        lengths = tokens.lengths
        place = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], lengths)
        before, after = len(self.special.prefix), len(self.special.suffix)
        special = (place < before) | (place >= np.repeat(lengths - after, lengths))
        inside = starts >= np.repeat(left, lengths)
        inside &= starts < np.repeat(block.lengths - right, lengths)
        keep = special | inside
        ends = np.concatenate([[0], np.cumsum(keep)])
        return Tokens(ids=tokens.ids[keep], offsets=ends[tokens.offsets].astype(np.int64), index=tokens.index)

    def decode(self, ids: NDArray[np.integer[Any]]) -> str:
        """Letters of ids."""
        names = {number: token for token, number in self.vocabulary.items()}
        hidden = {*self.special.prefix, *self.special.suffix, *self.special.others, self.special.pad}
        return "".join(names[number] for number in ids.tolist() if number not in hidden)

    def settings(self) -> dict[str, Any]:
        """Plain values that make it again."""
        return {
            "family": self.family,
            "kind": self.kind,
            "gap_runs": self.gap_runs,
            "edge": self.edge,
            "content": self.content,
        }

    def _texts(
        self, block: SequenceBlock, policy: Policy, tally: Tally | None
    ) -> tuple[list[str], NDArray[np.int64]]:
        """Letters of each record as they are merged, and the numbers of the records."""
        block = upper(block)
        if self.kind == "dna" and "U" not in self.vocabulary:
            block = replace(block, letters=look_up(block.letters, _THYMINE))
        numbers = np.arange(block.start, block.start + len(block), dtype=np.int64)
        texts = [block.text(row) for row in range(len(block))]
        if self.gap_runs:
            short = [self._runs.sub(_GAP, text) for text in texts]
            block = SequenceBlock.of(short, block.names, block.start)
            texts = short
        kept = screen(block, look_up(block.letters, self._illegal).view(bool), policy, tally)
        if kept is None:
            if self.special.unknown is None and look_up(block.letters, self._illegal).any():
                raise InputError(
                    "some letters are not of the model's alphabet and it has no token for unknown ones; "
                    "correct them, or have their records skipped"
                )
            return texts, numbers
        return [texts[row] for row in kept.tolist()], numbers[kept]

    @cached_property
    def _runs(self) -> re.Pattern[str]:
        return re.compile(f"N{{{self.gap_runs},}}")

    def _places(self, text: str) -> NDArray[np.int64]:
        """Where each letter of the shortened text, and its end, lies in the text."""
        places: list[int] = []
        done = 0
        for run in self._runs.finditer(text.upper()):
            places.extend(range(done, run.start() + 1))
            done = run.end()
        return np.array([*places, *range(done, len(text) + 1)], np.int64)


def read_bpe(path: str | Path, **settings: Any) -> BpeTokenizer:
    """A tokeniser from a ``tokenizer.json``, or the folder that holds it.

    Parameters
    ----------
    path
        The file or its folder.
    settings
        ``kind``, ``gap_runs`` and ``edge`` of :class:`BpeTokenizer`.

    Raises
    ------
    CheckpointError
        If it cannot be read.
    """
    file = Path(path).expanduser()
    file = file / "tokenizer.json" if file.is_dir() else file
    try:
        content = file.read_text(encoding="utf-8")
        json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is no tokenizer.json that can be read; copy it again") from error
    return BpeTokenizer(content, **settings)
