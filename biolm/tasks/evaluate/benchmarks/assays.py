"""ProteinGym: variants scored without training, and the mean over assays as the benchmark takes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from biolm.adapters.sequences import Tally
from biolm.errors import InputError
from biolm.progress import log
from biolm.tasks.evaluate.benchmarks.layouts import BENCHMARKS, Assays
from biolm.tasks.evaluate.benchmarks.score import BenchmarkScore
from biolm.tasks.variants.assay import read_assay
from biolm.tasks.variants.assay_run import score_assay
from biolm.tasks.variants.settings import VariantSettings

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel
    from biolm.tasks.evaluate.benchmarks.run import BenchmarkSettings

__all__ = ["mean_of_assays", "score_assays"]

_MEAN = "mean of assays"


def score_assays(
    assays: Assays, reader: SequenceModel, settings: BenchmarkSettings, met: dict[str, Tally]
) -> list[BenchmarkScore]:
    """Spearman's correlation of every assay, by the model's usual method and by BLOSUM62, and their means.

    What is met in the letters of each protein is put into ``met``.

    Parameters
    ----------
    assays
        Of one collection.
    reader
        The model.
    settings
        Choices of the job.
    met
        Gets what is met in the residues of each protein.

    Raises
    ------
    InputError
        If the model reads no proteins, or an assay does not fit its protein.
    """
    options = VariantSettings(
        letters=settings.letters,
        batch_tokens=settings.batch_tokens,
        device=settings.device,
        seed=settings.seed,
        progress=settings.progress,
    )
    scores: list[BenchmarkScore] = []
    places: dict[str, dict[str, str]] = {}
    for path, row in assays.rows:
        if settings.datasets and path.stem not in settings.datasets:
            continue
        log.info("%s: %s", BENCHMARKS["proteingym"], path.stem)
        tally = met.setdefault(path.stem, Tally())
        try:
            scored = score_assay(read_assay(path, reference=assays.reference), reader, options, tally=tally)
        except InputError as error:
            # Only letters that the policy skips leave an assay out; any other fault is one of the file.
            if not tally.skipped:
                raise
            log.warning("%s is left out: %s", path.stem, error)
            continue
        places[path.stem] = row
        for name, numbers in scored.correlations.items():
            # Columns are named after the key, which a benchmark has no choice of.
            method = name.removeprefix(f"{options.key.lower()}_").replace("_", "-")
            scores.append(
                BenchmarkScore(
                    benchmark="proteingym",
                    dataset=path.stem,
                    method=method if method == "blosum62" else f"{reader.name} {method}",
                    metric="spearman",
                    low=numbers["low"],
                    high=numbers["high"],
                    numbers={"spearman": numbers["spearman"]},
                    train=0,
                    test=int(numbers["variants"]),
                    classes=0,
                )
            )
    return [*scores, *_means(scores, places)]


def mean_of_assays(values: dict[str, float], rows: dict[str, dict[str, str]]) -> float:
    """Mean over the assays of each protein and function, then over proteins, then over functions.

    Parameters
    ----------
    values
        Of each assay, by name.
    rows
        Its row of the table of assays: ``UniProt_ID`` and ``coarse_selection_type``.

    Examples
    --------
    >>> rows = {"a": {"UniProt_ID": "P", "coarse_selection_type": "Binding"},
    ...         "b": {"UniProt_ID": "P", "coarse_selection_type": "Binding"},
    ...         "c": {"UniProt_ID": "Q", "coarse_selection_type": "Binding"},
    ...         "d": {"UniProt_ID": "Q", "coarse_selection_type": "Stability"}}
    >>> mean_of_assays({"a": 0.2, "b": 0.4, "c": 0.5, "d": 0.8}, rows)
    0.6
    """
    proteins: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, value in values.items():
        row = rows[name]
        proteins[row.get("coarse_selection_type", ""), row.get("UniProt_ID", name)].append(value)
    functions: dict[str, list[float]] = defaultdict(list)
    for (function, _), of_protein in proteins.items():
        functions[function].append(float(np.mean(of_protein)))
    return round(float(np.mean([np.mean(of_protein) for of_protein in functions.values()])), 6)


def _means(scores: list[BenchmarkScore], rows: dict[str, dict[str, str]]) -> Iterator[BenchmarkScore]:
    """The number that the benchmark is known by, of every method; no interval is claimed for it."""
    for method in dict.fromkeys(score.method for score in scores):
        own = [score for score in scores if score.method == method and np.isfinite(score.value)]
        if not own:
            continue
        yield BenchmarkScore(
            benchmark="proteingym",
            dataset=_MEAN,
            method=method,
            metric="spearman",
            low=float("nan"),
            high=float("nan"),
            numbers={"spearman": mean_of_assays({score.dataset: score.value for score in own}, rows)},
            train=0,
            test=sum(score.test for score in own),
            classes=0,
        )
