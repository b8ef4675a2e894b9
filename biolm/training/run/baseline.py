"""What a model must beat: the objective's own way of guessing, learnt from training batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from biolm.objectives.base import Criterion
from biolm.objectives.baseline import Baseline
from biolm.progress import progress, speaks
from biolm.training.data.loader import Reader, Stream

__all__ = ["learnt_baseline", "worse_than_guessing"]

# Metrics that are the loss of a guess, and what is guessed by.
_GUESSES = {
    "unigram": "how often each token occurs",
    "frequencies": "how often each class occurs",
    "mean": "the mean",
    "gene_mean": "each gene's mean",
    "equal_shares": "equal counts for all",
    "chance": "chance",
}

_BATCHES = 200  # frequencies and means hardly move after that many


def learnt_baseline(objective: Criterion, reader: Reader) -> Baseline | None:
    """Count the first batches of the first epoch; None for an objective whose metrics hold its baseline.

    The batches are those that any process of the run would count, resumed or not, so nothing is saved.

    Parameters
    ----------
    objective
        Of the run.
    reader
        Of its training batches.
    """
    baseline = objective.baseline()
    if baseline is not None:
        total = min(_BATCHES, reader.plan.batches(1))
        with progress("counting what guessing knows", total, show=speaks(), unit="batches") as advance:
            for _, prepared in Stream(reader=reader, stop=_BATCHES, epochs=1):
                baseline.update(prepared)
                advance(1)
    return baseline


def worse_than_guessing(scores: Mapping[str, float], adversaries: Collection[str] = ()) -> list[str]:
    """A sentence for each held-out loss that is not below that of its guess.

    Parameters
    ----------
    scores
        Of a validation, as ``part/name`` where there are several objectives.
    adversaries
        Parts whose loss is meant to rise to that of guessing.

    Examples
    --------
    >>> worse_than_guessing({"loss": 4.2, "unigram": 3.1})
    ['held-out loss 4.2 is no better than 3.1, that of guessing by how often each token occurs']
    >>> worse_than_guessing({"loss": 2.9, "unigram": 3.1})
    []
    """
    messages = []
    for key, guess in scores.items():
        part, slash, name = key.rpartition("/")
        # Smoothing raises the loss, so that the plain cross-entropy is what compares.
        loss = scores.get(f"{part}{slash}cross_entropy", scores.get(f"{part}{slash}loss"))
        if name in _GUESSES and loss is not None and part not in adversaries and not loss < guess:
            where = f" of {part}" if part else ""
            by = _GUESSES[name]
            messages.append(
                f"held-out loss{where} {loss:.4g} is no better than {guess:.4g}, that of guessing by {by}"
            )
    return messages
