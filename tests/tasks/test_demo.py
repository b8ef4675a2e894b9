"""The demo from end to end, and what README says about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from biolm.errors import OutputError
from biolm.models.systems import cellfactors
from biolm.models.systems.genetext import centre
from biolm.tasks.demo.run import DemoResult, run_demo
from biolm.tasks.demo.scores import ALIKE, CONTROL, MODEL, SETS, TEXT, gene_half, open_set

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return run_demo(tmp_path_factory.mktemp("demo") / "demo")


@pytest.fixture(scope="module")
def scores(result: DemoResult) -> dict:
    return json.loads(result.files[-1].read_text())


def test_copies_hold_the_vectors_of_the_model(result: DemoResult, shipped_cells: Path) -> None:
    import anndata

    model = cellfactors.load()
    for name, path in zip(SETS, result.files, strict=False):
        copy, original = anndata.read_h5ad(path), anndata.read_h5ad(shipped_cells / f"{name}.h5ad")
        assert copy.uns["biolm"]["X_cellfactors"]["model"] == MODEL
        assert (copy.X != original.X).nnz == 0
        centred = centre(copy.obsm["X_cellfactors"])
        np.testing.assert_allclose(centred, open_set(name, model).vectors(model), rtol=1e-4, atol=1e-4)


def test_page_and_picture_show_every_set(result: DemoResult) -> None:
    picture, page = result.files[-3].read_bytes(), result.files[-2].read_text()
    assert picture.startswith(b"\x89PNG")
    for title in (
        *SETS.values(),
        "Both sets, no gene shared",
        MODEL,
        TEXT,
        ALIKE,
        CONTROL,
        "checkpoint_sha256",
    ):
        assert title in page


def test_halves_of_the_genes_share_no_gene() -> None:
    model = cellfactors.load()
    first, second = (open_set(name, model) for name in SETS)
    half = gene_half(model, 0)
    used = [set(each.match.target[each.match.target >= 0]) for each in (first, second)]
    assert len(used[0] & used[1]) > 500
    kept = [
        {row for row in rows if half[row] == side} for rows, side in zip(used, (True, False), strict=True)
    ]
    assert not kept[0] & kept[1]
    # Genes outside the half must not matter: hiding them from the table gives the same vectors.
    first.block.data[~half[first.match.target[first.block.indices]]] = 0
    np.testing.assert_array_equal(
        first.vectors(model, half), open_set(next(iter(SETS)), model).vectors(model, half)
    )


def test_plain_words_of_the_page_follow_from_the_scores(scores: dict) -> None:
    """On one set no better than components and counts; across panels far better than every control."""
    *within, shared, disjoint = scores["questions"]
    for question in within:
        model, _, _, _, *baselines, floor = question["scores"]
        assert "is better than" not in question["verdict"][3]
        assert max(each["macro_f1"] for each in baselines) > model["macro_f1"] > 2 * floor["macro_f1"]
    assert "is better than genetext" in shared["verdict"][0]
    assert "is better than" not in shared["verdict"][3]
    model, text, alike, random, floor = (each["macro_f1"] for each in disjoint["scores"])
    assert disjoint["impossible"] == ["PCA-20", "PCA-50", "log counts"]
    assert "is better than genetext" in disjoint["verdict"][0]
    assert model > 2 * random
    assert alike > (text + random) / 2
    assert shared["scores"][0]["macro_f1"] > model > floor


def test_readme_shows_the_numbers_of_the_demo(scores: dict, repository: Path) -> None:
    rows = re.findall(
        r"^\| \**(.+?)\** \| ([\d.]+) \| [\d.]+ to [\d.]+ \| ([\d.]+) \|$",
        (repository / "README.md").read_text(),
        re.MULTILINE,
    )
    printed = [score for question in scores["questions"] for score in question["scores"]]
    assert [name for name, *_ in rows] == [score["name"] for score in printed]
    # Another processor may round a distance differently and move a cell or two.
    for (_, *shown), score in zip(rows, printed, strict=True):
        assert [float(number) for number in shown] == pytest.approx(
            [score["macro_f1"], score["accuracy"]], abs=0.01
        )


def test_second_run_needs_overwrite(result: DemoResult) -> None:
    before = [path.read_bytes() for path in result.files]
    with pytest.raises(OutputError, match="exists already"):
        run_demo(result.files[0].parent)
    assert [path.read_bytes() for path in result.files] == before
