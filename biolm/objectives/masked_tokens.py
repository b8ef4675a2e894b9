"""Masked tokens (BERT, Geneformer, ESM): mask some, predict them; the head runs on those alone.

Dimensions: ``t`` tokens · ``m`` chosen ones · ``v`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Batch, Output
from biolm.core import Transformer
from biolm.errors import ConfigError
from biolm.objectives.base import Metadata, Objective, Prepared, Score, Settings, Sum, View
from biolm.objectives.baseline import Baseline, TokenFrequencies
from biolm.objectives.draws import Draw, uniform
from biolm.objectives.masking import (
    choose_tokens,
    documents,
    is_special,
    span_priority,
)
from biolm.settings import check_fraction

__all__ = ["MaskTokens", "MaskedTokens", "MaskedTokensSettings", "TokenObjective", "score_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedTokensSettings(Settings):
    """Settings of :class:`MaskedTokens`.

    Parameters
    ----------
    rate
        Fraction of the tokens that are chosen and predicted, special ones aside.
    mask_share, random_share
        Of the chosen tokens, those that become the mask and those that become a random token; the others
        stay as they are (80 / 10 / 10 in BERT).
    exact
        Choose ``round(rate * tokens)`` of each example, at least one; otherwise a coin for each token.
    span
        Mean length of masked spans (geometric, at most ten tokens); 1 for single tokens.
    label_smoothing
        Fraction of the target's mass spread over the vocabulary.
    """

    rate: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1
    exact: bool = True
    span: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate", "mask_share", "random_share", "label_smoothing"):
            check_fraction(name, getattr(self, name))
        if not self.rate:
            raise ConfigError("rate must be above 0, or no token is masked")
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ConfigError("mask_share and random_share together must be at most 1")
        if self.span < 1:
            raise ConfigError(f"span must be at least 1, not {self.span}")
        if self.span > 1 and not self.exact:
            raise ConfigError("span above 1 needs exact=true: coins are for single tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskTokens(View):
    """Mask tokens; fields as in :class:`MaskedTokensSettings`, and what is fixed by the vocabulary."""

    rate: float
    mask_share: float
    random_share: float
    exact: bool
    span: float
    mask_id: int
    vocab_size: int
    special_ids: tuple[int, ...]
    asks: ClassVar[bool] = True
    stacks: ClassVar[bool] = True

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Choose tokens and replace them."""
        allowed = ~is_special(batch.ids, self.special_ids)
        seeds = draw.seeds("choose")
        spans = span_priority(batch, draw, allowed, self.span) if self.span > 1 else None
        chosen = choose_tokens(batch, seeds, allowed, self.rate, exact=self.exact, span=spans)
        rows = chosen.nonzero().flatten()  # (m,)
        ids = batch.ids.clone()
        ids[rows] = self._replaced(batch, rows, draw)
        return Prepared(
            batch=replace(batch, ids=ids), original=batch, keys=draw.keys, rows=rows, targets=batch.ids[rows]
        )

    def _replaced(self, batch: Batch, rows: Tensor, draw: Draw) -> Tensor:
        """``(m,)`` what the chosen tokens become."""
        document, place = documents(batch)[rows], batch.positions[rows]
        fate = uniform(draw.seeds("become")[document], place)
        chance = uniform(draw.seeds("random")[document], place)
        usual = torch.ones(self.vocab_size, dtype=torch.bool, device=rows.device)
        usual[[token for token in self.special_ids if token < self.vocab_size]] = False
        tokens = usual.nonzero().flatten()
        random = tokens[(chance * len(tokens)).long()]
        ids = torch.where(fate < self.mask_share + self.random_share, random, batch.ids[rows])
        return torch.where(fate < self.mask_share, self.mask_id, ids)


class TokenObjective(Objective):
    """What objectives that predict tokens by the core's own head share."""

    name: ClassVar[str]
    uses_head = True

    def __init__(self, metadata: Metadata, settings: Settings) -> None:
        super().__init__(metadata, settings)
        if metadata.core.head not in ("linear", "mlm"):
            raise ConfigError(
                f"{self.name} needs a core with head 'mlm' or 'linear', not {metadata.core.head!r}"
            )

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Tokens that are asked for."""
        assert prepared.rows is not None
        weights = prepared.extra.get("weights")
        return {"loss": float(len(prepared.rows) if weights is None else weights.sum())}

    def baseline(self) -> Baseline:
        """Frequencies of the tokens, and of those at each place."""
        return TokenFrequencies(self.metadata.core.vocab_size)


class MaskedTokens(TokenObjective):
    """Cross-entropy of the masked tokens, mean over them.

    After BERT (Devlin et al. 2019).

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> core = Transformer(CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, head="linear"))
    >>> objective = MaskedTokens(Metadata(core=core.config, mask_id=1, special_ids=(0, 1)),
    ...                          MaskedTokensSettings(rate=0.5))
    >>> batch = Batch.from_padded(torch.tensor([[0, 3, 4, 5, 6], [0, 7, 8, 3, 4]]))
    >>> prepared = objective.prepare(batch, torch.tensor([10, 11]), epoch=0, seed=0)
    >>> loss, metrics = objective.loss(core, prepared)
    >>> int(metrics["loss"][1])
    4
    """

    Settings = MaskedTokensSettings
    name = "masked_tokens"
    reads_rows = True

    def __init__(self, metadata: Metadata, settings: MaskedTokensSettings) -> None:
        super().__init__(metadata, settings)
        if metadata.mask_id is None:
            raise ConfigError("masked_tokens needs a mask token; the vocabulary has none")

    @classmethod
    def logits_fraction(cls, settings: MaskedTokensSettings) -> float:
        """The masked tokens."""
        return settings.rate

    @property
    def view(self) -> View:
        """Some tokens masked."""
        s: MaskedTokensSettings = self.settings
        assert self.metadata.mask_id is not None
        return MaskTokens(
            rate=s.rate,
            mask_share=s.mask_share,
            random_share=s.random_share,
            exact=s.exact,
            span=s.span,
            mask_id=self.metadata.mask_id,
            vocab_size=self.metadata.core.vocab_size,
            special_ids=self.metadata.special_or_mask,
        )

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Cross-entropy and accuracy of the chosen tokens."""
        return score_tokens(output.logits, prepared.targets, self.settings.label_smoothing)


def score_tokens(
    logits: Any, targets: Any, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Score:
    """Cross-entropy of logits ``(m, v)`` against ids ``(m,)``, and the share that is found first.

    With ``weights (m,)`` means are weighted.

    Parameters
    ----------
    logits
        ``(m, v)``.
    targets
        ``(m,)`` ids.
    label_smoothing
        Fraction of the target's mass spread over the vocabulary.
    weights
        ``(m,)``; all alike if None.
    """
    logits = logits.float()
    losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    correct = (logits.detach().argmax(-1) == targets).float()
    metrics = {"accuracy": Sum.of(correct, weights)}
    if label_smoothing:
        # Perplexity is of the plain cross-entropy.
        metrics["cross_entropy"] = Sum.of(
            F.cross_entropy(logits.detach(), targets, reduction="none"), weights
        )
    return Score({"loss": Sum.of(losses, weights)}, metrics=metrics)
