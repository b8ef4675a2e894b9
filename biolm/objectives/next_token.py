"""Next token: language models of sequences, and of genes in rank order (tGPT).

Dimensions: ``b`` examples · ``t`` tokens · ``m`` tokens that have a next one · ``v`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from biolm.batch import Batch, Output
from biolm.core import Transformer
from biolm.errors import ConfigError
from biolm.objectives.base import Metadata, Prepared, Score, Settings, View
from biolm.objectives.draws import Draw, uniform
from biolm.objectives.masked_tokens import TokenObjective, score_tokens
from biolm.objectives.masking import documents, is_special
from biolm.settings import check_fraction

__all__ = ["NextToken", "NextTokenSettings", "Shift"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTokenSettings(Settings):
    """Settings of :class:`NextToken`.

    Parameters
    ----------
    reverse_share
        Fraction of the examples that are read from the last token to the first, end tokens included (ProGen2
        marks both ends, so that a model can tell the directions apart).
    skip_special
        Do not ask for special tokens; otherwise the end token is predicted like any other.
    label_smoothing
        Fraction of the target's mass spread over the vocabulary.
    lowercase_weight
        Weight of lower-case letters among the targets, for alphabets of bytes: all letters are then read and
        asked for in upper case, and those that stood in lower case (repeats of genomes) weigh so much. 1: the
        case is kept, as any other token. Evo 2 was trained with 0.1.
    """

    reverse_share: float = 0.0
    skip_special: bool = False
    label_smoothing: float = 0.0
    lowercase_weight: float = 1.0

    def __post_init__(self) -> None:
        check_fraction("reverse_share", self.reverse_share)
        check_fraction("lowercase_weight", self.lowercase_weight)
        check_fraction("label_smoothing", self.label_smoothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift(View):
    """Ask every token for the next one of its example."""

    reverse_share: float
    skipped_ids: tuple[int, ...] = ()
    lowercase_weight: float = 1.0
    asks: ClassVar[bool] = True
    stacks: ClassVar[bool] = True

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Turn some examples round; list the tokens that have a next one."""
        document = documents(batch)
        read = batch
        if self.reverse_share:
            turned = uniform(draw.seeds("reverse"), 0) < self.reverse_share
            read = reverse(batch, turned[document], document)
        last = batch.offsets[1:].long()[document] - 1
        asked = torch.arange(len(batch.ids), device=batch.ids.device) < last
        if self.skipped_ids:
            asked[:-1] &= ~is_special(read.ids[1:], self.skipped_ids)
        rows = asked.nonzero().flatten()  # (m,)
        targets, extra = read.ids[rows + 1], {}
        if self.lowercase_weight != 1:
            # Of bytes, lower-case letters are those from "a" to "z", 32 above the upper-case ones.
            extra["weights"] = torch.where(_is_lower(targets), self.lowercase_weight, 1.0)
            read = replace(read, ids=_upper(read.ids))
            targets = _upper(targets)
        return Prepared(batch=read, original=batch, keys=draw.keys, rows=rows, targets=targets, extra=extra)


def _is_lower(ids: Tensor) -> Tensor:
    return (ids >= ord("a")) & (ids <= ord("z"))


def _upper(ids: Tensor) -> Tensor:
    return torch.where(_is_lower(ids), ids - 32, ids)


def reverse(batch: Batch, turned: Tensor, document: Tensor) -> Batch:
    """Read the examples of tokens ``turned (t,)`` from their end; positions stay."""
    offsets = batch.offsets.long()
    there = torch.arange(len(batch.ids), device=batch.ids.device)
    source = torch.where(turned, offsets[:-1][document] + offsets[1:][document] - 1 - there, there)
    return replace(
        batch,
        ids=batch.ids[source],
        values=None if batch.values is None else batch.values[source],
        segments=None if batch.segments is None else batch.segments[source],
    )


class NextToken(TokenObjective):
    """Cross-entropy of the next token, mean over all tokens that have one in their own example.

    After GPT (Radford et al. 2018).

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> sizes = {"vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    >>> config = CoreConfig(**sizes, head="linear", causal=True)
    >>> objective = NextToken(Metadata(core=config), NextTokenSettings())
    >>> batch = Batch.from_padded(torch.tensor([[2, 3, 4], [5, 6, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]))
    >>> objective.prepare(batch, torch.arange(2), epoch=0, seed=0).targets.tolist()
    [3, 4, 6]
    """

    Settings = NextTokenSettings
    name = "next_token"

    def __init__(self, metadata: Metadata, settings: NextTokenSettings) -> None:
        super().__init__(metadata, settings)
        if not metadata.core.causal:
            raise ConfigError("next_token needs a core with causal=true, or tokens would see their answer")

    @classmethod
    def logits_fraction(cls, settings: NextTokenSettings) -> float:  # noqa: ARG003  # whatever they are
        """All tokens."""
        return 1.0

    @property
    def view(self) -> View:
        """Every token asks for the next."""
        s: NextTokenSettings = self.settings
        return Shift(
            reverse_share=s.reverse_share,
            skipped_ids=self.metadata.special_ids if s.skip_special else (),
            lowercase_weight=s.lowercase_weight,
        )

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Cross-entropy and accuracy of the next tokens."""
        weights = prepared.extra.get("weights")
        return score_tokens(output.logits, prepared.targets, self.settings.label_smoothing, weights)
