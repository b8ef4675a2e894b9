"""Sections as arrays that a gene-image model is trained on; standardised within each section, without labels.

Dimensions: ``n`` spots · ``c`` components · ``k`` neighbours · ``i`` image tokens · ``f`` numbers of an image
token · ``g`` predicted genes · ``b`` spots of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import BinTokenizer, ContinuousTokenizer, RankTokenizer
from biolm.adapters.cells.zeros import add_zeros
from biolm.adapters.spatial.context import ContextVocabulary
from biolm.adapters.spatial.genes import GenePanel, normalised_targets, raw_log_targets, standardised
from biolm.adapters.spatial.graph import nearest
from biolm.batch import Tokens
from biolm.io.cells.block import CellBlock
from biolm.vocab.genes import GeneVocabulary

if TYPE_CHECKING:
    from biolm.models.systems.gene_image import SpotBatch

__all__ = ["SpotArrays", "gene_tokens", "join_arrays", "nonzero_medians", "section_arrays"]

SURROUNDINGS = 8
"""Neighbours whose mean is the second image token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotArrays:
    """Spots of one or several sections, ready for the model.

    Parameters
    ----------
    tokens, scores, neighbours, places, known, context, image, has_image
        As in :class:`~biolm.models.systems.gene_image.SpotBatch`, for all spots.
    expression, raw
        ``(n, g)`` targets, standardised within the section; None where they are not known.
    section
        ``(n,)`` number of the section.
    niche
        ``(n, m)`` composition of the neighbours, NaN where unknown; None for none.
    """

    tokens: Tokens
    scores: NDArray[np.float32]
    neighbours: NDArray[np.float32]
    places: NDArray[np.float32]
    known: NDArray[np.bool_]
    context: NDArray[np.int64]
    image: NDArray[np.float32]
    has_image: NDArray[np.bool_]
    section: NDArray[np.int64]
    expression: NDArray[np.float32] | None = None
    raw: NDArray[np.float32] | None = None
    niche: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def batch(self, rows: NDArray[np.int64], *, image_of: NDArray[np.int64] | None = None) -> SpotBatch:
        """Some spots; ``image_of`` gives them the images of other spots.

        Parameters
        ----------
        rows
            ``(b,)`` spots.
        image_of
            ``(b,)`` spots whose images they get; None for their own.
        """
        import torch

        from biolm.models.systems.gene_image import SpotBatch

        tokens = self.tokens.take(rows)
        looks = rows if image_of is None else image_of
        values = np.zeros(len(tokens.ids), np.float32) if tokens.values is None else tokens.values
        return SpotBatch(
            ids=torch.from_numpy(tokens.ids.astype(np.int64)),
            values=torch.from_numpy(values.astype(np.float32)),
            offsets=torch.from_numpy(tokens.offsets.astype(np.int32)),
            scores=torch.from_numpy(self.scores[rows]),
            neighbours=torch.from_numpy(self.neighbours[rows]),
            places=torch.from_numpy(self.places[rows]),
            known=torch.from_numpy(self.known[rows]),
            context=torch.from_numpy(self.context[rows]),
            image=torch.from_numpy(self.image[looks]),
            has_genes=torch.ones(len(rows), dtype=torch.bool),
            has_image=torch.from_numpy(self.has_image[looks]),
        )

    def shuffled(self, seed: int) -> SpotArrays:
        """The same inputs with the targets of other spots of their section: what chance gives."""
        order = other_spots(self.section, seed)
        assert self.expression is not None
        assert self.raw is not None
        return replace(self, expression=self.expression[order], raw=self.raw[order])


def other_spots(section: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """``(n,)`` for each spot another one of its section, a random permutation without a fixed point."""
    rng = np.random.default_rng(seed)
    out = np.arange(len(section))
    for number in np.unique(section):
        rows = np.flatnonzero(section == number)
        mixed = rng.permutation(rows)
        # Each spot gets the next one of a random round, so never itself where there are two or more.
        out[mixed] = np.roll(mixed, 1)
    return out


def section_arrays(
    section: Any,
    panel: GenePanel,
    *,
    kind: str = "continuous",
    n_bins: int = 51,
    medians: NDArray[np.float64] | None = None,
    neighbours: int = 6,
    targets: bool = True,
    number: int = 0,
    image_shape: tuple[int, int] | None = None,
) -> SpotArrays:
    """Arrays of a prepared section.

    Parameters
    ----------
    section
        A prepared section: ``counts``, ``genes``, ``xy``, ``image`` and ``record``.
    panel
        Targets and context genes, with components.
    kind, n_bins, medians
        How genes become tokens, see :func:`gene_tokens`.
    neighbours
        ``k``.
    targets
        Whether the section has the targets' counts and they are wanted.
    number
        Of the section.
    image_shape
        ``(i, f)`` that the model wants, for a section without an image.
    """
    context = panel.context_counts(section.counts, section.genes)
    scores = standardised(panel.scores(context))
    around = nearest(section.xy, neighbours)
    table = around.table(neighbours)
    known = table >= 0
    # In steps of the grid, so that pixels, micrometres and array types compare.
    step = max(float(np.median(nearest(section.xy, 1).distance)), 1e-9) if len(section.xy) > 1 else 1.0
    places = np.where(known[..., None], section.xy[table] - section.xy[:, None], 0.0) / step
    words = ContextVocabulary().ids(
        species=str(section.record.get("species") or ""), assay=str(section.record.get("assay") or "")
    )
    image, has_image = _image(section, image_shape)
    expression = raw = None
    if targets:
        wanted = panel.target_counts(section.counts, section.genes)
        expression = standardised(normalised_targets(section.counts, wanted)).astype(np.float32)
        raw = standardised(raw_log_targets(wanted)).astype(np.float32)
    n = len(section.xy)
    return SpotArrays(
        tokens=gene_tokens(context, panel, kind=kind, n_bins=n_bins, medians=medians),
        scores=scores.astype(np.float32),
        neighbours=np.where(known[..., None], scores[table], 0.0).astype(np.float32),
        places=places.astype(np.float32),
        known=known,
        context=np.tile(words, (n, 1)),
        image=image,
        has_image=has_image,
        section=np.full(n, number, np.int64),
        expression=expression,
        raw=raw,
    )


def gene_tokens(
    context: Any,
    panel: GenePanel,
    *,
    kind: str = "continuous",
    n_bins: int = 51,
    medians: NDArray[np.float64] | None = None,
) -> Tokens:
    """Tokens of the context genes by a cell adapter, numbered as the panel's token genes.

    Parameters
    ----------
    context
        ``(n, c)`` counts; totals run over all of them.
    panel
        Which of them have tokens.
    kind
        ``continuous``, ``bins`` or ``rank``.
    n_bins
        Bins, or most genes of a ranked spot.
    medians
        Of the token genes, for ``rank``; see :func:`nonzero_medians`.
    """
    count = int(panel.tokens.sum())
    target = np.where(panel.tokens, np.cumsum(panel.tokens) - 1, -1).astype(np.int32)
    block = CellBlock(
        0, context.data, context.indices.astype(np.int32), context.indptr.astype(np.int64), context.shape[1]
    )
    genes = [f"gene {number}" for number in range(len(target))]
    matched = GeneVocabulary.of(genes, kind="symbol", species=()).match({"index": np.array(genes)})
    match = replace(matched, target=target)
    ids = np.arange(count, dtype=np.int32)
    if kind != "rank":
        # The draw among equal edges is fixed, so that it does not depend on where a spot stands in the file.
        adapter = (
            BinTokenizer(token_ids=ids, n_bins=n_bins, max_length=None, draw=0.5)
            if kind == "bins"
            else ContinuousTokenizer(token_ids=ids)
        )
        return _sorted(add_zeros(adapter(block, match), block, target, count, seed=0, epoch=0))
    tokens = RankTokenizer(
        token_ids=ids, medians=np.ones(count) if medians is None else medians, max_length=n_bins
    )(block, match)
    ranks = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
    return replace(tokens, values=ranks.astype(np.float32))


def _sorted(tokens: Tokens) -> Tokens:
    """The tokens of every spot in ascending order."""
    assert tokens.values is not None
    order = np.lexsort((tokens.ids, np.repeat(np.arange(len(tokens)), tokens.lengths)))
    return replace(tokens, ids=tokens.ids[order], values=tokens.values[order])


def nonzero_medians(contexts: Sequence[Any], panel: GenePanel) -> NDArray[np.float64]:
    """Median of each token gene's non-zero counts per 10,000 over training sections; 1 where it has none.

    Parameters
    ----------
    contexts
        ``(n, c)`` counts of each section.
    panel
        Which genes have a token.
    """
    columns = np.flatnonzero(panel.tokens)
    parts = []
    for context in contexts:
        total = np.asarray(context.sum(1)).ravel()
        parts.append(context[:, columns].toarray() / np.maximum(total, 1)[:, None] * 1e4)
    table = np.concatenate(parts)
    medians = np.ones(len(columns))
    for place in range(len(columns)):
        values = table[table[:, place] > 0, place]
        if len(values):
            medians[place] = np.median(values)
    return medians


def join_arrays(parts: Sequence[SpotArrays]) -> SpotArrays:
    """Several sections one after another."""
    lengths = [len(part.tokens.ids) for part in parts]
    starts = np.cumsum([0, *lengths[:-1]])
    offsets = [part.tokens.offsets[1:] + start for part, start in zip(parts, starts, strict=True)]
    values = [part.tokens.values for part in parts]
    tokens = Tokens(
        ids=np.concatenate([part.tokens.ids for part in parts]),
        offsets=np.concatenate([np.zeros(1, np.int64), *offsets]),
        index=np.arange(sum(map(len, parts))),
        values=None if values[0] is None else np.concatenate([v for v in values if v is not None]),
    )
    names = ("scores", "neighbours", "places", "known", "context", "image", "has_image", "section")
    optional = ("expression", "raw", "niche")
    joined: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    for name in optional:
        columns = [getattr(part, name) for part in parts]
        joined[name] = None if any(column is None for column in columns) else np.concatenate(columns)
    return SpotArrays(tokens=tokens, **joined)


def _image(section: Any, shape: tuple[int, int] | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The patch, the mean of the neighbours' patches, and the parts; standardised within the section."""
    n = len(section.xy)
    if section.image is None:
        tokens, width = shape or (2, 1)
        return np.zeros((n, tokens, width), np.float32), np.zeros(n, bool)
    has = np.isfinite(section.image).all((1, 2))
    kept = section.image[has].astype(np.float64)
    mean, sd = (kept.mean(0), kept.std(0)) if len(kept) else (0.0, 1.0)
    # Within the section: stains and scanners differ more between sections than tissue does.
    whole = np.where(has[:, None, None], (section.image - mean) / np.where(sd > 1e-9, sd, 1.0), 0.0)
    around = np.zeros_like(whole[:, :1])
    if has.sum() > 1:
        places = np.flatnonzero(has)
        around[has] = nearest(section.xy[has], SURROUNDINGS).mean(whole[places, :1])
    out = np.concatenate((whole[:, :1], around, whole[:, 1:]), 1)
    return np.nan_to_num(out).astype(np.float32), has
