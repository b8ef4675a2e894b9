"""Contrast of two views of one example: gene panels (scConcept), dropout (SimCSE, Concerto), sentence pairs.

Dimensions: ``b`` examples · ``t`` tokens · ``d`` width.

Both views lie in one batch, all first views and then all second ones, and share a forward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from biolm.batch import Batch, Output
from biolm.core import Transformer
from biolm.errors import ConfigError, InputError
from biolm.objectives.base import Metadata, Objective, Prepared, Score, Settings, View
from biolm.objectives.draws import Draw, uniform
from biolm.objectives.masking import documents, is_special, lowest
from biolm.objectives.pairs import Temperature, score_pairs
from biolm.objectives.repack import join, take_tokens
from biolm.settings import check_fraction, check_least

__all__ = ["PanelContrast", "PanelContrastSettings", "TwoViews", "TwoViewsSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastSettings(Settings):
    """What all contrasts of two views have.

    Parameters
    ----------
    pool
        How a view's vector is made of its tokens.
    temperature
        Divides the cosines.
    learned
        Learn the temperature.
    within
        Views of the same side are negatives too (2N-way, NT-Xent).
    within_from
        The same, from that optimiser step on; 0 for never (scConcept: 10,000).
    projection
        Width of a linear map after pooling; 0 for none.
    hidden
        Hidden layers (ReLU, as wide as the core) before that map.
    """

    pool: str = "cls"
    temperature: float = 0.1
    learned: bool = False
    within: bool = False
    within_from: int = 0
    projection: int = 0
    hidden: int = 0

    def __post_init__(self) -> None:
        check_least(0, within_from=self.within_from, projection=self.projection, hidden=self.hidden)


class Contrast(Objective):
    """Symmetric cross-entropy of two views against those of all other examples of all ranks.

    The loss is InfoNCE (van den Oord et al. 2018) in both directions, as in CLIP (Radford et al. 2021).
    """

    def __init__(self, metadata: Metadata, settings: ContrastSettings) -> None:
        super().__init__(metadata, settings)
        self.temperature = Temperature(settings.temperature, learned=settings.learned)
        self.projection = projector(metadata.core.d_model, settings.projection, settings.hidden)

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Examples with both views."""
        return {"loss": float(prepared.pairs.sum())}

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss, recall and chance."""
        s: ContrastSettings = self.settings
        vectors = self.projection(self.vectors(output, prepared, s.pool))
        first, second = vectors.chunk(2)
        return score_pairs(
            first,
            second,
            self.temperature(),
            usable=prepared.pairs,
            within=s.within or 0 < s.within_from <= self.step,
            # Ranks may have different numbers of validation batches, and would wait for each other.
            everywhere=self.training,
        )


def projector(width: int, out: int, hidden: int) -> nn.Module:
    """Hidden ReLU layers and a linear map to ``out``; nothing where that is 0."""
    if not out:
        return nn.Identity()
    steps = [step for _ in range(hidden) for step in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*steps, nn.Linear(width, out))


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelContrastSettings(ContrastSettings):
    """Settings of :class:`PanelContrast`, beside those of every contrast.

    Parameters
    ----------
    smallest, largest
        Fraction of the vocabulary's genes in a random panel, drawn log-uniformly; two never overlap, so the
        largest is at most a half.
    max_tokens
        Most tokens a panel keeps of a cell, special ones included: the first, or random ones.
    random_cut
        Keep random tokens, for cells whose tokens are not in order of expression.
    min_tokens
        Gene tokens that both panels need for a cell to take part.
    panels
        Designed panels: of each the genes, by name or token id, or a ``.txt`` file with a name a line.
    panel_share
        Fraction of the batches whose first panel is a designed one; the second is random among other genes.
    """

    temperature: float = math.exp(-3.0)
    learned: bool = True
    smallest: float = 0.01
    largest: float = 0.5
    max_tokens: int = 1000
    random_cut: bool = False
    min_tokens: int = 1
    panels: tuple[tuple[int | str, ...], ...] = ()
    panel_share: float = 0.75

    def __post_init__(self) -> None:
        ContrastSettings.__post_init__(self)
        object.__setattr__(self, "panels", tuple(tuple(panel) for panel in self.panels))
        check_least(1, min_tokens=self.min_tokens, max_tokens=self.max_tokens)
        check_fraction("panel_share", self.panel_share)
        if not 0 < self.smallest <= self.largest <= 0.5:
            raise ConfigError(
                "smallest and largest must lie above 0 and at most at 0.5, in this order; "
                f"not {self.smallest} and {self.largest}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Panels(View):
    """Two disjoint gene panels, the same for all cells of a batch on all ranks.

    Were they drawn for each cell, missing genes of one view would give away its partner.
    """

    smallest: float
    largest: float
    max_tokens: int
    random_cut: bool
    min_tokens: int
    panels: tuple[tuple[int, ...], ...]
    panel_share: float
    special_ids: tuple[int, ...]

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Tokens of the first panel of all cells, then those of the second."""
        special = is_special(batch.ids, self.special_ids)
        enough = torch.ones(len(batch), dtype=torch.bool, device=batch.ids.device)
        views = []
        for side, inside in enumerate(self._choose(batch.ids, draw)):
            inside = inside & ~special
            genes = torch.zeros_like(enough, dtype=torch.long).index_add(0, documents(batch), inside.long())
            enough &= genes >= self.min_tokens
            views.append(self._cut(take_tokens(batch, inside | special), draw, side))
        both = join(*views)
        return Prepared(batch=both, original=both, keys=draw.keys, extra={"usable": enough})

    def _choose(self, ids: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """``(t,)`` twice: whether each token's gene is in the first and the second panel."""
        seed = draw.shared("size")
        first, second = (
            self.smallest * (self.largest / self.smallest) ** uniform(seed, counter) for counter in (0, 1)
        )
        number = uniform(draw.shared("panel"), ids)
        # One number a gene decides for both panels, low ones for the first and high ones for the second.
        inside = number < first
        if self.panels and uniform(seed, 2) < self.panel_share:
            panel = self.panels[int(uniform(seed, 3) * len(self.panels))]
            inside = is_special(ids, panel)
        return inside, (number >= 1 - second) & ~inside

    def _cut(self, view: Batch, draw: Draw, side: int) -> Batch:
        if view.max_length <= self.max_tokens:
            return view
        if not self.random_cut:
            return take_tokens(view, view.positions < self.max_tokens)
        document = documents(view)
        # Both sides must not keep the same places; special tokens always stay.
        number = uniform(draw.seeds("keep")[document], 2 * view.positions + side)
        number = number.masked_fill(is_special(view.ids, self.special_ids), -1.0)
        wanted = torch.full_like(draw.keys, self.max_tokens)
        return take_tokens(view, lowest(view, number, wanted))


class PanelContrast(Contrast):
    """Two disjoint gene panels of one cell must find each other (scConcept).

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> config = CoreConfig(vocab_size=99, d_model=8, n_layers=1, n_heads=2, d_ff=8)
    >>> objective = PanelContrast(Metadata(core=config, special_ids=(0,)), PanelContrastSettings())
    >>> batch = Batch.from_padded(torch.arange(60).reshape(2, 30) + 1)
    >>> prepared = objective.prepare(batch, torch.arange(2), epoch=0, seed=0, number=4)
    >>> len(prepared.batch)
    4
    """

    Settings = PanelContrastSettings

    def __init__(self, metadata: Metadata, settings: PanelContrastSettings) -> None:
        super().__init__(metadata, settings)
        named = [gene for panel in settings.panels for gene in panel if isinstance(gene, str)]
        if named:
            raise ConfigError(f"panels name the gene {named[0]!r}, but here is no vocabulary; give token ids")

    @property
    def view(self) -> View:
        """Two panels."""
        s: PanelContrastSettings = self.settings
        panels = tuple(tuple(gene for gene in panel if isinstance(gene, int)) for panel in s.panels)
        return Panels(
            smallest=s.smallest,
            largest=s.largest,
            max_tokens=s.max_tokens,
            random_cut=s.random_cut,
            min_tokens=s.min_tokens,
            panels=panels,
            panel_share=s.panel_share,
            special_ids=self.metadata.special_ids,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoViewsSettings(ContrastSettings):
    """Settings of :class:`TwoViews`, beside those of every contrast.

    Parameters
    ----------
    keep
        Fraction of the tokens that each view keeps, special ones aside; (1, 1) leaves the difference to
        dropout (SimCSE, Concerto), (0.85, 1) is scTrans.
    segments
        The views are the tokens of segment 0 and of segment 1: pairs that belong together, such as
        paraphrases. Where the first token of a pair is special (cls), both views begin with it.
    """

    within: bool = True
    keep: tuple[float, float] = (1.0, 1.0)
    segments: bool = False

    def __post_init__(self) -> None:
        ContrastSettings.__post_init__(self)
        object.__setattr__(self, "keep", tuple(self.keep))
        for fraction in self.keep:
            check_fraction("keep", fraction)
            if not fraction:
                raise ConfigError("keep must be two fractions above 0: a view without tokens says nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Twice(View):
    """Every example twice, each time without some of its tokens."""

    keep: tuple[float, float]
    special_ids: tuple[int, ...]

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """All first views, then all second ones."""
        stays = is_special(batch.ids, self.special_ids)
        seeds, document = draw.seeds("keep"), documents(batch)
        views = []
        for side, fraction in enumerate(self.keep):
            number = uniform(seeds[document], 2 * batch.positions + side)
            views.append(batch if fraction == 1 else take_tokens(batch, stays | (number < fraction)))
        both = join(*views)
        return Prepared(batch=both, original=both, keys=draw.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves(View):
    """Tokens of segment 0, and of segment 1, each as an example."""

    special_ids: tuple[int, ...]

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """All first halves, then all second ones."""
        if batch.segments is None:
            raise InputError("pairs need tokens with segments 0 and 1; join the two texts of each pair")
        special = is_special(batch.ids, self.special_ids)
        begins = special & (batch.positions == 0)
        usable = torch.ones(len(batch), dtype=torch.bool, device=batch.ids.device)
        halves = []
        for number in (0, 1):
            inside = batch.segments == number
            text = torch.zeros_like(usable, dtype=torch.long).index_add(
                0, documents(batch), (inside & ~special).long()
            )
            usable &= text > 0
            half = take_tokens(batch, inside | begins)
            # A text alone is segment 0, as when it is embedded later.
            halves.append(replace(half, segments=torch.zeros_like(half.ids)))
        both = join(*halves)
        return Prepared(batch=both, original=both, keys=draw.keys, extra={"usable": usable})


class TwoViews(Contrast):
    """Two views of each example find each other among all views (NT-Xent, SimCSE)."""

    Settings = TwoViewsSettings

    def __init__(self, metadata: Metadata, settings: TwoViewsSettings) -> None:
        super().__init__(metadata, settings)
        core = metadata.core
        self.keeps_dropout = not settings.segments and settings.keep == (1.0, 1.0)
        if self.keeps_dropout and not core.dropout_embed + core.dropout_attention + core.dropout_residual:
            raise ConfigError(
                "both views of two_views would be the same; set keep, such as [0.85, 1], or a dropout of "
                "model.core"
            )

    @property
    def reads_pairs(self) -> bool:
        """With ``segments``."""
        return bool(self.settings.segments)

    @property
    def view(self) -> View:
        """The example twice, or its two segments."""
        s: TwoViewsSettings = self.settings
        special_ids = self.metadata.special_ids
        return Halves(special_ids=special_ids) if s.segments else Twice(keep=s.keep, special_ids=special_ids)
