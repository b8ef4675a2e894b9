"""Novelty: what is unknown, by what, and what was promised."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from biolm import annotate
from biolm.errors import CheckpointError, ConfigError
from biolm.io.digests import SEAL
from biolm.tasks.annotate.annotator import Annotator
from biolm.tasks.annotate.distance import Space
from biolm.tasks.annotate.novelty import HeldOut, Novelty, quantile_by_group
from biolm.tasks.annotate.table import words_of

CITE = Path(__file__).resolve().parents[3] / "data/cells/pbmc_cite_10k.h5ad"


def _blind(annotator: Annotator, **without: Any) -> Annotator:
    """The annotator without a part of its novelty."""
    (head,) = annotator.heads
    return replace(annotator, heads=(replace(head, frozen=replace(head.frozen, **without)),))


@pytest.fixture(scope="module")
def without_nk() -> Annotator:
    return annotate.fit(CITE, label="cell_type", leave_out=("other", "NK"))


@pytest.fixture(scope="module")
def folder(kinds: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("annotators") / "kinds"
    annotate.fit(kinds, label="kind", batch="donor", method="knn", model="genetext", output=made)
    return made


def test_nk_cells_that_were_left_out_are_noticed_by_their_factors(without_nk: Annotator) -> None:
    named = annotate.predict(CITE, without_nk)
    novel = (named.obs["cell_type"] == "NK").to_numpy()
    known = ~novel & (named.obs["cell_type"] != "other").to_numpy()
    unknown = (named.obs["biolm_cell_type"] == "unknown").to_numpy()
    assert unknown[novel].mean() > 0.7
    assert unknown[known].mean() < 0.2
    frozen = without_nk.heads[0].frozen
    assert frozen.novelty is not None
    assert frozen.novelty.facts["reads"] == ["doubt", "factors"]
    blind = annotate.predict(CITE, _blind(without_nk, distance=None, novelty=None))
    assert (blind.obs["biolm_cell_type"] == "unknown").to_numpy()[novel].mean() < 0.4

    def told_apart(cells: anndata.AnnData) -> float:
        score = cells.obs["biolm_cell_type_novelty"].to_numpy()
        return float(roc_auc_score(novel[novel | known], score[novel | known]))

    doubt = annotate.predict(CITE, _blind(without_nk, novelty=replace(frozen.novelty, space=None)))
    assert told_apart(named) > max(0.9, told_apart(doubt) + 0.02)


def test_the_column_gives_the_calls_again(folder: Path, query: anndata.AnnData) -> None:
    odd = query.copy()
    counts = odd.X.toarray()
    counts[3] = 0
    counts[4] = np.random.default_rng(0).permutation(counts[4])
    odd.X = counts
    named = annotate.predict(odd, folder, copy=True)
    novelty = named.obs["biolm_kind_novelty"].to_numpy()
    unknown = (named.obs["biolm_kind"] == "unknown").to_numpy()
    assert novelty.dtype == np.float32
    np.testing.assert_array_equal(unknown, np.isnan(novelty) | (novelty > 1))
    assert np.isnan(novelty).nonzero()[0].tolist() == [3]
    every = annotate.predict(odd, folder, copy=True, reject=False)
    np.testing.assert_array_equal(every.obs["biolm_kind_novelty"], novelty)
    assert (every.obs["biolm_kind"] == "unknown").sum() == 1
    cutoffs = named.uns["biolm"]["biolm_kind"]["novelty"]["cutoffs"]
    assert cutoffs["0.05"] == 1
    values = [cutoffs[name] for name in sorted(cutoffs, key=float)]
    assert values == sorted(values, reverse=True)


def test_a_query_that_differs_as_a_whole_is_told(
    folder: Path, query: anndata.AnnData, caplog: pytest.LogCaptureFixture
) -> None:
    odd = query.copy()
    odd.X = odd.X[:, np.random.default_rng(0).permutation(odd.n_vars)]
    with caplog.at_level("WARNING", logger="biolm"):
        annotate.predict(query, folder, copy=True)
        assert "as a whole" not in caplog.text
        annotate.predict(odd, folder)
    assert "% of the rows are unknown by biolm_kind, so the query as a whole is unlike" in caplog.text


def test_the_promise_stands_in_folder_and_report(folder: Path) -> None:
    content = json.loads((folder / "annotation.json").read_text())
    facts = content["heads"][0]["novelty"]["facts"]
    assert (facts["promised_loss"], facts["held_out"], facts["groups"]) == (0.05, "groups", 5)
    assert content["factors"]["name"] == "cellfactors"
    assert "the cut-off was set on" in (folder / "report.html").read_text()
    said = " ".join(words_of(content["heads"][0]["report"]))
    assert "at most 5.0% of known cells" in said
    assert "4 batches, each held out whole" in said


def test_types_of_one_batch_each_have_cells_held_out_and_it_is_said(kinds: anndata.AnnData) -> None:
    cells = kinds.copy()
    cells.obs["donor"] = "of " + cells.obs["kind"].astype(str)
    report = annotate.fit(cells, label="kind", batch="donor", method="knn").heads[0].report
    assert report["unknown"]["novelty"]["held_out"] == "cells"
    assert "most classes lie in one batch each, so the cut-off was set on" in " ".join(words_of(report))


@pytest.mark.parametrize("loss", [-0.01, 0.51, float("nan")])
def test_a_promise_out_of_bounds_is_refused(kinds: anndata.AnnData, loss: float) -> None:
    with pytest.raises(ConfigError, match=r"`reject` must be at least 0 and at most 0.5"):
        annotate.fit(kinds, label="kind", reject=loss)


def test_nothing_is_unknown_where_no_loss_is_allowed(kinds: anndata.AnnData, query: anndata.AnnData) -> None:
    fitted = annotate.fit(kinds, label="kind", method="knn", reject=0)
    named = annotate.predict(query, fitted, copy=True)
    assert not (named.obs["biolm_kind"] == "unknown").any()
    assert np.isfinite(named.obs["biolm_kind_novelty"]).all()


def test_few_genes_with_loadings_leave_doubt_alone(
    kinds: anndata.AnnData, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="biolm"):
        fitted = annotate.fit(kinds[:, :25].copy(), label="kind", method="knn", model="genetext")
    assert "without their distance in factor space" in caplog.text
    novelty = fitted.heads[0].frozen.novelty
    assert novelty is not None
    assert novelty.facts["reads"] == ["doubt"]
    named = annotate.predict(kinds[:, :25].copy(), fitted)
    unknown = (named.obs["biolm_kind"] == "unknown").to_numpy()
    np.testing.assert_array_equal(unknown, named.obs["biolm_kind_novelty"].to_numpy() > 1)


def test_a_query_without_most_of_the_counts_is_asked_for_doubt_alone(
    folder: Path, query: anndata.AnnData, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="biolm"):
        named = annotate.predict(query[:, ::2].copy(), folder)
    assert "too few to find novel cells by their distance" in caplog.text
    assert (named.obs["biolm_kind"] == "unknown").mean() < 0.5


def test_an_annotator_by_other_factors_is_refused(
    folder: Path, query: anndata.AnnData, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    facts = json.loads((old / "annotation.json").read_text())
    del facts[SEAL]
    other = {**facts, "factors": {"name": "cellfactors", "digest": "0"}}
    (old / "annotation.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match=r"another factor model .* fit the annotator again"):
        annotate.predict(query, old, copy=True)


@settings(deadline=None, max_examples=50)
@given(
    loss=st.floats(0.01, 0.5),
    seed=st.integers(0, 9),
    groups=st.integers(1, 4),
    placed=st.booleans(),
)
def test_held_out_cells_keep_the_promise(loss: float, seed: int, groups: int, placed: bool) -> None:
    draws = np.random.default_rng(seed)
    names = draws.permutation(np.arange(60) % groups).astype(str)
    held = HeldOut(draws.gamma(1, size=60), draws.gamma(2, size=60) if placed else None, names)
    space = Space("factors", np.eye(2, dtype=np.float32), np.zeros((1, 2), np.float32))
    made = Novelty.set_on(held, space, loss)
    above = made.score(held.doubt, held.near) > 1
    assert np.mean([above[names == name].mean() for name in np.unique(names)]) <= loss + 1e-9
    assert made.facts["cutoffs"][f"{loss:g}"] == 1


def test_a_cell_without_a_place_in_factor_space_is_scored_by_doubt() -> None:
    made = Novelty(2.0, None, {"doubt": (0.0, 1.0), "near": (0.0, 1.0)}, 1.0)
    score = made.score(np.array([4.0, np.e]), np.array([np.nan, np.e], np.float32))
    np.testing.assert_allclose(score, [2, 1], rtol=1e-6)


def test_groups_count_alike() -> None:
    values, names = np.array([*range(90), 1000.0]), np.array(["a"] * 90 + ["b"])
    assert quantile_by_group(values, 0.9, None) < 90
    assert quantile_by_group(values, 0.9, names) == 1000
