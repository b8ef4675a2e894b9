"""A kind of data of another package is embedded, annotated, sharded, merged and resumed like our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest

import biolm
from biolm.errors import ConfigError, InputError
from biolm.jobs.modality import available, modality_of
from biolm.models import registry
from biolm.tasks.annotate.settings import PredictSettings

HERE = Path(__file__).parent


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """The toy package as an installed one."""
    site = tmp_path / "site"
    shutil.copytree(HERE / "toy", site, ignore=shutil.ignore_patterns("__pycache__"))
    about = site / "toy_lines-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-lines\nVersion: 1.0\n")
    points = "[biolm.modalities]\nlines = toy_lines:MODALITY\n\n[biolm.models]\nletters = toy_lines\n"
    (about / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(site)
    available.cache_clear()
    registry.available.cache_clear()
    yield site
    available.cache_clear()
    registry.available.cache_clear()
    sys.modules.pop("toy_lines", None)


@pytest.fixture
def lines(tmp_path) -> Path:
    path = tmp_path / "rows.lines"
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcd"), 6)) for _ in range(10)]
    path.write_text("".join(f"row{n} {'even' if n % 2 == 0 else 'odd'} {t}\n" for n, t in enumerate(texts)))
    return path


def expected(path: Path) -> np.ndarray:
    return np.array([[line.split()[2].count(x) for x in "abcd"] for line in path.read_text().splitlines()])


def test_it_embeds_in_memory_and_into_files(package, lines, tmp_path):
    assert modality_of(lines).name == "lines"
    held = biolm.embed(lines, model="letters")
    assert held.obs_names.tolist() == [f"row{n}" for n in range(10)]
    assert held.obs["label"].tolist() == ["even", "odd"] * 5
    assert (held.obsm["X_letters"] == expected(lines)).all()
    for form in ("h5ad", "zarr", "parquet", "npy"):
        biolm.embed(lines, model="letters", output=tmp_path / f"x.{form}")
    read = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert (read.obsm["X_letters"] == expected(lines)).all()
    assert read.obs["label"].tolist() == ["even", "odd"] * 5
    assert np.load(tmp_path / "x.npy").shape == (10, 4)


def test_shards_merge_to_the_bytes_of_the_whole_job(package, lines, tmp_path):
    whole = biolm.embed(lines, model="letters", output=tmp_path / "whole.h5ad")
    parts = [
        biolm.embed(lines, model="letters", output=tmp_path / f"p{n}", shard=f"{n}/3") for n in (1, 2, 3)
    ]
    lines.unlink()
    made = biolm.merge(parts[::-1], tmp_path / "made.h5ad")
    assert made.read_bytes() == whole.read_bytes()


def test_it_goes_on_where_it_was_interrupted(package, lines, tmp_path, monkeypatch):
    import toy_lines

    whole = biolm.embed(lines, model="letters", output=tmp_path / "whole.npy")
    embed, done = toy_lines.Letters.embed, []

    def dying(self, block, binding, options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(block)
        return embed(self, block, binding, options)

    monkeypatch.setattr(toy_lines.Letters, "embed", dying)
    with pytest.raises(KeyboardInterrupt):
        biolm.embed(lines, model="letters", output=tmp_path / "part.npy")
    done.pop()
    done.pop()
    biolm.embed(lines, model="letters", output=tmp_path / "part.npy", resume=True)
    assert len(done) == 2
    assert (tmp_path / "part.npy").read_bytes() == whole.read_bytes()


@pytest.fixture
def labelled(tmp_path) -> Path:
    """60 lines: even ones hold more of a and b."""
    path = tmp_path / "labelled.lines"
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("aaabbbcd" if n % 2 == 0 else "abcccddd"), 20)) for n in range(60)]
    path.write_text("".join(f"row{n} {'odd' if n % 2 else 'even'} {t}\n" for n, t in enumerate(texts)))
    return path


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_it_is_annotated_in_memory_and_into_files(package, labelled, tmp_path, method):
    annotator = biolm.annotate.fit(
        labelled, label="label", model="letters", method=method, output=tmp_path / "made"
    )
    (head,) = annotator.heads
    assert head.classes == ("even", "odd")
    assert head.report["lines"] == 60
    assert 10 < head.report["test_lines"] < 20
    assert head.report["held_out"]["macro_f1"] > 0.8
    assert [row["name"] for row in head.report["baselines"]] == ["majority class"]
    assert "lines to learn from" in (tmp_path / "made" / "report.html").read_text()
    held = biolm.annotate.predict(labelled, tmp_path / "made")
    assert (held.obs["biolm_label"] == held.obs["label"]).mean() > 0.8
    assert np.allclose(held.obsm["biolm_label_probabilities"].sum(1), 1)
    for form in ("h5ad", "zarr"):
        counts = biolm.annotate.predict_file(
            labelled, tmp_path / f"named.{form}", annotator, PredictSettings()
        )
        assert sum(counts["biolm_label"].values()) == 60
    read = anndata.read_h5ad(tmp_path / "named.h5ad")
    assert read.obs["biolm_label"].tolist() == held.obs["biolm_label"].tolist()
    assert read.obs_names.tolist() == held.obs_names.tolist()


def test_shards_of_its_names_merge_and_an_interrupted_job_goes_on(package, labelled, tmp_path, monkeypatch):
    import toy_lines

    biolm.annotate.fit(labelled, label="label", model="letters", method="knn", output=tmp_path / "made")

    def job(name: str, **options: object) -> Path:
        biolm.annotate.predict_file(labelled, tmp_path / name, tmp_path / "made", PredictSettings(**options))
        return tmp_path / name

    whole = job("whole.h5ad")
    parts = [job(f"p{n}", shard=f"{n}/3") for n in (1, 2, 3)]
    embed, done = toy_lines.Letters.embed, []

    def dying(self, block, binding, options):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(block)
        return embed(self, block, binding, options)

    monkeypatch.setattr(toy_lines.Letters, "embed", dying)
    with pytest.raises(KeyboardInterrupt):
        job("part.h5ad")
    done[:] = ["past the limit"] * 6
    resumed = job("part.h5ad", resume=True)
    assert len(done) == 6 + 20 - 5
    labelled.unlink()
    merged = biolm.merge(parts[::-1], tmp_path / "merged.h5ad")
    assert resumed.read_bytes() == merged.read_bytes() == whole.read_bytes()


def test_what_annotation_of_it_does_not_use_is_refused(package, labelled, tmp_path):
    fit = {"label": "label", "model": "letters"}
    for option in ({"features": "expression"}, {"split": "random"}, {"gene_column": "index"}):
        with pytest.raises(ConfigError, match=f"`{next(iter(option))}`"):
            biolm.annotate.fit(labelled, **fit, **option)
    with pytest.raises(ConfigError, match="lines have no tokens to train a model on"):
        biolm.annotate.fit(labelled, **fit, method="head")
    with pytest.raises(InputError, match="no label column 'kind' in obs; the file has label"):
        biolm.annotate.fit(labelled, label="kind", model="letters")
    annotator = biolm.annotate.fit(labelled, **fit, method="knn")
    with pytest.raises(ConfigError, match="written as h5ad or zarr, not as npy"):
        biolm.annotate.predict_file(labelled, tmp_path / "x.npy", annotator, PredictSettings())


def test_options_of_other_kinds_and_models_of_other_kinds_are_refused(package, lines, tmp_path):
    for options in ({"gene_column": "index"}, {"per_residue": True}, {"centre": True}):
        with pytest.raises(ConfigError, match=f"`{next(iter(options))}` is for .* means nothing for lines"):
            biolm.embed(lines, model="letters", **options)
    with pytest.raises(ConfigError, match="model genetext reads no lines"):
        biolm.embed(lines, model="genetext")


def test_the_command_line_embeds_it(package, lines, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])}
    command = [sys.executable, "-m", "biolm", "embed", str(lines), "-m", "letters", "--json"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "x.h5ad")],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert json.loads(done.stdout)["cells"] == 10
    assert (anndata.read_h5ad(tmp_path / "x.h5ad").obsm["X_letters"] == expected(lines)).all()
