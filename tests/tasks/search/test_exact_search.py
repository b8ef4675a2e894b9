"""Exact neighbours against scikit-learn, ties, copies, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from biolm.tasks.search import exact
from biolm.tasks.search.exact import directions, exact_neighbours


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(exact.METRICS), st.integers(1, 7))
def test_neighbours_are_those_of_scikit_learn(seed: int, metric: str, k: int) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal((60, 5)).astype(np.float32)
    queries = rng.standard_normal((9, 5)).astype(np.float32)
    if metric == "cosine":
        reference, queries = directions(reference), directions(queries)
    rows, distances = exact_neighbours(queries, reference, k, metric=metric)
    theirs = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(reference.astype(float))
    expected, named = theirs.kneighbors(queries.astype(float))
    np.testing.assert_array_equal(rows, named)
    np.testing.assert_allclose(distances, expected, atol=1e-6)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((300, 4)).astype(np.float32)


def test_the_cut_into_blocks_changes_nothing(points: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = exact_neighbours(points, points, 9, metric="euclidean")
    monkeypatch.setattr(exact, "_QUERY_ROWS", 7)
    monkeypatch.setattr(exact, "_REFERENCE_ROWS", 11)
    cut = exact_neighbours(points, points, 9, metric="euclidean")
    for one, other in zip(whole, cut, strict=True):
        assert one.tobytes() == other.tobytes()
    assert (whole[1][:, 0] == 0).all()


def test_equal_distances_are_ordered_by_row() -> None:
    points = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), 5, axis=0)
    rows, distances = exact_neighbours(points[:1], points, 7, metric="cosine")
    assert rows.tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert distances.tolist() == [[0, 0, 0, 0, 0, 1, 1]]


def test_pairs_of_one_group_are_left_out(points: np.ndarray) -> None:
    codes = np.arange(300) % 3
    rows, distances = exact_neighbours(points, points, 5, metric="euclidean", groups=(codes, codes))
    assert (codes[rows] != codes[:, None]).all()
    own = np.zeros(300, np.int64)
    rows, distances = exact_neighbours(points, points, 5, metric="euclidean", groups=(own, own))
    assert (rows == -1).all()
    assert np.isinf(distances).all()
