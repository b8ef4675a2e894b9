"""Which cells to learn from and which to evaluate on: rows, drawn by seed, never a cell on both sides.

Dimensions: ``n`` cells · ``g`` genes.

Labels are names; rows without one (``""`` or ``"nan"``) belong to no side. Cells with the very same counts
(see :func:`copies_of`) stay on one side; where whole donors are held out, the copies of their cells are taken
out of the training side instead, because moving them would tear a donor apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError

__all__ = [
    "Split",
    "copies_of",
    "few_shot",
    "fraction",
    "holdout",
    "kfold",
    "labelled",
    "leave_one_group_out",
]

Rows = NDArray[np.int64]
# Draws among which the held-out groups with the most even types are chosen.
_DRAWS = 64


@dataclass(frozen=True, slots=True)
class Split:
    """Two sets of rows without a common one, both in increasing order.

    Parameters
    ----------
    train
        Rows to learn from.
    test
        Rows to evaluate on.
    """

    train: Rows
    test: Rows


def labelled(labels: ArrayLike, leave_out: Sequence[str] = ()) -> Rows:
    """Rows whose label is neither missing (``""``, ``nan``) nor one of ``leave_out``.

    Parameters
    ----------
    labels
        ``(n,)``.
    leave_out
        Labels that do not count.
    """
    names = np.asarray(labels).astype(str)
    return np.flatnonzero(~np.isin(names, [*leave_out, "nan", ""])).astype(np.int64)


def copies_of(counts: Any) -> Rows:
    """Number cells so that two cells have the same number if and only if their counts are the same.

    Parameters
    ----------
    counts
        ``(n, g)`` scipy sparse matrix or array. Explicit zeros and the order of stored values do not matter.

    Returns
    -------
    ``(n,)`` the row of the first cell with these counts.

    Examples
    --------
    >>> copies_of(np.array([[1, 0], [0, 2], [1, 0]])).tolist()
    [0, 1, 0]
    """
    from scipy.sparse import csr_matrix

    table = csr_matrix(counts, dtype=np.float64, copy=True)
    table.sum_duplicates()
    table.eliminate_zeros()
    columns = table.indices.astype(np.int64)
    first: dict[bytes, int] = {}
    groups = np.empty(table.shape[0], np.int64)
    for row, (a, b) in enumerate(zip(table.indptr[:-1], table.indptr[1:], strict=True)):
        digest = hashlib.blake2b(columns[a:b].tobytes(), digest_size=16)
        digest.update(table.data[a:b].tobytes())
        groups[row] = first.setdefault(digest.digest(), row)
    return groups


def kfold(
    labels: ArrayLike,
    *,
    folds: int = 5,
    groups: ArrayLike | None = None,
    copies: ArrayLike | None = None,
    seed: int = 0,
) -> list[Split]:
    """Stratified folds, or stratified folds of whole groups.

    Parameters
    ----------
    labels
        ``(n,)`` names.
    folds
        At most; with fewer groups there are as many folds as groups.
    groups
        ``(n,)`` donors, batches or chips that are never torn apart.
    copies
        ``(n,)`` from :func:`copies_of`.

    Returns
    -------
    One split a fold; every labelled cell is tested once. A type with fewer cells than folds is missing from
    the tests of some folds.

    Raises
    ------
    InputError
        If there are fewer than two folds, or fewer than two groups.

    Examples
    --------
    >>> [split.test.tolist() for split in kfold(["B", "B", "NK", "NK"], folds=2, seed=1)]
    [[0, 2], [1, 3]]
    """
    if folds < 2:
        raise InputError(f"cross-validation needs at least 2 folds, not {folds}")
    rows = labelled(labels)
    codes = _codes(labels, rows)
    rng = np.random.default_rng(seed)
    if groups is None:
        fold = _deal(codes, _units(rows, copies), folds, rng)
    else:
        fold = _deal_groups(codes, _group_codes(groups, rows), folds, rng)
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise InputError(f"{len(rows)} labelled cells cannot make two folds; label more cells")
    return [_split(rows, fold == number, copies) for number in numbers]


def holdout(
    labels: ArrayLike,
    *,
    share: float = 0.2,
    groups: ArrayLike | None = None,
    copies: ArrayLike | None = None,
    seed: int = 0,
) -> Split:
    """One stratified split, or one of whole groups with the types as even as random draws find them.

    Parameters
    ----------
    labels
        ``(n,)`` names.
    share
        Of the cells (of the groups) to test on. Every type with two cells or more has one on either side.
    groups, copies
        As for :func:`kfold`.

    Raises
    ------
    InputError
        If the share is no share, there are fewer than two groups, or a side would be empty.
    """
    if not 0 < share < 1:
        raise InputError(f"the share to hold out lies between 0 and 1, not {share}")
    rows = labelled(labels)
    codes = _codes(labels, rows)
    rng = np.random.default_rng(seed)
    if groups is None:
        chosen = _draw(codes, _units(rows, copies), share, rng)
    else:
        chosen = _draw_groups(codes, _group_codes(groups, rows), share, rng)
    split = _split(rows, chosen, copies)
    if not len(split.train) or not len(split.test):
        raise InputError(f"{len(rows)} labelled cells cannot be split in two; label more cells")
    return split


def leave_one_group_out(
    labels: ArrayLike, groups: ArrayLike, *, copies: ArrayLike | None = None
) -> list[tuple[str, Split]]:
    """Each group tested once, all others to learn from; names in alphabetical order.

    Parameters
    ----------
    labels, groups
        ``(n,)`` each.
    copies
        ``(n,)`` number of the cell that one is a copy of.

    Raises
    ------
    InputError
        If there are fewer than two groups.
    """
    rows = labelled(labels)
    codes = _group_codes(groups, rows)
    names = np.asarray(groups).astype(str)[rows]
    return [
        (str(names[codes == code][0]), _split(rows, codes == code, copies)) for code in range(codes.max() + 1)
    ]


def few_shot(labels: ArrayLike, k: int, *, rows: ArrayLike | None = None, seed: int = 0) -> Rows:
    """``k`` cells of every type (all of a type that has fewer), out of ``rows`` or of all labelled cells.

    With one seed the cells for a smaller ``k`` are among those for a larger one.

    Parameters
    ----------
    labels
        ``(n,)`` types.
    k
        Cells a type.
    rows
        Cells to choose from; all labelled ones if None.
    seed
        Of the draw.

    Examples
    --------
    >>> len(few_shot(["B"] * 5 + ["NK"] * 2, 3))
    5
    """
    return _pick(labels, rows, seed, lambda size: min(k, size))


def fraction(labels: ArrayLike, share: float, *, rows: ArrayLike | None = None, seed: int = 0) -> Rows:
    """A fraction of the cells of every type, one at least; nested like :func:`few_shot`.

    Parameters
    ----------
    labels
        ``(n,)`` types.
    share
        Fraction of every type.
    rows
        Cells to choose from; all labelled ones if None.
    seed
        Of the draw.
    """
    return _pick(labels, rows, seed, lambda size: min(size, max(1, round(share * size))))


def _pick(labels: ArrayLike, rows: ArrayLike | None, seed: int, count: Any) -> Rows:
    pool = labelled(labels) if rows is None else np.asarray(rows, dtype=np.int64)
    codes = _codes(labels, pool)
    rng = np.random.default_rng(seed)
    kept = [rng.permutation(pool[codes == code]) for code in range(codes.max() + 1)]
    return np.sort(np.concatenate([cells[: count(len(cells))] for cells in kept]))


def _codes(labels: ArrayLike, rows: Rows) -> Rows:
    if not len(rows):
        raise InputError("no cell has a label; name a column that holds them")
    return np.unique(np.asarray(labels).astype(str)[rows], return_inverse=True)[1].astype(np.int64)


def _group_codes(groups: ArrayLike, rows: Rows) -> Rows:
    names, codes = np.unique(np.asarray(groups).astype(str)[rows], return_inverse=True)
    if len(names) < 2:
        raise InputError(f"groups to hold out need at least two, but all cells are of '{names[0]}'")
    return codes.astype(np.int64)


def _units(rows: Rows, copies: ArrayLike | None) -> Rows:
    """What is moved as one: a cell with its copies."""
    source = rows if copies is None else np.asarray(copies)[rows]
    return np.unique(source, return_inverse=True)[1].astype(np.int64)


def _split(rows: Rows, tested: NDArray[np.bool_], copies: ArrayLike | None) -> Split:
    train, test = rows[~tested], rows[tested]
    if copies is not None:
        known = np.asarray(copies)
        train = train[~np.isin(known[train], known[test])]
    return Split(train, test)


def _unit_types(codes: Rows, units: Rows) -> Rows:
    """Type of a unit: that of its first cell."""
    return codes[np.unique(units, return_index=True)[1]]


def _deal(codes: Rows, units: Rows, folds: int, rng: np.random.Generator) -> Rows:
    """Fold of each cell; units of a type are shuffled and dealt in turn, on from the last type."""
    types = _unit_types(codes, units)
    order = np.lexsort((rng.random(len(types)), types))
    fold = np.empty(len(types), np.int64)
    fold[order] = np.arange(len(types)) % folds
    return fold[units]


def _deal_groups(codes: Rows, groups: Rows, folds: int, rng: np.random.Generator) -> Rows:
    """Fold of each cell; groups go, the most uneven first, where they leave the types most even."""
    table = np.zeros((groups.max() + 1, codes.max() + 1))  # cells of a type in a group
    np.add.at(table, (groups, codes), 1)
    shares = table / table.sum(0)
    folds = min(folds, len(table))
    dealt = np.zeros((folds, table.shape[1]))
    fold = np.empty(len(table), np.int64)
    for group in np.lexsort((rng.random(len(table)), -table.std(1))):
        after = dealt[None] + np.eye(folds)[:, :, None] * shares[group]
        # An empty fold first, so that none stays empty.
        empty = dealt.sum(1) == 0
        cost = after.std(1).mean(1) - 1e3 * empty
        fold[group] = cost.argmin()
        dealt[fold[group]] += shares[group]
    return fold[groups]


def _draw(codes: Rows, units: Rows, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    types = _unit_types(codes, units)
    tested = np.zeros(len(types), bool)
    for code in np.unique(types):
        members = rng.permutation(np.flatnonzero(types == code))
        count = round(share * len(members))
        tested[members[: min(max(count, 1), len(members) - 1)]] = True
    return tested[units]


def _draw_groups(codes: Rows, groups: Rows, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    table = np.zeros((groups.max() + 1, codes.max() + 1))
    np.add.at(table, (groups, codes), 1)
    shares = table / table.sum(0)
    count = min(max(round(share * len(table)), 1), len(table) - 1)
    draws = [rng.permutation(len(table))[:count] for _ in range(_DRAWS)]
    best = min(draws, key=lambda chosen: np.abs(shares[chosen].sum(0) - share).sum())
    return np.isin(groups, best)
