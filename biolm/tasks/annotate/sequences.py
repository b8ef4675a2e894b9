"""Annotation of sequences, or of each of their residues: by the model's vectors and by k-mers.

Dimensions: ``n`` sequences · ``s`` samples (sequences, or residues of them) · ``d`` width · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.adapters.sequences import Tally
from biolm.adapters.sequences.clusters import usual_identity
from biolm.adapters.sequences.file import SequenceFile
from biolm.errors import ConfigError
from biolm.io.provenance import plain
from biolm.io.table import TABLES, table_endings
from biolm.jobs.job import block_ends
from biolm.jobs.modality import Modality
from biolm.models.sequence_model import SequenceModel
from biolm.progress import log
from biolm.scoring.baselines import fit_linear, fit_majority, fit_pca_linear
from biolm.scoring.splits import Split
from biolm.tasks.annotate.annotator import Annotator, Head
from biolm.tasks.annotate.frozen import Frozen
from biolm.tasks.annotate.labelled import Labels, Wanted
from biolm.tasks.annotate.labelling import Labelling, SequencePrediction, check_ending
from biolm.tasks.annotate.numbers import NumberRow, fit_numbers, number_row
from biolm.tasks.annotate.pieces import pieces_of
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.samples import Samples, read_block, read_samples, table_of_letters, vectors_of
from biolm.tasks.annotate.score import Row, baseline_rows
from biolm.tasks.annotate.settings import TRAINED, FitSettings, PredictSettings
from biolm.tasks.annotate.token_runs import check_trainable

if TYPE_CHECKING:
    from biolm.training.linear_start import Inputs, Vectors

__all__ = ["SequenceKind", "SequenceTraining"]


@dataclass(frozen=True, kw_only=True)
class SequenceTraining:
    """Labelled sequences and a model.

    Parameters
    ----------
    model
        Reads them.
    samples
        What is labelled.
    settings
        The user's choices.
    tally
        Residues or bases that the model does not know.
    """

    model: SequenceModel
    samples: Samples
    settings: FitSettings
    tally: Tally
    distances: ClassVar[bool] = False

    @property
    def parts(self) -> Sequence[str]:
        """Vectors and k-mers together, then each alone; or what the user chose."""
        joins = self.settings.method != "knn" and self.settings.features == "joint"
        return ("joint", "embedding", "kmers") if joins else (self.settings.features,)

    @property
    def columns(self) -> Sequence[Labels]:
        """The one column that is learned."""
        samples = self.samples
        return (Labels(samples.label, samples.classes, samples.values[self.known]),)

    @cached_property
    def known(self) -> NDArray[np.int64]:
        """Samples with a label, which the points are."""
        return np.flatnonzero(self.samples.known)

    @cached_property
    def sides(self) -> Split:
        """Sequences to learn from and to measure on."""
        return self.samples.split(self.settings)

    @cached_property
    def table(self) -> Any:
        """Sparse k-mers of the points, or what stands round each residue."""
        samples = self.samples
        return table_of_letters(samples.block, self.model, per_residue=samples.per_residue)[self.known]

    @property
    def groups(self) -> NDArray[np.int64]:
        """What each point is held out with."""
        return self.samples.groups[self.samples.owner][self.known]

    def points(self, column: Labels) -> Points:
        """What a frozen method learns from."""
        vectors = self.vectors(self.model)
        # Clusters hold near-copies together already, so no point is a copy of another.
        groups, own = self.groups.astype(str), np.arange(len(self.known))
        return Points(vectors, self.table, column.codes, len(column.classes), groups, own)

    def split(self, column: Labels) -> Split:  # noqa: ARG002  # as of rows
        """Places among the points of what is learned from and measured on."""
        return Split(*(self._places(side) for side in (self.sides.train, self.sides.test)))

    def _places(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self.samples.owner[self.known], sequences))

    def baselines(self, column: Labels, split: Split) -> Sequence[Row | NumberRow]:
        """Scores of the baselines on the same split.

        Parameters
        ----------
        column
            The labels.
        split
            Training and test rows, those of the annotator.
        """
        letters = "letters nearby" if self.samples.per_residue else "k-mers"
        if column.classes:
            fits = {
                "majority class": fit_majority,
                f"{letters} + logistic regression": fit_linear,
                f"PCA-50 of {letters} + logistic regression": fit_pca_linear,
            }
            return baseline_rows(self.table, column.codes, split, fits, self.settings.seed)
        values, (learn, test) = column.codes, (split.train, split.test)
        nothing = np.zeros((len(values), 1), np.float32)
        # The regression takes vectors beside the table; a column of zeros says nothing.
        given = nothing[learn], self.table[learn], values[learn], self.groups[learn]
        ridge = fit_numbers(*given, ["kmers"], self.settings.seed)["kmers"]
        return [
            number_row("mean", values[test], np.full(len(test), values[learn].mean())),
            number_row(
                f"{letters} + ridge regression",
                values[test],
                ridge.logits(nothing[test], self.table[test])[:, 0],
            ),
        ]

    def about(self, column: Labels, split: Split) -> dict[str, Any]:  # noqa: ARG002  # as of rows
        """What was split, and how.

        Parameters
        ----------
        column
            The labels.
        split
            Training and test rows.
        """
        samples, chosen, sides = self.samples, self.settings, self.sides
        identity = usual_identity(samples.block) if chosen.identity is None else chosen.identity
        how = f"whole clusters at {identity:.0%} identity" if chosen.split == "clusters" else "random"
        return {
            "sequences": len(samples.block),
            "train_sequences": len(sides.train),
            "test_sequences": len(sides.test),
            "samples": len(self.known),
            "groups": len(np.unique(samples.groups)),
            "split": how if chosen.batch is None else f"whole groups of {chosen.batch}",
        }

    def more(
        self,
        column: Labels,
        points: Points | None = None,  # noqa: ARG002  # as of rows
        split: Split | None = None,  # noqa: ARG002
        measured: Mapping[str, Frozen] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """How many samples each class has.

        Parameters
        ----------
        column
            The labels.
        points
            What classifiers read; None where they were trained otherwise.
        split
            Training and test rows.
        measured
            Classifiers that did not see the test rows, by part.
        """
        if not column.classes:
            return {}
        sizes = np.bincount(column.codes, minlength=len(column.classes))
        return {"classes": dict(zip(column.classes, sizes.tolist(), strict=True))}

    def inputs(self) -> Inputs | Vectors:
        """What fine-tuning reads: pieces of the sequences, or for ``head`` the vectors as they are."""
        from biolm.training.linear_start import Vectors

        if self.settings.method == "head":
            return Vectors(self.vectors(self.model))
        return pieces_of(self.model, self.samples, self.known, self.settings)

    def vectors(self, model: SequenceModel) -> NDArray[np.float32]:
        """Vectors of the points by a model: the one there is, or one that was trained further."""
        samples, chosen = self.samples, self.settings
        vectors = vectors_of(
            model, samples.block, per_residue=samples.per_residue, pool=chosen.pool, settings=chosen
        )
        return vectors[self.known]

    def annotator(self, reference: Mapping[str, Any], heads: Sequence[Head], **trained: Any) -> Annotator:
        """The annotator with this head.

        Parameters
        ----------
        reference
            Of the training data, for provenance.
        heads
            One for each column.
        """
        settings = {"settings": self.settings.used("sequences"), **self.tally.as_dict()}
        return Annotator(
            model=trained.get("model", self.model),
            reference=reference,
            embedding={"pool": self.settings.pool, "per_residue": self.settings.per_residue},
            space=None,
            heads=tuple(heads),
            provenance=plain({"biolm_version": biolm.__version__, **settings}),
            modality="sequences",
            trained=bool(trained),
            tuned=trained.get("tuned"),
        )


class SequenceKind:
    """Sequences."""

    page = rereads = False

    def training(
        self,
        modality: Modality,  # noqa: ARG002  # as of rows
        source: SequenceFile,
        wanted: Wanted,
        model: SequenceModel,
        settings: FitSettings,
    ) -> SequenceTraining:
        """Read labelled sequences and the table of their labels.

        Parameters
        ----------
        modality
            Entry of the data.
        source
            Open data.
        wanted
            Labels to learn.
        model
            Whose vectors are read.
        settings
            Choices of fitting.

        Raises
        ------
        InputError, ConfigError
            If sequences or labels cannot be used.
        """
        names, labels = wanted.names, wanted.labels
        if labels is None or len(names) != 1:
            raise ConfigError(
                "to label sequences give a table of their labels (`labels`) and one column (`label`)"
            )
        if settings.method in TRAINED:
            check_trainable(model, settings)
        tally = Tally()
        samples = read_samples(source, labels, names[0], model, settings, tally)
        training = SequenceTraining(model=model, samples=samples, settings=settings, tally=tally)
        if settings.split == "random" and settings.batch is None:
            log.warning(
                "the split is random: near-copies may lie on both sides, and scores look better than they are"
            )
        return training

    def form(self, target: Path, settings: PredictSettings) -> tuple[str, tuple[str, ...]]:
        """By the ending of the output; text has a JSON file beside it.

        Parameters
        ----------
        target
            The output.
        settings
            Choices of predicting.
        """
        if settings.shard:
            return "shard", (".h5ad", *(f".{name}" for name in TABLES))
        # Whether letters are labelled is known once the annotator is read; check() then looks again.
        check_ending(target, per_residue=False)
        whole = target.suffix.lower() == ".h5ad"
        return target.suffix, (target.suffix,) if whole else table_endings(target)

    def prediction(
        self,
        modality: Modality,  # noqa: ARG002  # as of rows
        source: SequenceFile,
        annotator: Annotator,
        settings: PredictSettings,
    ) -> SequencePrediction:
        """Read the sequences and check that they and the annotator fit.

        Parameters
        ----------
        modality
            Entry of the data.
        source
            Open data.
        annotator
            What was fitted.
        settings
            Choices of predicting.
        """
        tally = Tally()
        block, _ = read_block(source, annotator.model, settings.letters, tally)
        return SequencePrediction(
            source=source,
            annotator=annotator,
            settings=settings,
            labelling=Labelling.of(annotator, settings, tally),
            block=block,
            ends=block_ends(len(block), settings.block_rows or annotator.model.block_rows),
            tally=tally,
        )
