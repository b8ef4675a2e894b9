"""Score a table of variants of one protein, beside BLOSUM62 and measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.errors import InputError
from biolm.io.provenance import digest
from biolm.io.table import check_table, write_table
from biolm.progress import log, progress
from biolm.tasks.variants.assay import Assay
from biolm.tasks.variants.baseline import blosum_scores, rank_correlation
from biolm.tasks.variants.methods import MARGINALS, check_reads, choose_methods
from biolm.tasks.variants.proteins import letter_ids, sequence_borders, sequence_scores, table_scores
from biolm.tasks.variants.settings import VariantScores, VariantSettings, gather

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["SCHEMA", "score_assay"]

SCHEMA = "biolm.variants/1"


def score_assay(
    assay: Assay,
    model: SequenceModel,
    settings: VariantSettings,
    output: Path | None = None,
    *,
    tally: Tally | None = None,
) -> VariantScores:
    """Score every variant of a protein by every method asked for.

    Parameters
    ----------
    assay
        The variants.
    model
        A model of proteins.
    settings
        Choices of the job.
    output
        ``.csv``, ``.tsv`` or ``.parquet``: the columns of the input and the scores.
    tally
        Letters of the unchanged protein that the model does not know, and what was taken out of it.

    Raises
    ------
    BiolmError
        If the model does not fit, or the output cannot be written.
    """
    check_reads(model, "protein", "a table of mutations")
    methods = choose_methods(model, settings.method)
    names = {method: f"{settings.key.lower()}_{method.replace('-', '_')}" for method in methods}
    if settings.baseline:
        names["blosum62"] = f"{settings.key.lower()}_blosum62"
    for name in names.values():
        if name in assay.columns:
            raise InputError(f"the table has a column {name} already; choose another `key`")
    if output is not None:
        check_table(output, overwrite=settings.overwrite)
    _check_letters(assay, model, settings)
    scores = _scores(assay, model, methods, settings, output)
    _tell(scores)
    if settings.baseline:
        scores["blosum62"] = blosum_scores(assay.wild, assay.variants)
    correlations = {}
    if assay.measured is not None:
        for method, name in names.items():
            correlations[name] = rank_correlation(scores[method], assay.measured, seed=settings.seed)
    held = Tally() if tally is None else tally
    about = {"seed": settings.seed, "spearman": correlations, "offset": settings.offset}
    facts = settings.facts(model, methods, **about, **_about(assay), **held.facts())
    columns: dict[str, NDArray[Any]] = dict(assay.columns)
    columns |= {name: scores[method].astype(np.float32) for method, name in names.items()}
    if output is not None:
        write_table(output, [columns], facts, schema=SCHEMA, overwrite=settings.overwrite)
    return VariantScores(
        columns=columns, names=tuple(names.values()), correlations=correlations, facts=facts, output=output
    )


def _scores(
    assay: Assay,
    model: SequenceModel,
    methods: tuple[str, ...],
    settings: VariantSettings,
    output: Path | None,
) -> dict[str, NDArray[np.float64]]:
    options = settings.options(longest=settings.window)
    tables = [method for method in methods if method in MARGINALS]
    whole = [method for method in methods if method not in MARGINALS]
    found = {
        method: table_scores(model, assay.wild, assay.variants, method, options, show=settings.progress)
        for method in tables
    }
    if not whole:
        return found
    sequences = [each.sequence for each in assay.variants]

    def blocks(start: int) -> Iterator[NDArray[np.float64]]:
        with progress(
            "scoring", len(sequences), start=start, show=settings.progress, unit="variants"
        ) as advance:
            for block in sequence_scores(model, assay.wild, sequences, whole, options, start=start):
                yield block
                advance(len(block))

    job = settings.facts(model, tuple(whole), **_about(assay))
    values = gather(blocks, sequence_borders(sequences, whole), len(whole), job, settings, output)
    return found | {method: values[:, place].astype(np.float64) for place, method in enumerate(whole)}


def _check_letters(assay: Assay, model: SequenceModel, settings: VariantSettings) -> None:
    """With ``--letters error`` every variant must be written in letters of the model."""
    if settings.letters != "error":
        return
    letters = sorted(set("".join(each.sequence for each in assay.variants).upper()))
    known = dict(zip(letters, letter_ids(model, letters).tolist(), strict=True))
    for each in assay.variants:
        bad = [letter for letter in each.sequence.upper() if known[letter] < 0]
        if bad:
            raise InputError(
                f"{each.where}: model {model.name} has no token for the letter {bad[0]!r}; leave the variant "
                "out, or give it no score (`letters='unknown'`)"
            )


def _tell(scores: Mapping[str, NDArray[np.float64]]) -> None:
    for method, values in scores.items():
        if without := int(np.isnan(values).sum()):
            why = "insertions and deletions have no marginal, use pseudo-perplexity or one-pass; "
            log.warning(
                "%d of %d variants have no score by %s: %sstops, frame shifts and letters that the model "
                "does not know have none",
                without,
                len(values),
                method,
                why if method in MARGINALS else "",
            )


def _about(assay: Assay) -> dict[str, Any]:
    sequences = [each.sequence for each in assay.variants]
    return {
        "variants": len(sequences),
        "protein": digest({"letters": assay.wild}),
        "sequences": digest({"letters": sequences}),
    }
