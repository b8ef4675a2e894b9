"""Annotators that are fine-tuned from the linear method's solution, and go back to it if nothing is gained.

Dimensions: ``n`` rows · ``d`` width · ``c`` classes.

The head starts as the linear method's weights on the model's vectors; what the method reads beside them
(expression, k-mers) stays beside the network as it was fitted. ``head`` tunes these weights alone, ``lora``
and ``full`` the model with them. How far is chosen among the training rows
(:mod:`biolm.tasks.annotate.steps`), and what is fine-tuned is a linear annotator again, on the vectors of the
model that came of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.progress import log
from biolm.scoring.calls import calibration
from biolm.scoring.quality import difference
from biolm.scoring.splits import Split
from biolm.scoring.verdicts import compared
from biolm.tasks.annotate.annotator import Head
from biolm.tasks.annotate.calibrate import probabilities, temperature_of, threshold_of
from biolm.tasks.annotate.frozen import Frozen, fit_recipe
from biolm.tasks.annotate.labelled import Labels
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.measure import fit_numbers_of, fit_parts, fit_whole, part_row
from biolm.tasks.annotate.numbers import NumberRow, number_row, number_verdict
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.score import Row, report_of, row
from biolm.tasks.annotate.settings import FitSettings
from biolm.tasks.annotate.steps import Choice, Solution, choose, folds_of, look_steps
from biolm.tasks.annotate.token_runs import BATCH_TOKENS
from biolm.tasks.annotate.tuned_novelty import novelty_beside

if TYPE_CHECKING:
    from biolm.tasks.annotate.rows import RowTraining
    from biolm.tasks.annotate.sequences import SequenceTraining
    from biolm.training.linear_start import Inputs, Target, Tuned, Tuner, Vectors

__all__ = ["fine_tuned"]

_RATES = {"head": (1e-2, 1e-3), "lora": (2e-3, 5e-4), "full": (5e-4, 1e-4)}
_ENOUGH = "Linear is enough here"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Linear:
    """A column, the linear method's parts, and their scores on held-out rows."""

    column: Labels
    points: Points
    measured: Mapping[str, Frozen]
    rows: Sequence[Row | NumberRow]
    solution: Solution

    @property
    def first(self) -> Frozen:
        """What the linear method would write, fitted on the training rows."""
        return next(iter(self.measured.values()))


def fine_tuned(
    training: RowTraining | SequenceTraining, settings: FitSettings
) -> tuple[list[Head], dict[str, Any]]:
    """Measure the linear method, fine-tune from it, and keep what the training rows say is better.

    Parameters
    ----------
    training
        Labelled rows and a model.
    settings
        Choices of the job.

    Returns
    -------
    Heads with their reports; and, where the model was trained, it (``model``) and what writes it (``tuned``).
    """
    from biolm.training.run.start import start_of

    split = training.split(training.columns[0])
    fitted = [_linear(training, column, split, settings) for column in training.columns]
    solutions = [each.solution for each in fitted]
    folds = folds_of(solutions[0], settings.seed)
    inputs = training.inputs()
    start = None if settings.method == "head" else start_of(training.model, _model_config("full"))

    def make(targets: Mapping[str, Target], rows: NDArray[np.int64], rate: float) -> Tuner:
        return _tuner(None if start is None else start.core, inputs, targets, rows, rate, settings)

    rates = _RATES[settings.method] if settings.rate is None else (settings.rate,)
    choice = Choice(rate=rates[0], looks=0, facts={"folds": 0})
    if folds:
        choice = choose(make, solutions, folds, rates, settings.epochs)
    if not choice.looks:
        return [_untouched(training, each, split, choice, settings) for each in fitted], {}
    # From the start on all training rows: the folds only said how far to go.
    tuner = make(choice.targets, split.train, choice.rate)
    tuner.run(choice.looks * look_steps(tuner))
    log.info("fine-tuned (%s): %s steps at rate %g", settings.method, tuner.steps, choice.rate)
    trained: dict[str, Any] = {}
    vectors = fitted[0].points.vectors
    if start is not None:
        trained["tuned"] = _saved(training.model, tuner, start, settings)
        # A shallow copy: the user's model keeps its own core.
        trained["model"] = copy.copy(training.model)
        trained["model"].core = trained["tuned"].core
        vectors = training.vectors(trained["model"])
    heads = [_head(training, each, split, choice, tuner, vectors, settings) for each in fitted]
    return heads, trained


def _linear(
    training: RowTraining | SequenceTraining, column: Labels, split: Split, settings: FitSettings
) -> _Linear:
    """The linear method on the training rows, and its scores on the held-out ones."""
    points = training.points(column)
    log.info("fitting %s: %s labels, %s classes", column.name, f"{len(points.codes):,}", len(column.classes))
    measured = fit_parts(points.take(split.train), column, training.parts, training, settings)
    tested = points.take(split.test)
    rows = [part_row(part, each, tested, column, settings) for part, each in measured.items()]
    first = training.parts[0]

    def refit(part: Points) -> LinearMap:
        if column.classes:
            scorer = fit_recipe(part, measured[first].recipe, settings)
            assert isinstance(scorer, LinearMap)
            return scorer
        regression: LinearMap = fit_numbers_of(part, [first], settings)[first]
        return regression

    whole = measured[first].scorer
    assert isinstance(whole, LinearMap)
    solution = Solution(
        column=column,
        points=points,
        rows=split.train,
        whole=whole,
        temperature=measured[first].temperature,
        refit=refit,
    )
    return _Linear(column=column, points=points, measured=measured, rows=rows, solution=solution)


def _model_config(method: str) -> Any:
    from biolm.core.lora import LoraConfig
    from biolm.training.config import ModelConfig

    return ModelConfig(lora=LoraConfig(rank=8)) if method == "lora" else ModelConfig()


def _tuner(
    core: Any,
    inputs: Inputs | Vectors,
    targets: Mapping[str, Target],
    rows: NDArray[np.int64],
    rate: float,
    settings: FitSettings,
) -> Tuner:
    from biolm.models.running import pick_device
    from biolm.training.linear_start import Tuner

    return Tuner(
        core,
        inputs,
        targets,
        rows,
        config=_model_config(settings.method),
        lr=rate,
        batch_tokens=min(settings.batch_tokens, BATCH_TOKENS),
        seed=settings.seed,
        device=pick_device(settings.device),
    )


def _saved(model: Any, tuner: Tuner, start: Any, settings: FitSettings) -> Tuned:
    """The core that was trained, and all that its folder holds beside the weights."""
    from biolm.models.native import Saved
    from biolm.training.linear_start import Tuned

    core = tuner.tuned_core()
    saved = Saved(
        preprocessor=model.preprocessor,
        vocabulary=start.vocabulary.tokens,
        core=core.config,
        pool=start.pool,
        hidden_state=start.hidden_state,
        card={"fine-tuned": settings.method, "steps": tuner.steps, "seed": settings.seed},
    )
    return Tuned(core=core, saved=saved, steps=tuner.steps)


def _untouched(
    training: RowTraining | SequenceTraining,
    linear: _Linear,
    split: Split,
    choice: Choice,
    settings: FitSettings,
) -> Head:
    """The linear method's own annotator, of all rows, and why no step was taken."""
    column = linear.column
    tested = linear.points.take(split.test)
    report = report_of(
        training.about(column, split), linear.rows, training.baselines(column, split), settings.seed
    )
    report |= training.more(column, linear.points, split, linear.measured)
    report["fine_tuning"] = {
        "method": settings.method,
        "steps": 0,
        **choice.facts,
        "difference_to_linear": [0.0, 0.0, 0.0],
        **_calibrated(linear.first, tested, column),
        "words": f"{_ENOUGH}: {_why(column, choice, settings)}; no step was taken, and the annotator is the "
        "linear one.",
    }
    whole = fit_whole(linear.points, column, linear.measured, split.train, training, settings)
    return Head(column.name, column.classes, whole, report)


def _why(column: Labels, choice: Choice, settings: FitSettings) -> str:
    """Why linear is enough."""
    method = settings.method
    if not choice.facts["folds"]:
        return f"there are too few rows of a class to hold any out, so {method} has nothing to be chosen by"
    gains = choice.facts.get("gains")
    if gains is None:
        return f"at no step did {method} lower the loss of the held-out fold"
    own = gains[column.name]
    change = f"{-own['gain']:+.4f} (standard error {own['standard_error']:.4f})"
    text = f"{method} changed the loss of held-out folds by {change}"
    if "macro_f1_before" in own:
        text += f" and macro-F1 from {own['macro_f1_before']:.3f} to {own['macro_f1_after']:.3f}"
    return text + ", which is no sure gain"


def _head(
    training: RowTraining | SequenceTraining,
    linear: _Linear,
    split: Split,
    choice: Choice,
    tuner: Tuner,
    vectors: NDArray[np.float32],
    settings: FitSettings,
) -> Head:
    """One label's classifier on the vectors of the tuned model, calibrated on folds that it did not see."""
    column, first = linear.column, linear.first
    points = replace(linear.points, vectors=vectors)
    scorer, tested = linear.solution.joined(tuner.maps()), points.take(split.test)
    # The tuned vectors take the place of the member that read the frozen ones.
    recipe = (settings.method, *(name for name in first.recipe if name != "embedding"))
    frozen = Frozen(scorer, recipe, 1.0, 0.0)
    own: Row | NumberRow
    name = f"biolm {settings.method}"
    if column.classes:
        logits, codes = choice.logits[column.name], column.codes[choice.rows]
        temperature = temperature_of(logits, codes)
        confidence = probabilities(logits, temperature).max(1)
        # Half of the promised loss where a distance rejects too, as in the linear method.
        threshold = threshold_of(confidence, settings.reject / (1 if first.distance is None else 2))
        distance, novelty = None, None
        if first.distance is not None:
            # A model that was trained to know classes loses the rest, so that of distances genes alone count.
            kinds = [space.kind for space in first.distance.spaces]
            kinds = [kind for kind in kinds if settings.method == "head" or kind == "genes"]
            distance, novelty = novelty_beside(
                points, split.train, choice.folds, confidence, threshold, kinds, settings
            )
        frozen = Frozen(scorer, recipe, temperature, threshold, distance, novelty)
        own = row(name, tested.codes, frozen.probabilities(tested.vectors, tested.table), settings.seed)
    else:
        own = number_row(name, tested.codes, scorer.logits(tested.vectors, tested.table)[:, 0])
    rows = [own, *linear.rows]
    report = report_of(training.about(column, split), rows, training.baselines(column, split), settings.seed)
    report |= training.more(column, points, split, {training.parts[0]: frozen})
    report["fine_tuning"] = {
        "method": settings.method,
        "steps": tuner.steps,
        "rate": choice.rate,
        **choice.facts,
        **_against_linear(own, linear.rows[0], settings.seed),
        **_calibrated(frozen, tested, column),
    }
    return Head(column.name, column.classes, frozen, report)


def _against_linear(own: Row | NumberRow, linear: Row | NumberRow, seed: int) -> dict[str, Any]:
    """The difference on held-out rows with its paired interval, and what it says."""
    if isinstance(own, Row) and isinstance(linear, Row):
        gap, low, high = difference(own.score, linear.score, seed=seed)
        words = compared(own.score, linear.score, seed=seed)
        better = words.startswith(f"{own.score.name} is better than")
        facts: dict[str, Any] = {"difference_to_linear": [round(each, 6) for each in (gap, low, high)]}
    else:
        assert isinstance(own, NumberRow)
        assert isinstance(linear, NumberRow)
        (words,) = number_verdict(own, [linear], seed=seed)
        better = "is better than" in words
        facts = {"difference_to_linear": [round(own.facts["r2"] - linear.facts["r2"], 6)]}
    return facts | {"words": words if better else f"{words} {_ENOUGH}."}


def _calibrated(frozen: Frozen, tested: Points, column: Labels) -> dict[str, Any]:
    """Log loss and ECE of held-out rows before and after the temperature, which they had no part in."""
    if not column.classes:
        return {}
    logits = frozen.scorer.logits(tested.vectors, tested.table)
    facts: dict[str, Any] = {"temperature": round(frozen.temperature, 6)}
    for when, temperature in (("before", 1.0), ("after", frozen.temperature)):
        predicted = probabilities(logits, temperature)
        own = predicted[np.arange(len(predicted)), tested.codes]
        ece = calibration(predicted.max(1), predicted.argmax(1) == tested.codes).ece
        facts[f"log_loss_{when}"] = round(float(-np.log(np.maximum(own, 1e-12)).mean()), 6)
        facts[f"ece_{when}"] = round(float(ece), 6)
    return {"calibration": facts}
