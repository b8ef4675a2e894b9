"""Fit an annotator of sequences: read labels, hold out whole clusters, measure beside k-mers, fit on all.

Dimensions: ``n`` sequences · ``s`` samples (sequences, or letters of them) · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.adapters.sequences import Tally
from biolm.adapters.sequences.clusters import usual_identity
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.provenance import plain
from biolm.models.sequence_model import SequenceModel
from biolm.options import read_options
from biolm.progress import log
from biolm.scoring.baselines import fit_linear, fit_majority, fit_pca_linear
from biolm.scoring.splits import Split, holdout
from biolm.tasks.annotate.annotator import reference_of
from biolm.tasks.annotate.calibrate import probabilities, temperature_of, threshold_of
from biolm.tasks.annotate.frozen import Frozen, Points, fit_variants
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.numbers import NumberRow, fit_numbers, number_row, number_verdict
from biolm.tasks.annotate.score import Row, row, verdict
from biolm.tasks.annotate.sequence_annotator import SequenceAnnotator, sequence_model
from biolm.tasks.annotate.sequences import Samples, read_samples, table_of_letters, vectors_of
from biolm.tasks.annotate.settings import FitSettings
from biolm.tasks.annotate.tune import TRAINED
from biolm.tasks.annotate.tune_sequences import said_of, train

__all__ = ["fit_sequences"]

_VALIDATION = 0.15


def fit_sequences(
    data: str | Path,
    labels: str | Path,
    *,
    label: str,
    model: str | Path | SequenceModel,
    output: str | Path | None = None,
    **options: Any,
) -> SequenceAnnotator:
    """Learn to label sequences, or each of their letters, from labelled ones.

    Parameters
    ----------
    data
        FASTA, FASTQ, GenBank or EMBL.
    labels
        Table with the records' names first, or FASTA-like strings with a label for each letter.
    label
        Column to learn.
    model
        Folder, hub id or loaded model of sequences.
    output
        Folder to write the annotator to.
    options
        See :class:`~biolm.tasks.annotate.settings.FitSettings`.

    Returns
    -------
    The annotator, with held-out scores beside those of baselines in ``report``.

    Raises
    ------
    BiolmError
        If sequences, labels or model cannot be used; nothing half-written is left.

    Examples
    --------
    >>> model = "runs/protein-mini/model"  # doctest: +SKIP
    >>> annotator = fit_sequences("p.fasta", "ec.tsv", label="ec", model=model)  # doctest: +SKIP
    >>> annotator.report["held_out"]["macro_f1"]  # doctest: +SKIP
    0.31
    """
    settings: FitSettings = read_options(FitSettings, options, "annotate fit")
    settings.check_modality("sequences")
    if output is not None:
        refuse_existing(Path(output), overwrite=settings.overwrite)
    found = sequence_model(model)
    tally = Tally()
    samples = read_samples(data, labels, label, found, settings, tally)
    split = samples.split(settings)
    if settings.split == "random" and settings.batch is None:
        log.warning(
            "the split is random: near-copies may lie on both sides, and scores look better than they are"
        )
    log.info("fitting %s: %s sequences", samples.label, f"{len(samples.block):,}")
    fitted = _trained if settings.method in TRAINED else _frozen
    parts = fitted(found, samples, split, settings)
    annotator = SequenceAnnotator(
        model=found,
        reference=reference_of(found, model),
        label=samples.label,
        classes=samples.classes,
        per_residue=settings.per_residue,
        trained=settings.method in TRAINED,
        pool=settings.pool,
        facts=plain(
            {"biolm_version": biolm.__version__, "settings": settings.used("sequences"), **tally.facts()}
        ),
        **parts,
    )
    if output is not None:
        with replacing(Path(output), overwrite=settings.overwrite) as folder:
            folder.mkdir()
            annotator.save(folder)
    return annotator


def _frozen(model: SequenceModel, samples: Samples, split: Split, settings: FitSettings) -> dict[str, Any]:
    """Measure methods on frozen vectors on what is held out, then fit the chosen one on all."""
    vectors = vectors_of(
        model, samples.block, per_residue=samples.per_residue, pool=settings.pool, settings=settings
    )
    table = table_of_letters(samples.block, model, per_residue=samples.per_residue)
    train, test = samples.rows(split.train), samples.rows(split.test)
    kinds = [settings.features]
    if settings.method == "linear" and settings.features == "joint":
        kinds += ["embedding", "kmers"]
    every = samples.rows(np.arange(len(samples.block)))
    rows: list[Row] | list[NumberRow]
    if samples.classes:
        measured = _classifiers(vectors, table, samples, train, kinds, settings)
        calls = [
            row(_named(kind, settings), samples.values[test], each.probabilities(vectors[test], table[test]),
                settings.seed)
            for kind, each in measured.items()
        ]  # fmt: skip
        for each, chosen in zip(calls, measured.values(), strict=True):
            each.facts["members"] = ", ".join(chosen.recipe)
        rows = calls
        chosen = _classifiers(vectors, table, samples, every, kinds[:1], settings)[kinds[0]]
    else:
        groups = samples.groups[samples.owner]

        def fitted(rows: NDArray[np.int64], wanted: list[str]) -> Mapping[str, LinearMap]:
            given = (vectors[rows], table[rows], samples.values[rows], groups[rows])
            return fit_numbers(*given, wanted, settings.seed)

        rows = [
            number_row(
                _named(kind, settings), samples.values[test], each.logits(vectors[test], table[test])[:, 0]
            )
            for kind, each in fitted(train, kinds).items()
        ]
        chosen = Frozen(fitted(every, kinds[:1])[kinds[0]], (kinds[0],), 1.0, 0.0)
    return {"frozen": chosen, "report": _report(samples, split, rows, table, settings)}


def _named(kind: str, settings: FitSettings) -> str:
    return "biolm knn" if settings.method == "knn" else f"biolm {settings.method}, {kind}"


def _classifiers(
    vectors: NDArray[np.float32],
    table: Any,
    samples: Samples,
    rows: NDArray[np.int64],
    kinds: list[str],
    settings: FitSettings,
) -> dict[str, Frozen]:
    """Calibrated classifiers on some samples, by kind of features."""
    groups = samples.groups[samples.owner][rows]
    points = Points(
        vectors[rows],
        table[rows],
        samples.values[rows],
        len(samples.classes),
        groups.astype(str),
        np.arange(len(rows)),
    )
    # What reads expression of cells reads k-mers here.
    names = {kind: "expression" if kind == "kmers" else kind for kind in kinds}
    found = fit_variants(points, settings.classifier, list(names.values()), distances=False)
    return {kind: found[name] for kind, name in names.items()}


def _trained(model: SequenceModel, samples: Samples, split: Split, settings: FitSettings) -> dict[str, Any]:
    """Train on what is not held out, a part of which stops the training and calibrates."""
    learn = _validation(samples, split.train, settings)
    tuned = train(model, samples, learn, settings)

    def said(sequences: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[Any]]:
        block = samples.block.take(sequences)
        found = said_of(tuned.predict, block, model, samples.label, per_residue=samples.per_residue)
        rows = np.flatnonzero(np.isin(samples.owner, sequences))
        known = samples.known[rows]
        return found[known], samples.values[rows][known]

    table = table_of_letters(samples.block, model, per_residue=samples.per_residue)
    size = max(len(samples.classes), 1)
    same = LinearMap(
        np.eye(size, dtype=np.float32), np.zeros((1, size), np.float32), np.zeros(size, np.float32)
    )
    held, truth = said(split.test)
    name = f"biolm {settings.method}"
    rows: list[Row] | list[NumberRow]
    if samples.classes:
        logits, codes = said(learn.test)
        temperature = temperature_of(logits, codes)
        confidence = probabilities(logits, temperature).max(1)
        frozen = Frozen(same, (settings.method,), temperature, threshold_of(confidence, settings.reject))
        rows = [row(name, truth, probabilities(held, temperature), settings.seed)]
    else:
        frozen = Frozen(same, (settings.method,), 1.0, 0.0)
        rows = [number_row(name, truth, held[:, 0])]
    return {"frozen": frozen, "report": _report(samples, split, rows, table, settings), "tuned": tuned}


def _validation(samples: Samples, rows: NDArray[np.int64], settings: FitSettings) -> Split:
    """Whole groups of the training sequences apart, where there are several."""
    groups = samples.groups[rows]
    several = groups if len(np.unique(groups)) > 1 else None
    split = holdout(["any"] * len(rows), share=_VALIDATION, groups=several, seed=settings.seed)
    return Split(rows[split.train], rows[split.test])


def _report(
    samples: Samples,
    split: Split,
    rows: list[Row] | list[NumberRow],
    table: Any,
    settings: FitSettings,
) -> dict[str, Any]:
    """Scores of the method first, of its parts, and of the baselines on the same split."""
    baselines, words = _compared(samples, split, rows, table, settings)
    identity = usual_identity(samples.block) if settings.identity is None else settings.identity
    how = f"whole clusters at {identity:.0%} identity" if settings.split == "clusters" else "random"
    report: dict[str, Any] = {
        "sequences": len(samples.block),
        "train_sequences": len(split.train),
        "test_sequences": len(split.test),
        "samples": int(samples.known.sum()),
        "groups": len(np.unique(samples.groups)),
        "split": how if settings.batch is None else f"whole groups of {settings.batch}",
        "held_out": rows[0].facts,
        "parts": [each.facts for each in rows[1:]],
        "baselines": [each.facts for each in baselines],
        "verdict": words,
    }
    if samples.classes:
        sizes = np.bincount(samples.values[samples.known], minlength=len(samples.classes))
        report["classes"] = dict(zip(samples.classes, sizes.tolist(), strict=True))
    return report


def _compared(
    samples: Samples,
    split: Split,
    rows: Sequence[Row] | Sequence[NumberRow],
    table: Any,
    settings: FitSettings,
) -> tuple[Sequence[Row] | Sequence[NumberRow], list[str]]:
    """The baselines, and what the comparison with the best of them says."""
    given = samples, table, samples.rows(split.train), samples.rows(split.test), settings
    if not samples.classes:
        numbers = _number_baselines(*given)
        return numbers, number_verdict(rows[0], numbers, seed=settings.seed)  # type: ignore[arg-type]
    calls = _class_baselines(*given)
    return calls, verdict(rows, calls)  # type: ignore[arg-type]


def _class_baselines(
    samples: Samples, table: Any, train: NDArray[Any], test: NDArray[Any], settings: FitSettings
) -> list[Row]:
    letters = "letters nearby" if samples.per_residue else "k-mers"
    fits = {
        "majority class": fit_majority,
        f"{letters} + logistic regression": fit_linear,
        f"PCA-50 of {letters} + logistic regression": fit_pca_linear,
    }
    rows = []
    for name, fit in fits.items():
        log.info("baseline: %s", name)
        predictor = fit(table[train], samples.values[train].astype(str), seed=settings.seed)
        found = np.zeros((len(test), len(samples.classes)))
        found[:, predictor.classes.astype(int)] = predictor.predict_proba(table[test])
        rows.append(row(name, samples.values[test], found, settings.seed))
    return rows


def _number_baselines(
    samples: Samples, table: Any, train: NDArray[Any], test: NDArray[Any], settings: FitSettings
) -> list[NumberRow]:
    letters = "letters nearby" if samples.per_residue else "k-mers"
    values, groups = samples.values, samples.groups[samples.owner]
    nothing = np.zeros((len(values), 1), np.float32)
    ridge = fit_numbers(nothing[train], table[train], values[train], groups[train], ["kmers"], settings.seed)
    return [
        number_row("mean", values[test], np.full(len(test), values[train].mean())),
        number_row(f"{letters} + ridge regression", values[test],
                   ridge["kmers"].logits(nothing[test], table[test])[:, 0]),
    ]  # fmt: skip
