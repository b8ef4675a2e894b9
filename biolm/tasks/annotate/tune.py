"""Annotators that train the model itself: its head alone, low-rank updates, or all of it.

Dimensions: ``n`` cells · ``c`` classes of one label · ``w`` classes of all labels together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.jobs.cells import CellEmbedding
from biolm.models.model import CellModel, EmbedOptions
from biolm.scoring.splits import Split, holdout
from biolm.tasks.annotate.calibrate import probabilities, temperature_of, threshold_of
from biolm.tasks.annotate.distance import Distance, fit_space
from biolm.tasks.annotate.expression import log_normalised
from biolm.tasks.annotate.frozen import Frozen, fit_novelty
from biolm.tasks.annotate.labelled import Labelled, Labels
from biolm.tasks.annotate.linear import UNSEEN, LinearMap
from biolm.tasks.annotate.novelty import doubt_of
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import TRAINED, FitSettings
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from biolm.core import Transformer
    from biolm.models.heads import Heads
    from biolm.models.token_model import TokenCellModel
    from biolm.training.fine_tune import FineTuned

__all__ = ["TRAINED", "TunedModel", "gene_points", "read_tokens", "run_settings", "token_model", "train"]

# Fraction of the training cells (batches) that stops the training and calibrates.
_VALIDATION = 0.15
_RATES = {"head": 3e-3, "lora": 5e-4, "full": 1e-4}
_BATCH_TOKENS = 8192


@dataclass(frozen=True, eq=False)
class TunedModel(CellModel):
    """A trained model whose vectors are the logits of its heads, one label after the other.

    Parameters
    ----------
    base
        Tokenises.
    core, heads
        With their trained weights.
    labels
        Label columns in the order of the logits.
    tuned
        What wrote the folder; None for a model that was read from one.
    """

    base: TokenCellModel
    core: Transformer
    heads: Heads
    labels: tuple[str, ...]
    tuned: FineTuned | None = None
    pools: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Any, labels: Sequence[str]) -> TunedModel:
        """The model of a saved annotator.

        Parameters
        ----------
        model
            As its folder was loaded.
        labels
            Label columns in the order of the logits.

        Raises
        ------
        CheckpointError
            If it has no heads.
        """
        if getattr(model, "heads", None) is None:
            raise CheckpointError(f"{model.name} holds no trained heads; fit the annotator again")
        return cls(model, model.core, model.heads, tuple(labels))

    @property
    def name(self) -> str:  # type: ignore[override]  # the model it was made of says it
        """The name of the model it was made of."""
        return self.base.name

    @property
    def vocabulary(self) -> Any:  # type: ignore[override]
        """The genes it knows."""
        return self.base.vocabulary

    @property
    def wants_counts(self) -> bool:  # type: ignore[override]
        """Whether it was defined on raw counts."""
        return self.base.wants_counts

    @property
    def block_rows(self) -> int:  # type: ignore[override]
        """Cells of one call."""
        return self.base.block_rows

    @property
    def width(self) -> int:  # type: ignore[override]
        """``w``."""
        return sum(len(self.heads.classes[label]) for label in self.labels)

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        """Logits ``(n, w)`` of a block of cells; zeros for cells without a token."""
        return self.logits(
            self.base.tokenize(block, match, seed=options.seed), options.batch_tokens, options.device
        )

    def logits(self, tokens: Tokens, batch_tokens: int, device: str) -> NDArray[np.float32]:
        """Logits ``(n, w)`` of tokens."""
        logits = self.heads.predict(self.core, tokens, batch_tokens=batch_tokens, device=device)
        return np.asarray(np.nan_to_num(np.concatenate([logits[label] for label in self.labels], axis=1)))

    def describe(self) -> dict[str, Any]:
        """What the model it was made of says."""
        return self.base.describe()


def token_model(model: CellModel) -> TokenCellModel:
    """The model, if it can be trained.

    Raises
    ------
    ConfigError
        If it reads no tokens.
    """
    from biolm.models.token_model import TokenCellModel

    if not isinstance(model, TokenCellModel):
        raise ConfigError(
            f"model {model.name} has no layers to train; use linear or knn, or a model of tokens such as "
            "geneformer, scgpt or your own"
        )
    return model


def read_tokens(job: CellEmbedding) -> Tokens:
    """Tokens of every cell of a job, in memory."""
    parts = [job.model.tokenize(block, job.match, seed=job.settings.seed) for block in job.source.blocks()]
    lengths = np.concatenate([part.lengths for part in parts])
    columns = {
        name: None
        if getattr(parts[0], name) is None
        else np.concatenate([getattr(part, name) for part in parts])
        for name in ("values", "segments")
    }
    return Tokens(
        ids=np.concatenate([part.ids for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        index=np.arange(len(lengths)),
        **columns,
    )


def train(
    model: TokenCellModel,
    tokens: Tokens,
    cells: Labelled,
    rows: NDArray[np.int64],
    settings: FitSettings,
) -> tuple[TunedModel, list[Frozen]]:
    """Train on the cells ``rows``, a part of which stops the training and calibrates.

    Parameters
    ----------
    tokens, cells
        Of all ``n`` cells.

    Returns
    -------
    The trained model, and a calibrated classifier for each label.
    """
    from biolm.training.fine_tune import fine_tune

    split = _validation(cells, rows, settings)
    held = np.isin(rows, split.test)
    labels = {column.name: _names(column)[rows] for column in cells.labels}
    tuned = fine_tune(
        model,
        tokens.take(rows),
        labels,
        objectives={name: _objective(name, model, settings) for name in labels},
        settings=run_settings(len(rows) - held.sum(), tokens, settings),
        held_out=held,
    )
    tuned_model = TunedModel(model, tuned.core, tuned.heads, tuple(labels), tuned)
    logits = tuned_model.logits(tokens.take(split.test), _BATCH_TOKENS, settings.device)
    return tuned_model, [
        _calibrated(tuned_model, column, split, logits, cells, settings) for column in cells.labels
    ]


def _names(column: Labels) -> NDArray[np.object_]:
    return np.asarray(np.array(column.classes, dtype=object)[column.codes])


def _validation(cells: Labelled, rows: NDArray[np.int64], settings: FitSettings) -> Split:
    """Training cells apart from those that stop the training; batches stay whole where there are enough."""
    groups = None if cells.batches is None else cells.batches[rows]
    if groups is not None and len(np.unique(groups)) < 2:
        groups = None
    names = cells.labels[0].codes[rows].astype(str)
    split = holdout(names, share=_VALIDATION, groups=groups, copies=cells.copies[rows], seed=settings.seed)
    return Split(rows[split.train], rows[split.test])


def _objective(name: str, model: TokenCellModel, settings: FitSettings) -> dict[str, Any]:
    pool = settings.pool or model.pools[0].removesuffix("_l2")
    return {"objective": "classify", "column": name, "pool": pool, "class_weights": "balanced"}


def run_settings(cells: int, tokens: Tokens, settings: FitSettings) -> dict[str, Any]:
    """Settings of the run: validated about once an epoch, stopped when that gets no better.

    Parameters
    ----------
    cells
        How many there are to train on.
    tokens
        Of them.
    settings
        Choices of the job.
    """
    chosen: dict[str, Any] = {"head": {"freeze": "all"}, "lora": {"lora": {"rank": 8}}, "full": {}}
    budget = min(settings.batch_tokens, _BATCH_TOKENS)
    steps = max(1, int(tokens.lengths.mean() * cells / budget))
    return {
        "model": chosen[settings.method],
        "optimiser": {"lr": settings.rate or _RATES[settings.method]},
        "data": {"batch_tokens": budget},
        "trainer": {
            "max_epochs": settings.epochs,
            "patience": 3,
            "validate_every": steps,
            "accelerator": {"cuda": "gpu"}.get(settings.device.partition(":")[0], settings.device),
        },
        "seed": settings.seed,
    }


def _calibrated(
    model: TunedModel,
    column: Labels,
    split: Split,
    logits: NDArray[np.float32],
    cells: Labelled,
    settings: FitSettings,
) -> Frozen:
    """The part of the logits that belongs to one label, calibrated on cells that stopped the training.

    Novel cells are found by their genes: logits of a model that was trained to know classes lose the rest.
    """
    scorer = _picked(model, column, cells.counts.shape[1])
    own = scorer.logits(logits, None)
    temperature = temperature_of(own, column.codes[split.test])
    confidence = probabilities(own, temperature).max(1)
    distance, novelty = None, None
    threshold = threshold_of(confidence, settings.reject / 2)
    if settings.reject:
        points = gene_points(cells, column)
        learned, held = points.take(split.train), points.take(split.test)
        space = fit_space(learned, "genes", settings.seed)
        far = space.distances(held.vectors, held.table)[:, None]
        distance = Distance.limited([space], far, settings.reject / 2)
        near = None
        if learned.factors is not None:
            near = fit_space(learned, "factors", settings.seed).distances(held.factors, None)
        known = np.isin(held.codes, learned.codes)
        doubt = doubt_of(confidence, threshold, distance.over_limits(far))
        novelty = fit_novelty(learned, held, known, doubt, near, settings)
    return Frozen(scorer, (settings.method,), temperature, threshold, distance, novelty)


def gene_points(cells: Labelled, column: Labels) -> Points:
    """Genes and classes of the cells, for distances; there are no vectors.

    Parameters
    ----------
    cells
        With counts and labels.
    column
        To learn.
    """
    table = log_normalised(cells.counts)
    classes = len(column.classes)
    return Points(cells.vectors, table, column.codes, classes, cells.batches, cells.copies, cells.factors)


def _picked(model: TunedModel, column: Labels, genes: int) -> LinearMap:
    """A map that picks one label's logits out of all, classes that were never seen far below."""
    weights = np.zeros((model.width, len(column.classes)), np.float32)
    bias = np.full(len(column.classes), UNSEEN, np.float32)
    start = 0
    for label in model.labels:
        names = model.heads.classes[label]
        if label == column.name:
            places = [column.classes.index(name) for name in names]
            weights[np.arange(start, start + len(names)), places] = 1
            bias[places] = 0
        start += len(names)
    return LinearMap(weights, np.zeros((genes, len(column.classes)), np.float32), bias)
