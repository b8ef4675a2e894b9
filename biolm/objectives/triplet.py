"""Triplets of cells (SCimilarity): closer to its own type in another study than to any other type.

Dimensions: ``n`` cells of this rank · ``m`` of all ranks · ``p`` pairs of anchor and positive · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.batch import Output
from biolm.core import Transformer
from biolm.errors import ConfigError
from biolm.objectives.base import LabelKind, Metadata, Objective, Prepared, Score, Settings, Sum
from biolm.objectives.classify import IGNORED
from biolm.objectives.draws import hash_bits, uniform
from biolm.objectives.gather import Gathered, gather_rows
from biolm.settings import check_least

__all__ = ["Cells", "Triplet", "TripletSettings", "choose_triplets"]

_EXACT = "donot_use_mm_for_euclid_dist"  # the fast way cancels digits of near pairs
_LARGEST_TABLE = 1 << 22  # pairs times cells looked at in one go


@dataclass(frozen=True, slots=True, kw_only=True)
class TripletSettings(Settings):
    """Settings of :class:`Triplet`.

    Parameters
    ----------
    column
        Label column of the cell type; -100 takes no part.
    study
        Label column of the study: anchor and positive then come from different ones, and neither is of an
        unknown one (-100). None for any.
    margin
        By which a negative must be further away than the positive.
    negatives
        ``semihard``: a random one that is further away than the positive, but by less than the margin;
        ``hardest``: the nearest. By squared distances.
    related
        Pairs of classes, by name or number, that are no negatives of each other, such as a cell type and its
        subtype.
    pool
        How a cell's vector is made of its tokens.
    """

    column: str = "cell_type"
    study: str | None = "study"
    margin: float = 0.05
    negatives: str = "semihard"
    related: tuple[tuple[int | str, int | str], ...] = ()
    pool: str = "cls"

    def __post_init__(self) -> None:
        object.__setattr__(self, "related", tuple(tuple(pair) for pair in self.related))
        check_least(0, margin=self.margin)
        if self.negatives not in ("semihard", "hardest"):
            raise ConfigError(f"negatives must be semihard or hardest, not {self.negatives!r}")


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells to choose triplets of.

    Parameters
    ----------
    vectors
        ``(m, d)`` of length 1.
    labels, studies
        ``(m,)``; studies may be None.
    seeds
        ``(m,)`` of the draws.
    """

    vectors: Tensor
    labels: Tensor
    studies: Tensor | None
    seeds: Tensor


@torch.no_grad()
def choose_triplets(
    cells: Cells, settings: TripletSettings, anchors: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Anchor, positive and negative of each triplet, as places.

    Parameters
    ----------
    cells
        Of all ranks.
    settings
        Margin and how negatives are chosen.
    anchors
        First place and one past the last of cells that may be anchors; all by default.
    """
    labels = cells.labels
    start, end = anchors or (0, len(labels))
    distance = torch.cdist(cells.vectors, cells.vectors, compute_mode=_EXACT).square()  # (m, m)
    same = labels[:, None] == labels
    known = labels != IGNORED
    related = _related(labels, [(int(a), int(b)) for a, b in settings.related]) | same
    pair = same & known[:, None] & known
    if cells.studies is not None:
        has_study = cells.studies != IGNORED
        pair &= (cells.studies[:, None] != cells.studies) & has_study[:, None] & has_study
    # Each pair once, the earlier cell as its anchor.
    first, second = pair.triu(1)[start:end].nonzero().unbind(1)
    first = first + start
    chosen = []
    for a, p in _pieces(first, second, len(labels)):
        negative = known & ~related[a]  # (p, m)
        loss = distance[a, p][:, None] - distance[a] + settings.margin
        if settings.negatives == "hardest":
            score = loss.masked_fill(~(negative & (loss > 0)), -torch.inf)
        else:
            number = uniform(hash_bits(cells.seeds[a], cells.seeds[p])[:, None], cells.seeds)
            score = number.masked_fill(~(negative & (loss > 0) & (loss < settings.margin)), -torch.inf)
        best, negative = score.max(1)
        usable = best > -torch.inf
        chosen.append(torch.stack((a[usable], p[usable], negative[usable])))
    triplets = torch.cat(chosen, 1) if chosen else first.new_zeros((3, 0))
    return triplets[0], triplets[1], triplets[2]


def _related(labels: Tensor, related: Iterable[tuple[int, int]]) -> Tensor:
    """``(m, m)`` whether the classes of two cells are listed as related."""
    same = torch.zeros((len(labels), len(labels)), dtype=torch.bool, device=labels.device)
    for one, other in related:
        same |= (labels == one)[:, None] & (labels == other)
        same |= (labels == other)[:, None] & (labels == one)
    return same


def _pieces(first: Tensor, second: Tensor, cells: int) -> Iterator[tuple[Tensor, Tensor]]:
    if len(first):
        step = max(_LARGEST_TABLE // cells, 1)
        yield from zip(torch.split(first, step), torch.split(second, step), strict=True)


class Triplet(Objective):
    """Margin loss of triplets of cells, on vectors of length 1, mean over the triplets.

    After Schroff et al. (2015).
    """

    Settings = TripletSettings

    def __init__(self, metadata: Metadata, settings: TripletSettings) -> None:
        super().__init__(metadata, settings)
        for name in (name for pair in settings.related for name in pair if isinstance(name, str)):
            raise ConfigError(f"related names the class {name!r}, but here are no names; give class numbers")

    @classmethod
    def label_kinds(cls, settings: TripletSettings) -> dict[str, LabelKind]:
        """Cell type and study."""
        columns = (settings.column,) if settings.study is None else (settings.column, settings.study)
        return dict.fromkeys(columns, "classes")

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss, and the fraction of triplets that are in order."""
        s: TripletSettings = self.settings
        own = F.normalize(self.vectors(output, prepared, s.pool).float(), dim=1)
        gather = gather_rows if self.training else Gathered
        everyone = gather(own)
        labels = prepared.example_label(s.column)
        cells = Cells(
            everyone.rows,
            gather(labels if prepared.real else torch.full_like(labels, IGNORED)).rows,
            None if s.study is None else gather(prepared.example_label(s.study)).rows,
            gather(prepared.document_seeds).rows,
        )
        places = choose_triplets(cells, s, (everyone.start, everyone.start + len(own)))
        anchor, positive, negative = (cells.vectors[place] for place in places)
        losses = F.triplet_margin_loss(anchor, positive, negative, margin=s.margin, reduction="none")
        ordered = ((anchor - positive).norm(dim=1) < (anchor - negative).norm(dim=1)).detach().float()
        return Score({"loss": Sum.of(losses)}, metrics={"ordered": Sum.of(ordered)})
