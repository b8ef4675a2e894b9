"""Annotation by the vectors of rows, for every kind of data that is written as a table of them.

Dimensions: ``n`` rows · ``d`` width of the model's vectors · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.errors import ConfigError
from biolm.io.anndata.result import STORES
from biolm.io.provenance import plain
from biolm.jobs.modality import Modality
from biolm.jobs.precision import settled
from biolm.scoring.splits import Split, holdout
from biolm.tasks.annotate.annotator import Annotator, Head
from biolm.tasks.annotate.calls import keys, rolled
from biolm.tasks.annotate.frozen import Frozen
from biolm.tasks.annotate.labelled import Labelled, Labels, Wanted, batches_in, chosen_rows, read_labels
from biolm.tasks.annotate.naming import RowPrediction, store_format
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.score import Row, baseline_rows, novelty_test, shown, unknown_test
from biolm.tasks.annotate.settings import TRAINED, FitSettings, PredictSettings
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from biolm.tasks.annotate.factor_space import FactorSpace
    from biolm.training.linear_start import Inputs, Vectors

__all__ = ["RowKind", "RowTraining", "names_in"]


@dataclass(frozen=True, kw_only=True)
class RowTraining:
    """Labelled rows of a table.

    Parameters
    ----------
    job
        Rows and model.
    labelled
        The labelled rows.
    settings
        The user's choices.
    unit
        What a row is.
    """

    job: Any
    labelled: Labelled
    settings: FitSettings
    unit: str
    compared: ClassVar[tuple[str, ...]] = ("majority class",)
    distances: ClassVar[bool] = True

    @property
    def parts(self) -> Sequence[str]:
        """Nothing but the vectors is known of a row."""
        return ("embedding",)

    @property
    def columns(self) -> Sequence[Labels]:
        """What is learned."""
        return self.labelled.labels

    @property
    def table(self) -> Any:
        """Sparse ``(n, m)``: what is read beside the vectors."""
        return self.labelled.counts

    def points(self, column: Labels) -> Points:
        """What a frozen method learns a column from."""
        labelled, classes = self.labelled, len(column.classes)
        return Points(
            labelled.vectors,
            self.table,
            column.codes,
            classes,
            labelled.batches,
            labelled.copies,
            labelled.factors,
        )

    def split(self, column: Labels) -> Split:
        """Rows to learn from and to measure on; batches and copies stay whole."""
        labelled, names = self.labelled, column.codes.astype(str)
        return holdout(
            names,
            share=self.settings.test_share,
            groups=labelled.batches,
            copies=labelled.copies,
            seed=self.settings.seed,
        )

    def baselines(self, column: Labels, split: Split) -> list[Row]:
        """Scores of the baselines on the same split."""
        return baseline_rows(self.labelled.counts, column.codes, split, self.compared, self.settings.seed)

    def about(self, column: Labels, split: Split) -> dict[str, Any]:
        """What was split, and how."""
        labelled, unit = self.labelled, self.unit
        sizes = np.bincount(column.codes, minlength=len(column.classes))
        facts: dict[str, Any] = {
            unit: len(labelled),
            "classes": {name: int(size) for name, size in zip(column.classes, sizes, strict=True)},
            f"train_{unit}": len(split.train),
            f"test_{unit}": len(split.test),
            f"identical_{unit}": len(labelled) - len(np.unique(labelled.copies)),
            "split": "stratified" if labelled.batches is None else f"whole groups of {self.settings.batch}",
        }
        if labelled.batches is not None:
            facts["test_batches"] = sorted(set(labelled.batches[split.test].tolist()))
        return facts

    def more(
        self, column: Labels, points: Points, split: Split, measured: Mapping[str, Frozen]
    ) -> dict[str, Any]:
        """The test of unknown rows, and the confusion of the first method."""
        first, tested = measured[self.parts[0]], points.take(split.test)
        # To leave a class out, a trained model would have to be trained again.
        test = novelty_test if first.recipe[0] in TRAINED else unknown_test
        unknown = test(points, split, first, column.classes, self.settings)
        predicted = first.probabilities(tested.vectors, tested.table)
        return {"unknown": unknown, "shown": shown(tested.codes, predicted)}

    @property
    def model(self) -> Any:
        """What makes the vectors."""
        return self.job.model

    def inputs(self) -> Inputs | Vectors:
        """What fine-tuning reads: the vectors as they are."""
        from biolm.training.linear_start import Vectors

        return Vectors(self.labelled.vectors)

    def vectors(self, model: Any) -> NDArray[np.float32]:  # noqa: ARG002  # of cells that of another model
        """``(n, d)`` vectors of a model that was trained further; here those that there are."""
        return self.labelled.vectors

    def annotator(self, reference: Mapping[str, Any], heads: Sequence[Head], **trained: Any) -> Annotator:
        """The annotator with these heads."""
        names = ("method", "features", "batch", "leave_out", "test_share", "reject", "seed")
        facts = {
            "biolm_version": biolm.__version__,
            "settings": {name: getattr(self.settings, name) for name in names},
        }
        annotator = Annotator(
            model=self.job.model,
            reference=reference,
            embedding={name: getattr(self.settings, name) for name in ("pool", "hidden_state")},
            space=None,
            heads=tuple(heads),
            provenance=plain(facts),
            modality=self.unit,
        )
        return replace(annotator, **trained, trained=bool(trained))


class RowKind:
    """Rows of a table."""

    page: ClassVar[bool] = True
    """Whether the annotator's folder gets a page for people."""
    rereads: ClassVar[bool] = True
    """Whether merging shards reads the annotator again."""

    def training(
        self,
        modality: Modality,
        source: Any,
        wanted: Wanted,
        model: Any,
        settings: FitSettings,
    ) -> RowTraining:
        """Read labelled rows, whose labels are columns of the data.

        Raises
        ------
        InputError, ConfigError
            If a column or its labels cannot be used.
        """
        import scipy.sparse as sp

        if settings.method in TRAINED:
            raise ConfigError(
                f"{modality.reads} have no tokens to train a model on; choose method linear or knn"
            )
        names = names_in(wanted, modality)
        offered = source.columns()
        every = read_labels(list(offered), offered.__getitem__, names, settings.leave_out)
        rows = chosen_rows(every, settings)
        job = settled(modality.embedding(source, model, settings, None))
        parts = [job.compute(block)["vectors"] for block in job.blocks(0, len(job.ends) - 1)]
        # Every row is embedded: models of groups (tissue, time) read rows that have no label.
        vectors = np.concatenate(parts)[rows]
        labelled = Labelled(
            vectors=vectors,
            counts=sp.csr_matrix((len(rows), 0), dtype=np.float32),
            vocabulary=None,
            labels=tuple(column.take(rows) for column in every),
            batches=batches_in(list(offered), lambda name: offered[name][rows], settings.batch),
            # Rows without counts can only be told to be copies by their vectors.
            copies=np.unique(vectors, axis=0, return_inverse=True)[1].reshape(-1),
        )
        return RowTraining(job=job, labelled=labelled, settings=settings, unit=modality.reads)

    def form(self, target: Path, settings: PredictSettings) -> tuple[str, tuple[str, ...]]:
        """``h5ad`` or ``zarr``."""
        if settings.shard:
            return "shard", tuple(f".{name}" for name in STORES)
        return store_format(target, settings.format), (target.suffix,)

    def columns(self, source: Any) -> Sequence[str]:
        """What the table of rows holds already."""
        return list(source.columns())

    def heads(
        self,
        annotator: Annotator,
        source: Any,  # noqa: ARG002  # kinds with genes match them
        settings: PredictSettings,  # noqa: ARG002
    ) -> tuple[GeneMatch | None, Sequence[Head]]:
        """The heads as they were fitted.

        Parameters
        ----------
        annotator
            Whose heads read the rows.
        source
            The rows to name, opened.
        settings
            Choices of the job.
        """
        return None, annotator.heads

    def space(
        self,
        annotator: Annotator,  # noqa: ARG002  # cells have one
        heads: Sequence[Head],  # noqa: ARG002
        job: Any,  # noqa: ARG002
        settings: PredictSettings,  # noqa: ARG002
    ) -> FactorSpace | None:
        """Rows of other kinds have no place in factor space.

        Parameters
        ----------
        annotator
            With the record of its factor model.
        heads
            As :meth:`heads` gave them.
        job
            The rows to name, and the annotator's model.
        settings
            Choices of the job.
        """
        return None

    def prediction(
        self, modality: Modality, source: Any, annotator: Annotator, settings: PredictSettings
    ) -> RowPrediction:
        """Check that rows and annotator fit, before any work."""
        # A bad key or ontology is noticed before the work.
        keys(annotator, settings)
        coarse = rolled(annotator, settings)
        job = modality.embedding(source, annotator.model, _as_fitted(settings, annotator), None)
        match, heads = self.heads(annotator, source, settings)
        return RowPrediction(
            modality=modality,
            source=source,
            job=job,
            annotator=annotator,
            settings=settings,
            columns=self.columns(source),
            coarse=coarse,
            match=match,
            heads=heads,
            space=self.space(annotator, heads, job, settings),
        )


def names_in(wanted: Wanted, modality: Modality) -> Sequence[str]:
    """The columns to learn, of data that hold their labels themselves.

    Parameters
    ----------
    wanted
        What is to be learned.
    modality
        The kind of data.

    Raises
    ------
    ConfigError
        If there is a table of labels beside them.
    """
    if wanted.labels is not None:
        raise ConfigError(f"labels of {modality.name} are columns of the data; leave `labels` out")
    return wanted.names


def _as_fitted(settings: PredictSettings, annotator: Annotator) -> PredictSettings:
    """The settings with what the annotator's vectors were made with."""
    # Annotators of cells record how genes were matched; those of other rows have none.
    fitted: dict[str, Any] = {"match": "resolve", **annotator.embedding}
    if settings.match not in ("resolve", fitted["match"]):
        raise ConfigError(
            f"the annotator was fitted with `match={fitted['match']!r}`; leave `match={settings.match!r}` "
            "out, or fit it again with that"
        )
    return replace(settings, **fitted)
