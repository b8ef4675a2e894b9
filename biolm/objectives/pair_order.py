"""Do two texts follow each other? Next sentence prediction (BERT) and sentence order (ALBERT).

Dimensions: ``b`` pairs · ``t`` tokens · ``d`` width.

A pair is one example: a first token (cls), the text of segment 0 and an end token, the text of segment 1 and
an end token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biolm.batch import Batch, Output
from biolm.core import Transformer
from biolm.core.heads import ClassifierHead
from biolm.errors import ConfigError, InputError
from biolm.objectives.base import Metadata, Objective, Prepared, Score, Settings, View
from biolm.objectives.baseline import Baseline, LabelFrequencies
from biolm.objectives.classify import IGNORED, count_classes, score_classes
from biolm.objectives.draws import Draw, uniform
from biolm.objectives.masking import documents, is_special
from biolm.objectives.repack import take_tokens
from biolm.settings import check_fraction, check_least

__all__ = ["PairOrder", "PairOrderSettings", "Pairs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOrderSettings(Settings):
    """Settings of :class:`PairOrder`.

    Parameters
    ----------
    negatives
        ``order``: the two texts change places; ``next``: the second text is that of another example of the
        batch.
    share
        Of the examples that become negatives.
    hidden
        Hidden steps of the head.
    pool
        How an example's vector is made of its tokens.
    """

    negatives: str = "order"
    share: float = 0.5
    hidden: int = 1
    pool: str = "cls"

    def __post_init__(self) -> None:
        check_fraction("share", self.share)
        check_least(0, hidden=self.hidden)
        if self.negatives not in ("order", "next"):
            raise ConfigError(f"negatives must be order or next, not {self.negatives!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(View):
    """Make negatives of some pairs."""

    negatives: str
    share: float
    special_ids: tuple[int, ...]

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Rearranged pairs; ``extra["negative"]`` (b,) says which, -100 of those that lack a text."""
        if batch.segments is None:
            raise InputError("pair_order needs tokens with segments 0 and 1; join the two texts of each pair")
        document, segment = documents(batch), batch.segments.long()
        text = self._text(batch, document, segment)
        lengths = torch.bincount(2 * document[text] + segment[text], minlength=2 * len(batch))
        whole = lengths.view(-1, 2).all(1)
        negative = whole & (uniform(draw.seeds("order"), 0) < self.share)
        # Places in the new example: first token 0, text 1, its end 2, text 3, its end 4.
        part = torch.where(batch.positions == 0, 0, torch.where(text, 1, 2) + 2 * segment)
        owner = document
        if self.negatives == "order":
            part = torch.where(text & negative[document], 4 - part, part)
        else:
            taker, negative = _exchange(negative, uniform(draw.seeds("order"), 1))
            owner = torch.where(text & (segment == 1), taker[document], document)
        order = torch.argsort(owner * 5 + part, stable=True)
        read = _rearranged(batch, order, owner[order], (part[order] >= 3).long())
        if read.max_length > batch.max_length:
            # A longer second text loses its last tokens, or it might exceed the model's positions.
            fits = (read.positions < batch.max_length - 1) | ~text[order]
            read = take_tokens(read, fits)
        return Prepared(
            batch=read,
            original=read,
            keys=draw.keys,
            extra={"negative": negative.long().masked_fill(~whole, IGNORED)},
        )

    def _text(self, batch: Batch, document: Tensor, segment: Tensor) -> Tensor:
        """``(t,)`` what belongs to a text: all but the first token and the special ones at a text's end."""
        usual = ~is_special(batch.ids, self.special_ids) & (batch.positions > 0)
        which = 2 * document + segment
        last = torch.full((2 * len(batch),), -1, dtype=torch.long, device=batch.ids.device)
        last = last.scatter_reduce(0, which[usual], batch.positions.long()[usual], "amax")
        return (batch.positions > 0) & (batch.positions <= last[which])


def _exchange(negative: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Who gets each example's second text ``(b,)``: negatives pass theirs round in a ring of random order."""
    taker = torch.arange(len(negative), device=negative.device)
    ring = negative.nonzero().flatten()
    # One alone has nobody to exchange with and stays as it is.
    if len(ring) < 2:
        return taker, torch.zeros_like(negative)
    ring = ring[torch.argsort(number[ring], stable=True)]
    taker[ring] = ring.roll(1)
    return taker, negative


def _rearranged(batch: Batch, order: Tensor, owner: Tensor, segments: Tensor) -> Batch:
    lengths = torch.bincount(owner, minlength=len(batch))
    offsets = torch.zeros_like(batch.offsets)
    offsets[1:] = lengths.cumsum(0)
    return Batch(
        ids=batch.ids[order],
        offsets=offsets,
        positions=torch.arange(len(order), device=order.device) - offsets.long()[owner],
        max_length=int(lengths.max()) if len(batch) else 0,
        index=batch.index,
        values=None if batch.values is None else batch.values[order],
        segments=segments,
    )


class PairOrder(Objective):
    """Cross-entropy of telling true pairs from rearranged ones.

    Next-sentence prediction of BERT (Devlin et al. 2019), sentence order of ALBERT (Lan et al. 2020).
    """

    Settings = PairOrderSettings

    def __init__(self, metadata: Metadata, settings: PairOrderSettings) -> None:
        super().__init__(metadata, settings)
        self.head = ClassifierHead(metadata.core.d_model, 2, settings.hidden)

    @property
    def reads_pairs(self) -> bool:
        """Always."""
        return True

    @property
    def view(self) -> View:
        """Some pairs rearranged."""
        s: PairOrderSettings = self.settings
        return Pairs(negatives=s.negatives, share=s.share, special_ids=self.metadata.special_ids)

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Pairs."""
        return {"loss": count_classes(prepared.extra["negative"])}

    def baseline(self) -> Baseline:
        """How many are rearranged."""
        return LabelFrequencies(2, lambda prepared: prepared.extra["negative"])

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss and accuracy."""
        logits = self.head(self.vectors(output, prepared, self.settings.pool))
        return score_classes(logits, prepared.extra["negative"])
