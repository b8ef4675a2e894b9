"""L1 logistic regression of each class against the rest, all classes at once.

Dimensions: ``n`` rows · ``m`` columns · ``c`` classes.

For each class the sum of the rows' weighted log losses and of the weights' absolute values is made small by
Newton steps, each of them found by coordinate descent (the method of liblinear; Yuan, Ho and Lin 2012). All
classes go through the table together: a sparse column is found once for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["sparse_logistic"]

_LANES = 8  # classes that are fitted at once
_SWEEPS = 100  # over the columns, of one Newton step
_HALVINGS = 20
_SUFFICIENT = 0.01  # of the promised decrease (Armijo's rule)
_NEVER = np.float32(1e30)  # curvature of what shall not move
_LEAST = np.float32(1e-12)

Matrix = NDArray[np.float32]


def sparse_logistic(
    table: Any,
    inside: NDArray[np.bool_],
    *,
    strength: float,
    balanced: bool,
    tolerance: float,
    seed: int = 0,
    rounds: int = 100,
) -> tuple[Matrix, Matrix]:
    """Weights ``(m, c)`` and biases ``(c,)`` of one-against-rest logistic regressions.

    Parameters
    ----------
    table
        Sparse ``(n, m)``.
    inside
        ``(n, c)`` rows of each class.
    strength
        ``C`` of scikit-learn: what a row's loss weighs against the absolute values of weights. The bias
        counts as a weight, as in liblinear.
    balanced
        Whether a class and the rest weigh alike.
    tolerance
        A class is done when it violates the conditions of the best weights by this fraction of what weights
        of zero do, times the fraction of the smaller side of the rows, as in liblinear.
    seed
        Of the order in which columns are updated.
    rounds
        Newton steps at most.
    """
    from scipy.sparse import csc_matrix, hstack

    n, classes = inside.shape
    whole = csc_matrix(hstack([table, np.ones((n, 1), np.float32)], format="csc"), dtype=np.float32)
    columns = whole.data, whole.indices.astype(np.uint32), whole.indptr.astype(np.int64)
    weights = np.empty((whole.shape[1], classes), np.float32)
    for first in range(0, classes, _LANES):
        own = inside[:, first : first + _LANES]
        # Lanes without a class have neither losses nor weights.
        lanes = np.hstack([own, np.zeros((n, _LANES - own.shape[1]), bool)])
        sizes = lanes.sum(0)
        costs = np.where(sizes > 0, np.full(lanes.shape, strength), 0)
        if balanced:
            costs = costs * n / 2 / np.where(lanes, sizes, n - sizes)
        enough = tolerance * np.minimum(sizes, n - sizes) / n
        fit = _Fit(columns, lanes, costs.astype(np.float32), np.random.default_rng(seed))
        for _ in range(rounds):
            if not fit.step(enough):
                break
        weights[:, first : first + _LANES] = fit.weights[:, : own.shape[1]]
    return weights[:-1], weights[-1]


class _Fit:
    """State of a fit: weights ``(m, c)`` and what they make of the rows."""

    def __init__(
        self, columns: Any, inside: NDArray[np.bool_], costs: Matrix, rng: np.random.Generator
    ) -> None:
        self.columns = columns
        self.squares = columns[0] ** 2, *columns[1:]
        self.ones, self.costs, self.rng = inside.astype(np.float32), costs, rng
        self.signs = np.where(inside, np.float32(1), np.float32(-1))
        self.weights = np.zeros((len(columns[2]) - 1, inside.shape[1]), np.float32)
        self.scores = np.zeros(inside.shape, np.float32)
        self.first: NDArray[np.floating[Any]] | None = None
        self.inner = np.ones(inside.shape[1])
        self.stuck = np.zeros(inside.shape[1], bool)

    def step(self, enough: NDArray[np.floating[Any]]) -> bool:
        """One Newton step of the classes that are not done; False where all are."""
        from scipy.special import expit

        from biolm.scoring.sparse_logistic_numba import sweep

        likely = expit(self.scores)
        tilts = self._product(self.columns, np.arange(len(self.weights)), self.costs * (likely - self.ones))
        violations = _violations(self.weights, tilts)
        left = violations.sum(0, dtype=np.float64)
        self.first = left if self.first is None else self.first
        done = self.stuck | (left <= enough * self.first)
        if done.all():
            return False
        work = np.flatnonzero(((violations > 0) | (self.weights != 0))[:, ~done].any(1))
        curves = self.costs * likely * (np.float32(1) - likely)
        bends = self._product(self.squares, work, curves) + _LEAST
        bends[:, done] = _NEVER
        weights, curved, change = self.weights.copy(), np.zeros_like(curves), np.zeros_like(curves)
        moving, unsettled, settled = self.rng.permutation(work), np.zeros(len(done), np.float32), done.copy()
        quick = done
        for number in range(_SWEEPS):
            whole = len(moving) == len(work)
            kept = sweep(*self.columns, moving, weights, (tilts, bends), curves, curved, change, unsettled)
            settled = done | (unsettled <= self.inner * self.first)
            quick = quick if number else settled
            if settled.all() and whole:
                break
            moving = self.rng.permutation(work if settled.all() else moving[:kept])
        # As far as one sweep was enough, the next model is worth more of them.
        self.inner[quick] /= 4
        self._walk(weights - self.weights, change, tilts)
        return True

    def _product(self, columns: Any, chosen: NDArray[np.int64], rows: Matrix) -> Matrix:
        from biolm.scoring.sparse_logistic_numba import look

        product = np.zeros((len(self.weights), rows.shape[1]), np.float32)
        look(*columns, chosen, rows, product)
        return product

    def _walk(self, steps: Matrix, change: Matrix, tilts: Matrix) -> None:
        """Go as far along the steps as each class's objective falls."""
        before, norm = self._loss(self.scores), np.abs(self.weights).sum(0, dtype=np.float64)
        promised = (tilts * steps).sum(0, dtype=np.float64) + np.abs(self.weights + steps).sum(0) - norm
        lengths = np.ones(steps.shape[1], np.float32)
        for _ in range(_HALVINGS):
            reached = np.abs(self.weights + lengths * steps).sum(0, dtype=np.float64) - norm
            fallen = self._loss(self.scores + lengths * change) - before + reached
            short = fallen > _SUFFICIENT * lengths * promised
            if not short.any():
                break
            lengths[short] /= 2
        else:
            # What is left to gain is less than what rounding hides.
            lengths[short] = 0
            self.stuck |= short
        self.weights += lengths * steps
        self.scores += lengths * change

    def _loss(self, scores: Matrix) -> NDArray[np.float64]:
        margins = scores * self.signs
        losses = np.log1p(np.exp(-np.abs(margins))) + np.maximum(-margins, 0)
        return np.asarray((self.costs * losses).sum(0, dtype=np.float64))


def _violations(weights: Matrix, tilts: Matrix) -> Matrix:
    """``(m, c)`` how far each weight is from being the best, by the slope of the loss."""
    still = np.maximum(np.abs(tilts) - np.float32(1), np.float32(0))
    return np.where(weights == 0, still, np.abs(tilts + np.sign(weights)))
