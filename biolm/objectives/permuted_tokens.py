"""Permutation language modelling (XLNet, Yang et al. 2019): predict the last tokens of a random order.

Every example gets a random factorisation order; the tokens at its end are predicted, each from its place
and from the tokens that precede it in that order. Special tokens come first, so they are seen and never
asked for.

Dimensions: ``b`` examples · ``t`` tokens · ``m`` predicted ones · ``v`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from biolm.batch import Batch, Output
from biolm.core import Transformer
from biolm.core.two_stream import Streams, two_stream_logits
from biolm.errors import ConfigError
from biolm.objectives.base import Metadata, Prepared, Score, Settings, View
from biolm.objectives.draws import Draw, uniform
from biolm.objectives.masked_tokens import TokenObjective, score_tokens
from biolm.objectives.masking import documents, is_special

__all__ = ["Permute", "PermutedTokens", "PermutedTokensSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutedTokensSettings(Settings):
    """Settings of :class:`PermutedTokens`.

    Parameters
    ----------
    one_in
        Of so many tokens one is predicted, those at the end of the order; about 6 in XLNet.

    Raises
    ------
    ConfigError
        If it is below 1.
    """

    one_in: float = 6.0

    def __post_init__(self) -> None:
        if self.one_in < 1:
            raise ConfigError(f"one_in must be at least 1, not {self.one_in}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permute(View):
    """Draw an order for each example; list the tokens at its end."""

    one_in: float
    special_ids: tuple[int, ...]
    asks: ClassVar[bool] = True
    stacks: ClassVar[bool] = True

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """The same draw on every machine; ``extra["order"] (t,)`` is the rank of each token."""
        document = documents(batch)
        special = is_special(batch.ids, self.special_ids)
        chance = uniform(draw.seeds("order")[document], batch.positions)
        # Special tokens before all others, then by chance, inside each example.
        rank = _ranks(torch.where(special, chance - 1, chance), document, batch.offsets)
        lengths = batch.lengths.long()
        usual = torch.zeros(len(batch), dtype=torch.long, device=batch.ids.device)
        usual = usual.index_add(0, document, (~special).long())
        # The first token of an order sees nothing, so an example of one token is not asked.
        wanted = (usual / self.one_in).ceil().long().clamp(max=(lengths - 1).clamp(min=0))
        rows = (rank >= (lengths - wanted)[document]).nonzero().flatten()
        return Prepared(
            batch=batch,
            original=batch,
            keys=draw.keys,
            rows=rows,
            targets=batch.ids[rows],
            extra={"order": rank},
        )


def _ranks(values: Tensor, document: Tensor, offsets: Tensor) -> Tensor:
    """Rank ``(t,)`` of each value in its example."""
    by_value = values.argsort(stable=True)
    order = by_value[document[by_value].argsort(stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - offsets.long()[document[order]]
    return rank


class PermutedTokens(TokenObjective):
    """Cross-entropy of the tokens at the end of a random order, mean over them.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> sizes = {"vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    >>> core = Transformer(CoreConfig(**sizes, position="none", head="linear", mixer="two_stream"))
    >>> metadata = Metadata(core=core.config, special_ids=(0,))
    >>> objective = PermutedTokens(metadata, PermutedTokensSettings(one_in=2))
    >>> batch = Batch.from_padded(torch.tensor([[0, 3, 4, 5, 6], [0, 7, 8, 3, 4]]))
    >>> prepared = objective.prepare(batch, torch.tensor([10, 11]), epoch=0, seed=0)
    >>> loss, metrics = objective.loss(core, prepared)
    >>> int(metrics["loss"][1])
    4
    """

    Settings = PermutedTokensSettings
    name = "permuted_tokens"

    def __init__(self, metadata: Metadata, settings: PermutedTokensSettings) -> None:
        super().__init__(metadata, settings)
        core = metadata.core
        if any(core.layer_mixer(layer) != "two_stream" for layer in range(core.n_layers)):
            raise ConfigError("permuted_tokens needs a core with mixer 'two_stream' in every layer")

    @classmethod
    def logits_fraction(cls, settings: PermutedTokensSettings) -> float:
        """The predicted tokens."""
        return 1 / settings.one_in

    @property
    def view(self) -> View:
        """Draw an order."""
        s: PermutedTokensSettings = self.settings
        special = {
            *self.metadata.special_ids,
            *([] if self.metadata.mask_id is None else [self.metadata.mask_id]),
        }
        return Permute(one_in=s.one_in, special_ids=tuple(sorted(special)))

    def run(self, core: Transformer, prepared: Prepared) -> Score:
        """Both streams through the layers, and the score of the predictions."""
        return self.score(core, None, prepared)

    def score(self, core: Transformer, output: Output | None, prepared: Prepared) -> Score:  # noqa: ARG002
        """The streams have a pass of their own, so the output of a plain one is not read."""
        batch, rows = prepared.batch, prepared.rows
        assert rows is not None
        sizes = batch.lengths.tolist()
        document = documents(batch)[rows]
        counts = torch.bincount(document, minlength=len(sizes)).tolist()
        targets = torch.split(batch.positions[rows], counts)
        streams = Streams.by_order(torch.split(prepared.extra["order"], sizes), targets)
        return score_tokens(two_stream_logits(core, batch, streams), prepared.targets)
