"""Pre-train an encoder on raw text: tokenizer, masked whole words, next sentence; scored on other documents.

Dimensions: ``t`` tokens of a batch · ``v`` vocabulary · ``b`` pairs of sentences.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biolm.batch import Batch, Tokens
from biolm.core import CoreConfig, Transformer
from biolm.errors import InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.text.document import Document
from biolm.io.text.words import split_sentences
from biolm.models.families.hf import to_hf
from biolm.objectives.base import Metadata, Prepared
from biolm.objectives.draws import Draw, uniform
from biolm.objectives.masked_tokens import MaskedTokens, MaskedTokensSettings, MaskTokens
from biolm.objectives.masking import choose_tokens, documents, is_special
from biolm.objectives.pair_order import PairOrder, PairOrderSettings
from biolm.progress import log
from biolm.text.pieces import PieceTokenizer
from biolm.text.settings import PretrainSettings
from biolm.text.train_tokenizer import SPECIALS, train_tokenizer

__all__ = ["MaskWholeWords", "Pretrained", "pretrain_text", "split_documents"]


@dataclass(slots=True)
class Pretrained:
    """Losses of training, and those of the held-out documents beside their baselines (nats)."""

    losses: list[float] = field(default_factory=list)
    masked: float = math.nan
    unigram: float = math.nan
    next_sentence: float = math.nan
    pairs: int = 0

    def __str__(self) -> str:
        return (
            f"held-out documents: masked words {self.masked:.3f} nats (frequencies alone "
            f"{self.unigram:.3f}), "
            f"next sentence accuracy {self.next_sentence:.3f} (chance 0.5), {self.pairs:,} pairs"
        )


def split_documents(
    corpus: Sequence[Document], held_out: float, seed: int
) -> tuple[list[Document], list[Document]]:
    """Documents to learn from, and others; copies of a text are on one side whatever their names.

    Parameters
    ----------
    corpus
        All documents.
    held_out
        Fraction that scores.
    seed
        Of the draw.

    Raises
    ------
    InputError
        If a side is empty.
    """

    def place(document: Document) -> float:
        # By the text, so that a copy under another name cannot stand on the other side.
        text = " ".join(document.text.casefold().split())
        digest = hashlib.sha256(f"{seed} {text}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    train = [document for document in corpus if place(document) >= held_out]
    rest = [document for document in corpus if place(document) < held_out]
    if not train or not rest:
        raise InputError(f"{len(corpus)} documents leave one side of the split empty; give more")
    return train, rest


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskWholeWords(MaskTokens):
    """As :class:`~biolm.objectives.masked_tokens.MaskTokens`, by whole words.

    ``going_on`` are the ids of pieces that continue a word.
    """

    going_on: tuple[int, ...]

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Choose words and replace their pieces."""
        allowed = ~is_special(batch.ids, self.special_ids)
        document = documents(batch)
        inside = torch.isin(batch.ids, torch.tensor(self.going_on, dtype=batch.ids.dtype))
        word = (~inside | ~allowed).cumsum(0)
        first = torch.full((int(word[-1]) + 1,), len(word), dtype=torch.long)
        first = first.scatter_reduce(0, word, torch.arange(len(word)), "amin")
        # A piece has the number of its word's first piece, so words are drawn whole.
        number = uniform(draw.seeds("choose")[document], batch.positions)[first[word]]
        chosen = choose_tokens(batch, draw.seeds("choose"), allowed, self.rate, exact=True, span=number)
        taken = torch.zeros(len(first), dtype=torch.bool).index_fill(0, word[chosen], True)
        rows = (taken[word] & allowed).nonzero().flatten()
        ids = batch.ids.clone()
        ids[rows] = self._replaced(batch, rows, draw)
        return Prepared(
            batch=replace(batch, ids=ids), original=batch, keys=draw.keys, rows=rows, targets=batch.ids[rows]
        )


class _MaskedWords(MaskedTokens):
    """Masked tokens by whole words."""

    going_on: tuple[int, ...] = ()

    @property
    def view(self) -> MaskWholeWords:
        plain = super().view
        assert isinstance(plain, MaskTokens)
        settings = {each.name: getattr(plain, each.name) for each in fields(plain)}
        return MaskWholeWords(going_on=self.going_on, **settings)


def _pairs(
    corpus: Sequence[Document], tokenizer: PieceTokenizer, longest: int
) -> list[tuple[list[int], list[int]]]:
    """Pieces of neighbouring sentences, each cut to what fits: training examples, not results."""
    # [CLS] and two [SEP].
    half = (longest - 3) // 2
    pairs = []
    for document in corpus:
        sentences = [document.text[a:b] for a, b in split_sentences(document.text)]
        ids = [pieces.ids.tolist()[:half] for pieces in tokenizer.many(sentences)] if sentences else []
        pairs += [(left, right) for left, right in pairwise(ids) if left and right]
    return pairs


def _batches(
    pairs: Sequence[tuple[list[int], list[int]]], size: int, cls: int, sep: int, order: np.ndarray[Any, Any]
) -> Iterator[tuple[Batch, Tensor]]:
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        ids, segments, lengths = [], [], []
        for row in rows.tolist():
            left, right = pairs[row]
            ids += [cls, *left, sep, *right, sep]
            segments += [0] * (len(left) + 2) + [1] * (len(right) + 1)
            lengths.append(len(left) + len(right) + 3)
        tokens = Tokens(
            ids=np.array(ids, np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            index=rows.astype(np.int64),
            segments=np.array(segments, np.int32),
        )
        yield Batch.from_tokens(tokens), torch.from_numpy(rows.astype(np.int64))


def pretrain_text(
    corpus: Sequence[Document],
    output: Path,
    settings: PretrainSettings | None = None,
    *,
    overwrite: bool = False,
) -> Pretrained:
    """Train a tokenizer and an encoder; write a folder that every command of ``biolm text`` takes.

    Parameters
    ----------
    corpus
        Documents.
    output
        Folder to write.
    settings
        See :class:`PretrainSettings`.
    overwrite
        Replace an existing folder.

    Raises
    ------
    InputError
        If there are too few documents.
    """
    refuse_existing(output, overwrite=overwrite)
    settings = settings or PretrainSettings()
    train, rest = split_documents(corpus, settings.held_out, settings.seed)
    engine = train_tokenizer([document.text for document in train], settings)
    content = engine.to_str()
    tokenizer = PieceTokenizer(engine, settings.max_length, "the new tokenizer")
    torch.manual_seed(settings.seed)
    s = settings
    core = Transformer(
        CoreConfig(
            vocab_size=tokenizer.size,
            d_model=s.d_model,
            n_layers=s.n_layers,
            n_heads=s.n_heads,
            d_ff=4 * s.d_model,
            max_length=s.max_length,
            n_segments=2,
            norm_eps=1e-12,
            embed_norm=True,
            block="post",
            pad_id=0,
            head="mlm",
            head_bias=True,
            dropout_embed=0.1,
            dropout_residual=0.1,
        )
    )
    for parameter in core.parameters():
        if parameter.dim() > 1:
            # As BERT starts (Devlin et al. 2019).
            torch.nn.init.normal_(parameter, std=0.02)
    objectives = _objectives(core, tokenizer, s)
    done = _train(core, objectives, train, tokenizer, s)
    _score(core, objectives, train, rest, tokenizer, s, done)
    with replacing(output, overwrite=overwrite) as folder:
        to_hf(core, folder, "bert")
        (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    log.info("%s", done)
    return done


def _objectives(
    core: Transformer, tokenizer: PieceTokenizer, s: PretrainSettings
) -> tuple[MaskedTokens, PairOrder]:
    ids = [tokenizer.number(token) for token in SPECIALS]
    special = tuple(number for number in ids if number is not None)
    facts = Metadata(core=core.config, special_ids=special, mask_id=tokenizer.number("[MASK]"))
    words = _MaskedWords(facts, MaskedTokensSettings(rate=s.mask_fraction))
    begins = "Ġ" if s.tokenizer == "bpe" else "##"
    starts = [tokenizer.token(number).startswith(begins) for number in range(tokenizer.size)]
    words.going_on = tuple(
        n for n, marked in enumerate(starts) if n not in special and marked == (s.tokenizer == "wordpiece")
    )
    return words, PairOrder(facts, PairOrderSettings(negatives="next"))


def _train(
    core: Transformer,
    objectives: tuple[MaskedTokens, PairOrder],
    train: Sequence[Document],
    tokenizer: PieceTokenizer,
    s: PretrainSettings,
) -> Pretrained:
    words, order = objectives
    cls, sep = tokenizer.prefix[0], tokenizer.suffix[0]
    pairs = _pairs(train, tokenizer, s.max_length)
    if not pairs:
        raise InputError("no document has two sentences; give longer texts")
    generator = np.random.default_rng(s.seed)
    optimiser = torch.optim.AdamW([*core.parameters(), *order.parameters()], lr=s.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, s.lr, total_steps=s.steps + 1, pct_start=0.1)
    done, step, epoch = Pretrained(), 0, 0
    core.train()
    while step < s.steps:
        for batch, keys in _batches(pairs, s.batch_size, cls, sep, generator.permutation(len(pairs))):
            loss, _ = words.loss(core, words.prepare(batch, keys, epoch=epoch, seed=s.seed))
            if s.next_sentence:
                second, _ = order.loss(core, order.prepare(batch, keys, epoch=epoch, seed=s.seed))
                loss = loss + s.next_sentence * second
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(core.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done.losses.append(float(loss.detach()))
            step += 1
            if step == s.steps:
                break
        epoch += 1
    core.eval()
    return done


@torch.inference_mode()
def _score(
    core: Transformer,
    objectives: tuple[MaskedTokens, PairOrder],
    train: Sequence[Document],
    rest: Sequence[Document],
    tokenizer: PieceTokenizer,
    s: PretrainSettings,
    done: Pretrained,
) -> None:
    """Held-out losses, with that of the training frequencies for the same masked pieces."""
    words, order = objectives
    cls, sep = tokenizer.prefix[0], tokenizer.suffix[0]
    counts = Counter(n for p in tokenizer.many([d.text for d in train]) for n in p.ids.tolist())
    # One more of each, or a piece that training lacks would cost the baseline infinitely many nats.
    table = np.array([counts.get(n, 0) + 1 for n in range(tokenizer.size)], float)
    frequency = torch.from_numpy(np.log(table / table.sum()))
    pairs = _pairs(rest, tokenizer, s.max_length)
    done.pairs = len(pairs)
    sums = np.zeros(5)
    for batch, keys in _batches(pairs, s.batch_size, cls, sep, np.arange(len(pairs))):
        # Other masks than in training, the same for the model and the baseline.
        prepared = words.prepare(batch, keys, epoch=0, seed=s.seed + 1)
        assert prepared.targets is not None
        loss, _ = words.loss(core, prepared)
        size = len(prepared.targets)
        sums[:3] += float(loss) * size, -float(frequency[prepared.targets].sum()), size
        if s.next_sentence:
            _, metrics = order.loss(core, order.prepare(batch, keys, epoch=0, seed=s.seed + 1))
            sums[3:] += metrics["accuracy"].cpu().numpy()
    if sums[2]:
        done.masked, done.unigram = float(sums[0] / sums[2]), float(sums[1] / sums[2])
    if sums[4]:
        done.next_sentence = float(sums[3] / sums[4])
