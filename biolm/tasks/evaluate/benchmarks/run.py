"""Score a model on a folder of benchmarks: frozen vectors and logistic regression, beside k-mers.

Dimensions: ``n`` sequences · ``d`` width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally, check_kind
from biolm.adapters.sequences.reading import admitted_rows
from biolm.adapters.sequences.spectrum import kmer_table
from biolm.common_options import BatchTokens, Device, Overwrite, Pool, Progress, Seed
from biolm.errors import ConfigError, InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.jobs.settings import SequenceSettings
from biolm.options import Option, check_options, read_options
from biolm.progress import log, progress
from biolm.scoring.baselines import BASELINES, fit_linear
from biolm.tasks.evaluate.benchmarks.layouts import BENCHMARKS, Found, Labelled, find_assays, find_sets
from biolm.tasks.evaluate.benchmarks.score import BenchmarkScore, headline_of, score_predictor
from biolm.tasks.evaluate.benchmarks.tables import write_scores

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["BenchmarkSettings", "evaluate_sequences"]

_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(SequenceSettings):
    """Choices of a job, beside ``letters``: records that it skips are left out with their labels.

    Parameters
    ----------
    datasets
        Names of the data sets to score; none given for all.
    most
        Use at most so many sequences to learn from and to evaluate on, drawn by seed; 0 for all.
    pool, batch_tokens, device
        As of :func:`biolm.embed`.
    seed
        Of draws, fits and bootstraps.
    overwrite, progress
        Whether an existing output may be replaced; draw a bar on a terminal.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    datasets: Annotated[
        tuple[str, ...],
        Option(help="Data set to score; may be repeated.", shown="all", flags=("--dataset",)),
    ] = ()
    most: Annotated[int, Option(help="Use at most so many sequences a side; 0 for all.", min=0)] = 0
    pool: Pool = None
    batch_tokens: BatchTokens = 16_384
    device: Device = "auto"
    seed: Seed = 0
    overwrite: Overwrite = False
    progress: Progress = False

    def __post_init__(self) -> None:
        check_options(self)


def evaluate_sequences(
    folder: str | Path,
    model: str | Path | SequenceModel,
    *,
    output: str | Path | None = None,
    **options: Any,
) -> list[BenchmarkScore]:
    """Score a model on every data set of a folder, on the published split.

    Sequences become frozen vectors, logistic regression learns from those of the training side; GUE's
    development side is not used. The same regression on k-mer frequencies, and the most frequent class, stand
    beside. Assays of ProteinGym are scored without training, beside BLOSUM62.

    Parameters
    ----------
    folder
        One or more of the layouts that :mod:`biolm.tasks.evaluate.benchmarks.layouts` names.
    model
        Checkpoint folder, hub id or loaded model.
    output
        Folder to write ``scores.json``, ``scores.tsv`` and ``scores.md`` to.
    options
        Fields of :class:`BenchmarkSettings`.

    Returns
    -------
    One score for each method and data set.

    Raises
    ------
    ConfigError
        If no data set of a wanted name is there.
    InputError
        If the folder holds no benchmark, or the model reads another kind of sequence.

    Examples
    --------
    >>> import biolm
    >>> scores = biolm.evaluate_sequences("GUE", "checkpoints/dnabert2", most=2000)  # doctest: +SKIP
    """
    from biolm.jobs.bind import sequence_model

    settings: BenchmarkSettings = read_options(BenchmarkSettings, options, "benchmark")
    target = None if output is None else Path(output)
    if target is not None:
        refuse_existing(target, overwrite=settings.overwrite)
    place = Path(folder)
    sets = find_sets(place)
    assays = find_assays(place)
    if not sets and assays is None:
        raise InputError(
            f"{place} holds no benchmark that biolm knows ({', '.join(BENCHMARKS.values())}); the page on "
            "benchmarks of sequences shows their folders"
        )
    reader = sequence_model(model)
    scores: list[BenchmarkScore] = []
    met: dict[str, Tally] = {}
    left_out: list[str] = []
    for chosen in _chosen(sets, settings):
        try:
            check_kind(chosen.read("train").block, reader.kind, name=chosen.name)
        except InputError as error:
            if chosen.name in settings.datasets:
                raise
            log.warning("%s is left out: %s", chosen.name, error)
            left_out.append(str(error))
            continue
        scores += _score_set(chosen, reader, settings, met.setdefault(chosen.name, Tally()))
    # A model of DNA beside sets of DNA leaves proteins out; alone, it is told why it cannot.
    if assays is not None and not (sets and reader.kind == "dna"):
        from biolm.tasks.evaluate.benchmarks.assays import score_assays

        scores += score_assays(assays, reader, settings, met)
    elif assays is not None:
        log.warning("ProteinGym is left out: model %s reads DNA", reader.name)
    if not scores and left_out:
        raise InputError(f"{place} holds no data set that model {reader.name} reads: {left_out[0]}")
    if not scores:
        known = ", ".join([each.name for each in sets][:8])
        raise ConfigError(f"{place} holds no data set {', '.join(settings.datasets)}; it has {known}")
    if target is not None:
        with replacing(target, overwrite=settings.overwrite) as temporary:
            write_scores(temporary, scores, reader.describe(), settings, met)
    return scores


def _chosen(sets: list[Found], settings: BenchmarkSettings) -> Iterator[Found]:
    for each in sets:
        if not settings.datasets or each.name in settings.datasets:
            log.info("%s: %s", BENCHMARKS[each.layout], each.name)
            yield each


def _score_set(
    chosen: Found, reader: SequenceModel, settings: BenchmarkSettings, tally: Tally
) -> Iterator[BenchmarkScore]:
    """All methods on one data set."""
    train, test = (_read(chosen, side, reader, settings, tally) for side in ("train", "test"))
    if sentence := tally.sentence():
        log.warning("%s: %s", chosen.name, sentence)
    if len(np.unique(train.labels)) < 2:
        raise InputError(f"the training side of {chosen.name} holds one class alone; nothing can be learnt")
    protein = reader.kind == "protein"
    metric = headline_of(chosen.layout, chosen.name)
    tables: dict[str, Callable[[Labelled], Any]] = {
        f"{reader.name} + logistic regression": lambda side: _vectors(side, reader, settings),
        f"{3 if protein else 6}-mers + logistic regression": lambda side: kmer_table(
            side.block, protein=protein
        ),
    }
    for method, table in tables.items():
        fitted = fit_linear(table(train), train.labels, settings.seed)
        yield _scored(chosen, method, metric, (train, test), score_predictor(
            fitted, table(test), test.labels, metric, settings.seed
        ))  # fmt: skip
    # The labels stand in for a table, which this baseline does not look at.
    majority = BASELINES["majority class"](train.labels[:, None], train.labels)
    yield _scored(chosen, "majority class", metric, (train, test), score_predictor(
        majority, test.labels[:, None], test.labels, metric, settings.seed
    ))  # fmt: skip


def _scored(
    chosen: Found,
    method: str,
    metric: str,
    sides: tuple[Labelled, Labelled],
    result: tuple[dict[str, float], float, float],
) -> BenchmarkScore:
    numbers, low, high = result
    return BenchmarkScore(
        benchmark=chosen.layout,
        dataset=chosen.name,
        method=method,
        metric=metric,
        low=low,
        high=high,
        numbers=numbers,
        train=len(sides[0].labels),
        test=len(sides[1].labels),
        classes=len(np.unique(sides[0].labels)),
    )


def _read(
    chosen: Found, side: str, reader: SequenceModel, settings: BenchmarkSettings, tally: Tally
) -> Labelled:
    """The sequences of a side that the model is to read; unknown letters are counted."""
    part = _some(chosen.read(side), settings)
    block, rows = admitted_rows(part.block, reader.tokenizer, settings.letters, tally)
    if not len(rows):
        raise InputError(
            f"every sequence of {chosen.name} ({side}) was left out; read unknown residues or bases as such "
            "(`letters='unknown'`)"
        )
    return replace(part, block=block).take(rows)


def _some(side: Labelled, settings: BenchmarkSettings) -> Labelled:
    """All of a side, or as many as are wanted, drawn by seed."""
    if not settings.most or len(side.labels) <= settings.most:
        return side
    rng = np.random.default_rng(settings.seed)
    return side.take(np.sort(rng.choice(len(side.labels), settings.most, replace=False)))


def _vectors(side: Labelled, reader: SequenceModel, settings: BenchmarkSettings) -> NDArray[np.float32]:
    """``(n, d)`` frozen vectors."""
    from biolm.models.sequence_model import SequenceOptions

    options = SequenceOptions(pool=settings.pool, batch_tokens=settings.batch_tokens, device=settings.device)
    vectors = np.empty((len(side.block), reader.width), np.float32)
    with progress("embedding", len(side.block), show=settings.progress, unit="sequences") as advance:
        for start in range(0, len(side.block), _ROWS):
            part = side.block.part(start, min(start + _ROWS, len(side.block)))
            vectors[start : start + len(part)] = reader.embed(part, options)
            advance(len(part))
    return vectors
