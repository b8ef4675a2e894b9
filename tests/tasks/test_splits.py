"""Splits: every cell on one side, types even, donors whole, copies together, the same by seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from biolm.errors import InputError
from biolm.scoring.splits import copies_of, few_shot, fraction, holdout, kfold, labelled, leave_one_group_out

LABELS = np.repeat(["B", "CD4 T", "NK"], [10, 40, 6])


def _sizes(rows: np.ndarray) -> dict[str, int]:
    return dict(zip(*np.unique(LABELS[rows], return_counts=True), strict=True))


@given(
    st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=12, max_size=60),
    st.integers(2, 6),
    st.integers(0, 9),
)
def test_folds_test_every_labelled_cell_once(labels: list[str], folds: int, seed: int) -> None:
    if sum(map(bool, labels)) < folds:
        return
    splits = kfold(labels, folds=folds, seed=seed)
    tested = np.concatenate([split.test for split in splits])
    assert sorted(tested) == labelled(labels).tolist()
    for split in splits:
        assert not set(split.train) & set(split.test)
        assert len(split.train) + len(split.test) == len(tested)
        for name in {"a", "b", "c"} & set(labels):
            share = sum(labels[row] == name for row in split.test)
            assert abs(share - labels.count(name) / folds) < 1


def test_groups_are_never_torn() -> None:
    donors = np.tile(np.arange(7), 8)
    for split in [*kfold(LABELS, groups=donors, seed=2), holdout(LABELS, groups=donors, seed=2)]:
        assert not set(donors[split.train]) & set(donors[split.test])
        assert set(LABELS[split.test]) == set(LABELS)
    assert len(kfold(LABELS, folds=10, groups=donors)) == 7
    names = [name for name, _ in leave_one_group_out(LABELS, donors)]
    assert names == [str(donor) for donor in range(7)]


def test_copies_stay_on_one_side(data_cells: Path) -> None:
    """A leak that splits by row alone would let through: real cells, each put in two or three times."""
    import anndata

    cells = anndata.read_h5ad(data_cells / "pbmc_3chemistries_1500.h5ad")[:120]
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(120), np.tile([2, 3], 60)))
    counts, labels = cells.X[rows], np.asarray(cells.obs["cell_type"]).astype(str)[rows]
    copies = copies_of(counts)
    assert len(np.unique(copies)) == 120
    assert all((counts[i] != counts[copies[i]]).nnz == 0 for i in range(0, len(rows), 25))
    chemistry = np.asarray(cells.obs["batch"]).astype(str)[rows]
    # Copies across groups: moved to another group on purpose.
    torn = np.where(np.arange(len(rows)) % 2, chemistry, "other lane")
    plain = kfold(labels, copies=copies, seed=1)
    for split in [*plain, holdout(labels, copies=copies), *kfold(labels, groups=torn, copies=copies)]:
        assert not set(rows[split.train]) & set(rows[split.test])
        assert len(split.train)
    # Nothing is lost where copies can be moved as one; without the numbers the same cells do leak.
    assert all(len(split.train) + len(split.test) == len(rows) for split in plain)
    careless = kfold(labels, seed=1)[0]
    assert set(rows[careless.train]) & set(rows[careless.test])


def test_copies_do_not_depend_on_how_zeros_are_stored() -> None:
    stored = csr_matrix(
        (np.array([1.0, 0.0, 3.0, 3.0, 1.0]), np.array([0, 1, 2, 2, 0]), np.array([0, 3, 5])), (2, 3)
    )
    assert copies_of(stored).tolist() == [0, 0]
    assert stored.nnz == 5
    assert copies_of(np.array([[1, 2], [2, 1], [0, 0], [0, 0]])).tolist() == [0, 1, 2, 2]


def test_few_shot_and_fraction_are_nested() -> None:
    few, more = few_shot(LABELS, 5, seed=3), few_shot(LABELS, 10, seed=3)
    assert _sizes(few) == {"B": 5, "CD4 T": 5, "NK": 5}
    assert _sizes(more) == {"B": 10, "CD4 T": 10, "NK": 6}
    assert set(few) < set(more)
    assert _sizes(fraction(LABELS, 0.1)) == {"B": 1, "CD4 T": 4, "NK": 1}
    assert set(few_shot(LABELS, 2, rows=[0, 1, 2, 50, 51])) <= {0, 1, 2, 50, 51}
    assert not np.array_equal(few_shot(LABELS, 5, seed=4), few)


def test_holdout_keeps_a_cell_of_every_type_on_either_side() -> None:
    split = holdout(LABELS, share=0.05, seed=1)
    assert _sizes(split.test) == {"B": 1, "CD4 T": 2, "NK": 1}
    assert np.array_equal(holdout(LABELS, share=0.05, seed=1).test, split.test)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kfold(["", "nan"]), "no cell has a label"),
        (lambda: kfold(["B"]), "1 labelled cells cannot make two folds"),
        (lambda: kfold(LABELS, folds=1), "at least 2 folds"),
        (lambda: kfold(LABELS, groups=["d1"] * 56), "all cells are of 'd1'"),
        (lambda: holdout(LABELS, share=1.5), "between 0 and 1, not 1.5"),
        (lambda: holdout(["B", "NK"]), "cannot be split in two"),
    ],
)
def test_impossible_splits_are_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
