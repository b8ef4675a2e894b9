from __future__ import annotations

import pytest

from biolm.errors import ConfigError
from biolm.training.config.read import build, change, read_config, write_config

DATA = {"data": {"paths": ["cells.h5ad"]}}


def test_what_is_written_is_read_back(tmp_path):
    config = build({**DATA, "objectives": {"masked_tokens": {"rate": 0.2}, "next_token": None}, "seed": 3})
    write_config(tmp_path / "config.yaml", config)
    assert read_config(tmp_path / "config.yaml") == config
    assert config.objectives["next_token"] == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needs the setting 'data'"),
        ({**DATA, "trianer": {}}, "did you mean 'trainer'"),
        ({**DATA, "model": {"freeze": "half"}}, "model.freeze must be all, embeddings or a number"),
        ({**DATA, "model": {"freeze": True}}, "model.freeze"),
        ({**DATA, "model": {"freeze": 1, "lora": {}}}, "freezes the core already"),
        ({**DATA, "model": {"lora": {"rnak": 2}}}, "did you mean 'rank'"),
        ({"data": {"paths": "x", "labels": {"kind": {"colunm": "y"}}}}, "did you mean 'column'"),
        ({"data": {"paths": "x", "labels": {"kind": {"classes": ["a", "a"]}}}}, "each class once"),
        ({"data": {"paths": "x", "chunk": "many"}}, "data.chunk must be a whole number, not 'many'"),
        ({"data": {"paths": "x", "workers": True}}, "data.workers must be a whole number"),
        ({"data": ["x"]}, "data must be a section"),
        ({**DATA, "model": {"adapter": "words"}}, "model.adapter must be one of rank, bins, continuous"),
        ({**DATA, "model": {"core": 3}}, "model.core must be a section"),
        ({**DATA, "trainer": {"ema": 1.0}}, "trainer.ema"),
        ({**DATA, "trainer": {"max_steps": -1}}, "0 or more"),
        ({**DATA, "optimiser": {"lr": "fast"}}, "optimiser.lr must be a number"),
        ({**DATA, "optimiser": {"betas": [0.9]}}, "betas"),
        ({**DATA, "schedule": {"end": 2}}, "end in"),
        ({**DATA, "objectives": {}}, "at least one objective"),
        ({**DATA, "seed": -1}, "seed"),
        ({**DATA, "seed": 2**63}, r"below 2\*\*63"),
        ({**DATA, "optimiser": {"lr": float("nan")}}, "optimiser.lr must be a finite number"),
        ({**DATA, "trainer": {"clip": float("inf")}}, "trainer.clip must be a finite number"),
        ({**DATA, "trainer": {"accelerator": "tpuu"}}, "accelerator must be auto, cpu, gpu"),
        ({**DATA, "model": {"pool": "middle"}}, "model.pool must be one of mean"),
        ({**DATA, "name": "my/model"}, "without a slash"),
        ({**DATA, "name": " "}, "without a slash"),
        ({"data": {"paths": "x", "validation": 0}, "trainer": {"patience": 2}}, "held-out examples"),
        ({"data": {"paths": "x", "species": "rat"}}, "data.species must be one of human, mouse"),
    ],
)
def test_impossible_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        build(values)


def test_changes_replace_what_the_file_says(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data: {paths: cells.h5ad}\noptimiser: {lr: 1e-3}\n")
    config = read_config(path, ["optimiser.lr=3e-4", "trainer.max_steps=7", "data.vocabulary=folder"])
    assert (config.optimiser.lr, config.trainer.max_steps) == (3e-4, 7)
    assert (config.data.paths, config.data.vocabulary) == (("cells.h5ad",), "folder")


@pytest.mark.parametrize("text", ["seed", "=3", "seed.x=3", "seed=[1"])
def test_broken_changes_are_refused(text):
    with pytest.raises(ConfigError):
        change({"seed": 1}, text)


def test_a_key_that_stands_twice_is_an_error(tmp_path):
    path = tmp_path / "run.yaml"
    for text in (
        "data: {paths: a}\nseed: 1\ndata: {paths: b}\n",
        "data: {paths: a}\ntrainer: {keep: 1, keep: 2}\n",
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"'(data|keep)' stands twice"):
            read_config(path)
    path.write_text("base: &b {keep: 1}\ndata: {paths: a}\ntrainer: {<<: *b, keep: 3}\n")
    with pytest.raises(ConfigError, match="no setting 'base'"):
        read_config(path)
    path.write_bytes("name: Zürich\ndata: {paths: a}\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        read_config(path)


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_broken_files_are_refused(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"YAML|no table"):
        read_config(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "absent.yaml")


def test_a_section_in_which_all_is_commented_out_is_empty(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("data: {paths: [x]}\ntrainer:\n  # max_steps: 3\nmodel:\n  core:\n")
    assert read_config(file) == build({"data": {"paths": ["x"]}})
    assert read_config(file, ["trainer.max_steps=3", "model.core.d_ff=8"]) == build(
        {"data": {"paths": ["x"]}, "trainer": {"max_steps": 3}, "model": {"core": {"d_ff": 8}}}
    )
