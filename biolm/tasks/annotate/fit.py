"""Fit an annotator: read labelled rows, measure on held-out ones, fit on all, write a folder.

Dimensions: ``n`` labelled rows: cells, sequences, residues ... · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.errors import ConfigError
from biolm.io.atomic import refuse_existing, replacing
from biolm.jobs.modality import loaded_for, modality_of
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.options import read_options
from biolm.progress import log
from biolm.tasks.annotate.annotator import Annotator, Head, reference_of
from biolm.tasks.annotate.kinds import kind_of
from biolm.tasks.annotate.labelled import Labels, Wanted
from biolm.tasks.annotate.measure import fit_parts, fit_whole, part_row
from biolm.tasks.annotate.page import write_page
from biolm.tasks.annotate.score import GOOD_CALIBRATION, report_of
from biolm.tasks.annotate.settings import TRAINED, FitSettings
from biolm.tasks.annotate.tune import fine_tuned

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.model import CellModel
    from biolm.models.sequence_model import SequenceModel
    from biolm.tasks.annotate.rows import RowTraining
    from biolm.tasks.annotate.sequences import SequenceTraining

__all__ = ["fit"]


def fit(
    data: str | Path | AnnData,
    *,
    label: str | Sequence[str],
    labels: str | Path | None = None,
    model: str | Path | CellModel | SequenceModel = DEFAULT_MODEL,
    output: str | Path | None = None,
    **options: Any,
) -> Annotator:
    """Learn to name cells, sequences or residues from labelled ones.

    Parameters
    ----------
    data
        A path or an AnnData with raw counts and labels; or a file of sequences.
    label
        Column to learn, of ``obs`` or of ``labels``; of cells also several.
    labels
        For sequences: a table with the records' names first, or FASTA-like strings with a label for each
        residue or base.
    model
        Built-in name, folder, hub id or loaded model.
    output
        Folder to write the annotator to.
    options
        See :class:`biolm.tasks.annotate.settings.FitSettings`.

    Returns
    -------
    The annotator, with held-out scores beside those of the baselines in ``heads[i].report``.

    Raises
    ------
    BiolmError
        If labels, data or model cannot be used; nothing half-written is left.

    Examples
    --------
    >>> annotator = fit("data/cells/pbmc_cite_10k.h5ad", label="cell_type", leave_out=("other",))
    >>> annotator.heads[0].classes
    ('B', 'CD14 mono', 'CD4 T', 'CD8 T', 'NK')
    """
    settings: FitSettings = read_options(FitSettings, options, "annotate fit")
    modality = modality_of(data)
    settings.check_modality(modality.reads)
    names = [label] if isinstance(label, str) else list(label)
    if not names or len(set(names)) < len(names):
        raise ConfigError("name one label column, or several different ones (`label`)")
    if output is not None:
        refuse_existing(Path(output), overwrite=settings.overwrite)
    kind = kind_of(modality)
    with modality.open(data, settings) as source:
        reader = loaded_for(modality.reads, model)
        training = kind.training(modality, source, Wanted(names, labels), reader, settings)
        reference = reference_of(reader, model)
        trained: dict[str, Any] = {}
        if settings.method in TRAINED:
            heads, trained = fine_tuned(training, settings)
        else:
            heads = [_measured(training, column, settings) for column in training.columns]
        for head in heads:
            _warn(head)
        annotator = training.annotator(reference, heads, **trained)
    if output is not None:
        with replacing(Path(output), overwrite=settings.overwrite) as folder:
            folder.mkdir()
            annotator.save(folder)
            if kind.page:
                write_page(annotator, folder / "report.html")
    return annotator


def _measured(training: RowTraining | SequenceTraining, column: Labels, settings: FitSettings) -> Head:
    """Measure a frozen method and its parts on held-out rows, then fit it on all."""
    points, split = training.points(column), training.split(column)
    log.info("fitting %s: %s labels, %s classes", column.name, f"{len(points.codes):,}", len(column.classes))
    # What the parts do alone shows whether the model's vectors add anything.
    measured = fit_parts(points.take(split.train), column, training.parts, training, settings)
    tested = points.take(split.test)
    rows = [part_row(part, each, tested, column, settings) for part, each in measured.items()]
    report = report_of(training.about(column, split), rows, training.baselines(column, split), settings.seed)
    report |= training.more(column, points, split, measured)
    chosen = fit_whole(points, column, measured, split.train, training, settings)
    return Head(column.name, column.classes, chosen, report)


def _warn(head: Head) -> None:
    """Say it where confidence does not mean what it says."""
    scores = head.report["held_out"]
    if not scores.get("calibrated", True):
        log.warning(
            "confidence of %s is not well calibrated: ECE %.3f on held-out rows, above %s",
            head.label,
            scores["ece"],
            GOOD_CALIBRATION,
        )
