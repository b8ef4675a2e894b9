"""Fusion trained on sections: no leak, every arm, guards that hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from biolm.adapters.spatial.genes import GenePanel, choose_targets
from biolm.errors import ConfigError, InputError
from biolm.models.systems.gene_image_store import load_gene_image
from biolm.scoring.spatial_splits import choose_split
from biolm.tasks.spatial.arms import ARMS
from biolm.tasks.spatial.prepared import load_prepared
from biolm.training.spatial.arrays import other_spots, section_arrays
from biolm.training.spatial.fit import predict_arrays


def predictions(saved, adata, mode: str = "both") -> np.ndarray:
    """``(n, g)`` in the order of the file."""
    section = load_prepared(adata)
    arrays = section_arrays(section, saved.panel, neighbours=saved.neighbours, targets=False)
    return section.in_file_order(predict_arrays(saved.model, arrays, mode).expression)


@pytest.fixture
def section(prepared: list[Path]):
    import anndata

    return anndata.read_h5ad(prepared[0])


@pytest.mark.parametrize("mode", ["genes", "both"])
def test_leakage_a_targets_count_changes_nothing(model_folder: Path, section, mode: str) -> None:
    saved = load_gene_image(model_folder)
    # Move the trained layers away from zero, so that every path is open.
    import torch

    with torch.no_grad():
        torch.nn.init.normal_(saved.model.fused.weight, generator=torch.Generator().manual_seed(0))
    before = predictions(saved, section, mode)
    changed = section.copy()
    counts = changed.X.toarray()
    for name in saved.panel.targets:
        counts[:, changed.var_names.get_loc(name)] += 500
    changed.X = type(section.X)(counts)
    assert np.array_equal(predictions(saved, changed, mode), before)
    # The guard is what holds this: a panel that reads a target sees the change.
    other = section.copy()
    counts = other.X.toarray()
    counts[:, other.var_names.get_loc(str(saved.panel.context[0]))] += 500
    other.X = type(section.X)(counts)
    assert not np.array_equal(predictions(saved, other, mode), before)


def test_a_gene_cannot_be_target_and_input() -> None:
    with pytest.raises(InputError, match="A is both a target and an input"):
        GenePanel(targets=np.array(["A"]), context=np.array(["A", "B"]), tokens=np.array([True, True]))


@pytest.mark.parametrize("kind", ["continuous", "bins", "rank"])
def test_leakage_reordering_the_file_changes_nothing(model_folder: Path, section, kind: str) -> None:
    saved = load_gene_image(model_folder)
    before = predictions(saved, section)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(section.n_obs), rng.permutation(section.n_vars)
    mixed = section[rows, columns].copy()
    assert np.array_equal(predictions(saved, mixed), before[rows])
    first, second = (
        section_arrays(load_prepared(adata), saved.panel, kind=kind, neighbours=4, targets=False)
        for adata in (section, mixed)
    )
    assert np.array_equal(first.tokens.ids, second.tokens.ids)
    assert np.array_equal(first.tokens.values, second.tokens.values)


def test_report_has_every_arm(model_folder: Path) -> None:
    report = json.loads((model_folder / "report.json").read_text())
    assert set(report["arms"]) == set(ARMS)
    for arm in report["arms"].values():
        assert set(arm) >= {"normalised", "raw", "by_section"}
        assert arm["normalised"]["low"] <= arm["normalised"]["mean"] <= arm["normalised"]["high"]
    assert report["facts"]["split"] == "section"
    assert (
        report["arms"]["genes only"]["normalised"]["mean"]
        > report["arms"]["shuffled pairs"]["normalised"]["mean"]
    )
    assert (model_folder / "report.html").read_text().count("<h2>") >= 2
    assert report["verdict"].startswith("The image adds")


def test_trap_9_the_wrong_image_is_worse_where_the_image_counts(model_folder: Path) -> None:
    """A.5 trap 9: an image arm is believed only beside shuffled and wrong images."""
    report = json.loads((model_folder / "report.json").read_text())
    arms = {name: arm["normalised"]["mean"] for name, arm in report["arms"].items()}
    assert arms["image only"] > arms["shuffled pairs"]
    order = other_spots(np.array([0, 0, 0, 1, 1]), seed=3)
    assert (order != np.arange(5)).all()
    assert (order[:3] < 3).all()


def test_trap_8_contrast_is_reported_beside_chance(prepared: list[Path]) -> None:
    """A.5 trap 8: a contrastive loss that sits at log(batch) is seen, and patients are kept apart."""
    from biolm.tasks.spatial.folds import FoldSections, fold_arrays
    from biolm.tasks.spatial.settings import ModelSettings
    from biolm.training.spatial.fit import fit
    from biolm.training.spatial.settings import FitSettings

    sections = [load_prepared(path) for path in prepared]
    settings = ModelSettings(targets=6, tokens=8, components=5, neighbours=4, width=16, layers=1, heads=2)
    arrays = fold_arrays(FoldSections("x", sections[:1], sections[1:2], sections[2:]), settings)
    done = fit(arrays.config, arrays.train, None, FitSettings(batch=32), epochs=1)
    assert 0 < done.history[0]["contrast_chance"] <= np.log(32) + 1e-6
    assert "contrast" in done.history[0]
    assert choose_split("auto", ["A", "A", "B"]) == "patient"
    with pytest.raises(ConfigError, match="cannot be split by blocks; use patient"):
        choose_split("blocks", ["A", "A", "B"])


def test_a_random_split_is_refused_unless_forced() -> None:
    with pytest.raises(ConfigError, match="force_random_split"):
        choose_split("random", ["A"])
    assert choose_split("random", ["A"], force_random=True) == "random"


def test_targets_are_chosen_on_training_sections_alone(prepared: list[Path]) -> None:
    sections = [load_prepared(path) for path in prepared]
    panel = choose_targets([s.counts for s in sections[:2]], [s.genes for s in sections[:2]], 5, tokens=4)
    assert not set(panel.targets) & set(panel.context)
    assert int(panel.tokens.sum()) == 4
    for section in sections[:2]:
        expressed = np.asarray((panel.target_counts(section.counts, section.genes) > 0).mean(0)).ravel()
        assert (expressed >= 0.1).all()


def test_niches_are_predicted_beside_the_training_mean(prepared: list[Path]) -> None:
    from dataclasses import replace

    from biolm.tasks.spatial.settings import ModelSettings, TrainSettings
    from biolm.tasks.spatial.train import train
    from biolm.training.spatial.settings import FitSettings

    sections = []
    for path in prepared:
        section = load_prepared(path)
        kinds = np.where(section.xy[:, 0] > 220, "right", "left")
        sections.append(replace(section, columns={**section.columns, "kind": kinds}))
    shape = ModelSettings(
        targets=4,
        tokens=6,
        components=4,
        neighbours=3,
        width=16,
        layers=1,
        heads=2,
        niche="kind",
        niche_um=300,
    )
    settings = TrainSettings(model=shape, fit=FitSettings(epochs=2, niche=1.0), seeds=1, controls=False)
    found = train(sections, settings=settings)
    assert found.scores is not None
    losses = found.scores.as_dict()["niche_cross_entropy"]
    assert set(losses) == {section.name for section in sections}
    for one in losses.values():
        assert 0 < one["model"] < 2
        assert one["training mean"] == pytest.approx(np.log(2), abs=0.1)
    with pytest.raises(InputError, match="no column 'nothing'"):
        train(sections, settings=replace(settings, model=replace(shape, niche="nothing")))


def test_train_from_the_command_line(prepared: list[Path], tmp_path: Path) -> None:
    from biolm.cli.main import app

    arguments = [
        "spatial",
        "train",
        *map(str, prepared),
        "-o",
        str(tmp_path / "out"),
        "--seeds",
        "1",
        "--quiet",
    ]
    arguments += ["--targets", "4", "--tokens", "6", "--components", "4", "--width", "8", "--epochs", "1"]
    result = CliRunner().invoke(app, [*arguments, "--layers", "1", "--neighbours", "3"])
    assert result.exit_code == 0, result.output
    assert "image gain, paired by gene and section" in result.stdout
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "exists already" in again.output
