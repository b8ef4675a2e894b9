"""Sentences about scores, which rest on paired intervals and on what chance gives.

Dimensions: ``n`` cells · ``r`` repeats of the cross-validation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biolm.scoring.quality import Score, difference

__all__ = ["against_best", "beyond_chance", "compared"]

_PERMUTATIONS = 1000
_LEVEL = 0.05
_NAMES = {"macro_f1": "macro-F1", "accuracy": "accuracy"}


def compared(first: Score, second: Score, *, seed: int = 0) -> str:
    """Whether ``first`` is better than ``second`` on the same cells.

    In macro-F1, and in accuracy where that says something else.

    Each statement rests on the paired 95 % bootstrap interval of the difference, and on enough cells that
    are called differently: of few cells, or of classes of one, the bootstrap's interval is too narrow.

    Parameters
    ----------
    first, second
        Scores of the same cells.
    seed
        Of the bootstrap.

    Examples
    --------
    >>> from biolm.scoring.quality import score_calls
    >>> truth = np.array([0] * 9 + [1])
    >>> wrong = score_calls("b", truth, np.zeros((1, 10), np.int64))
    >>> compared(score_calls("a", truth, truth[None]), wrong).split(":")[0]
    'a cannot be told apart from b in macro-F1 (1 cell is called differently)'
    """
    return _sentences(first, {"macro_f1": second, "accuracy": second}, 1, seed)


def against_best(first: Score, baselines: Sequence[Score], *, seed: int = 0) -> str:
    """Whether ``first`` is better than the best of several baselines, and whether any is better than chance.

    The best of several looks better than it is, so the interval holds for all comparisons at once
    (Bonferroni). Where neither ``first`` nor the best baseline is told apart from chance, nothing is said
    about the two: macro-F1 and accuracy then depend on how often each class is called, not on the data.

    Parameters
    ----------
    first, baselines
        Scores of the same cells; at least one baseline.
    seed
        Seeds bootstrap and permutations.
    """
    best = {metric: max(baselines, key=lambda score: float(getattr(score, metric))) for metric in _NAMES}
    level = _LEVEL / (len(baselines) + 1)
    if not any(beyond_chance(score, level=level, seed=seed) for score in (first, *baselines)):
        baseline = best["macro_f1"]
        return (
            f"Neither {first.name} nor any baseline is told apart from chance (labels permuted): macro-F1 "
            f"{first.macro_f1:.3f} and, of the best baseline, {baseline.name}, {baseline.macro_f1:.3f}; "
            f"accuracy {first.accuracy:.3f} and, of {best['accuracy'].name}, {best['accuracy'].accuracy:.3f}."
        )
    return _sentences(first, best, len(baselines), seed)


def beyond_chance(score: Score, *, level: float = _LEVEL, seed: int = 0) -> bool:
    """Whether macro-F1 is above that of the same calls given to cells at random.

    A one-sided permutation test: the classes are called as often as they were.

    Parameters
    ----------
    score
        Of the calls.
    level
        Of the test.
    seed
        Of the permutations.

    Examples
    --------
    >>> from biolm.scoring.quality import score_calls
    >>> truth = np.repeat([0, 1], 20)
    >>> beyond_chance(score_calls("all the same", truth, np.zeros((1, 40), np.int64)))
    False
    >>> beyond_chance(score_calls("right", truth, truth[None]))
    True
    """
    rng = np.random.default_rng(seed)
    classes = int(max(score.truth.max(), score.predictions.max())) + 1
    sizes = np.bincount(score.truth, minlength=classes)
    # Permuting changes the hits alone, not how large a class is or how often it was called.
    calls = [sizes + np.bincount(row[row >= 0], minlength=classes) for row in score.predictions]
    reached, most = 0, level * (_PERMUTATIONS + 1) - 1
    for _ in range(_PERMUTATIONS):
        truth = rng.permutation(score.truth)
        values = [
            (2 * np.bincount(truth[truth == row], minlength=classes)[sizes > 0] / total[sizes > 0]).mean()
            for row, total in zip(score.predictions, calls, strict=True)
        ]
        reached += bool(np.mean(values) >= score.macro_f1 - 1e-12)
        if reached > most:
            return False
    return True


def _differing(first: Score, second: Score) -> int:
    """How many cells not all repeats of both call alike."""
    calls = np.concatenate([first.predictions, second.predictions])
    return int((calls != calls[0]).any(0).sum())


def _fewest(comparisons: int) -> int:
    """Cells called differently from which two methods can be told apart at all.

    If the two are as good as each other, the calls of each such cell may be swapped: with m cells there are
    2**m ways, so no two-sided test has a p value below 2 / 2**m.
    """
    return 1 + int(np.ceil(np.log2(comparisons / _LEVEL)))


def _sentences(first: Score, baselines: dict[str, Score], count: int, seed: int) -> str:
    words, sentences = {}, {}
    simultaneous = f" over {count} baselines" if count > 1 else ""
    for metric, baseline in baselines.items():
        gap, low, high = difference(first, baseline, metric=metric, level=1 - _LEVEL / count, seed=seed)
        word = "is better than" if low > 0 else "is worse than" if high < 0 else "cannot be told apart from"
        few = ""
        if (differing := _differing(first, baseline)) < _fewest(count) and "than" in word:
            word = "cannot be told apart from"
            few = f" ({differing} {'cell is' if differing == 1 else 'cells are'} called differently)"
        words[metric] = word
        sentences[metric] = (
            f"{word} {baseline.name} in {_NAMES[metric]}{few}: {gap:+.3f}, 95 % interval{simultaneous} "
            f"{low:+.3f} to {high:+.3f}."
        )
    text = f"{first.name} {sentences['macro_f1']}"
    if words["accuracy"] != words["macro_f1"]:
        text += f" It {sentences['accuracy']}"
    return text
