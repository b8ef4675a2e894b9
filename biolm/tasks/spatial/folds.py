"""Everything that a fold fits before training, on its training sections alone.

Dimensions: ``n`` spots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.spatial.genes import GenePanel, choose_targets, standardised
from biolm.adapters.spatial.graph import within_radius
from biolm.adapters.spatial.niche import niche_composition
from biolm.errors import InputError
from biolm.models.systems.gene_image import GeneImageConfig
from biolm.tasks.spatial.prepared import Prepared
from biolm.tasks.spatial.settings import ModelSettings
from biolm.training.spatial.arrays import SpotArrays, join_arrays, nonzero_medians, section_arrays

__all__ = ["FoldArrays", "FoldSections", "fold_arrays"]


class FoldSections(NamedTuple):
    """Sections of one fold."""

    name: str
    train: Sequence[Prepared]
    inner: Sequence[Prepared]
    test: Sequence[Prepared]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldArrays:
    """Arrays of one fold.

    Parameters
    ----------
    panel, medians, config
        Fitted on training and inner sections.
    train, inner
        Joined spots of each role.
    test
        Each section that is held out.
    train_xy, train_depth
        ``(n, 2)`` and ``(n,)``, standardised within each section, of training and inner spots.
    test_xy, test_depth
        Likewise, of each section that is held out.
    """

    panel: GenePanel
    medians: NDArray[np.float64] | None
    config: GeneImageConfig
    train: SpotArrays
    inner: SpotArrays
    test: list[SpotArrays]
    train_xy: NDArray[np.float64]
    train_depth: NDArray[np.float64]
    test_xy: list[NDArray[np.float64]]
    test_depth: list[NDArray[np.float64]]


def fold_arrays(fold: FoldSections, settings: ModelSettings) -> FoldArrays:
    """Choose genes and components on the training and inner sections, and make the arrays of all sides.

    Parameters
    ----------
    fold
        Sections of each side.
    settings
        Genes and shape of the model.
    """
    # Genes chosen with a look at the test section would already know where it varies.
    known = [*fold.train, *fold.inner]
    panel = choose_targets(
        [section.counts for section in known],
        [section.genes for section in known],
        settings.targets,
        tokens=settings.tokens,
    )
    contexts = [panel.context_counts(section.counts, section.genes) for section in known]
    # After the choice of targets: components are of the other genes, or they would give the answer away.
    panel = panel.fit_components(contexts, settings.components)
    medians = nonzero_medians(contexts, panel) if settings.gene_tokens == "rank" else None

    kinds = _kinds(known, settings.niche) if settings.niche else np.empty(0, np.str_)

    def arrays(section: Prepared, number: int) -> SpotArrays:
        built = section_arrays(
            section,
            panel,
            kind=settings.gene_tokens,
            medians=medians,
            neighbours=settings.neighbours,
            number=number,
        )
        niche = _niche(section, settings, kinds) if settings.niche else None
        return replace(built, niche=niche)

    built = [arrays(section, place) for place, section in enumerate([*known, *fold.test])]
    assert panel.components is not None
    image = built[0].image
    config = GeneImageConfig(
        n_genes=int(panel.tokens.sum()),
        targets=len(panel.targets),
        components=len(panel.components),
        image_tokens=image.shape[1],
        image_width=image.shape[2],
        niches=len(kinds),
        gene_tokens=settings.gene_tokens,
        width=settings.width,
        layers=settings.layers,
        heads=settings.heads,
        dropout=settings.dropout,
    )
    # Baselines need no early stopping, so they learn from the inner sections too.
    first, last = len(fold.train), len(known)
    return FoldArrays(
        panel=panel,
        medians=medians,
        config=config,
        train=join_arrays(built[:first]),
        inner=join_arrays(built[first:last]),
        test=built[last:],
        train_xy=np.concatenate([standardised(section.xy) for section in known]),
        train_depth=np.concatenate([_depth(section, panel) for section in known]),
        test_xy=[standardised(section.xy) for section in fold.test],
        test_depth=[_depth(section, panel) for section in fold.test],
    )


def _kinds(sections: Sequence[Prepared], column: str) -> NDArray[np.str_]:
    """Kinds that training sections name."""
    known: set[str] = set()
    for section in sections:
        if column not in section.columns:
            raise InputError(f"{section.name} has no column {column!r} but {', '.join(section.columns)}")
        known |= set(section.columns[column].astype(str).tolist())
    # A missing category of pandas reads as the text nan.
    kinds = sorted(known - {"", "nan"})
    if len(kinds) < 2:
        raise InputError(f"column {column!r} names fewer than two kinds, so there are no niches to predict")
    return np.array(kinds, np.str_)


def _niche(section: Prepared, settings: ModelSettings, kinds: NDArray[np.str_]) -> NDArray[np.float32]:
    """``(n, k)`` composition of the surroundings in the training sections' kinds; NaN where unknown."""
    scale = section.record.get("microns_per_pixel")
    if scale is None:
        raise InputError(f"{section.name} states no scale, so a radius in micrometres means nothing")
    around = within_radius(section.xy, settings.niche_um / float(scale))
    table, names = niche_composition(section.columns[str(settings.niche)].astype(str), around)
    out = np.zeros((len(section), len(kinds)))
    for place, name in enumerate(names.tolist()):
        if name in kinds:
            out[:, kinds.tolist().index(name)] = table[:, place]
    # Surroundings of kinds that no training section names cannot be predicted, so they are not scored.
    out[np.isnan(table).any(1) | (out.sum(1) == 0)] = np.nan
    return out.astype(np.float32)


def _depth(section: Prepared, panel: GenePanel) -> NDArray[np.float64]:
    """``(n,)`` log library size of the context genes."""
    total = np.asarray(panel.context_counts(section.counts, section.genes).sum(1)).ravel()
    return standardised(np.log1p(total)[:, None])[:, 0]
