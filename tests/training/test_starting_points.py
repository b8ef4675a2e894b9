"""Runs that go on from a model: labels of files, frozen parts, low-rank updates, heads in the folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import biolm
from biolm.core import CoreConfig, Transformer
from biolm.core.lora import LoraConfig, add_lora
from biolm.errors import BiolmError, CheckpointError, ConfigError, InputError
from biolm.io.cells import open_cells
from biolm.training.config.read import build
from biolm.training.run.module import Pretraining
from biolm.training.run.prepare import prepare
from biolm.training.run.start import plain_weights
from biolm.training.run.train import make_module, train

CORE = {"d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 cells of two kinds over 30 genes, a second file without labels, a table of genes, a first model."""
    import anndata

    draws = np.random.default_rng(0)
    rates = np.where(np.arange(30) < 15, 4.0, 0.02)
    kinds = np.arange(60) % 2
    counts = np.stack([draws.poisson(rates if kind else rates[::-1]) for kind in kinds])
    made = anndata.AnnData(counts.astype(np.float32))
    made.var_names = [f"ENSG{number:011d}" for number in range(30)]
    made.obs_names = [f"c{number}" for number in range(60)]
    made.obs["kind"] = np.array(["T", "B"], dtype=object)[kinds]
    made.obs.loc[made.obs_names[:6], "kind"] = None
    made.obs["state"] = np.array(["rest", "act", "?"], dtype=object)[np.arange(60) % 3]
    made.obs["age"] = kinds * 20.0 + 30
    made.obs["same"] = "one"
    made.obs["gap"] = np.nan
    path = tmp_path_factory.mktemp("start")
    made.write_h5ad(path / "cells.h5ad")
    made.obs = made.obs[[]]
    made[:10].write_h5ad(path / "bare.h5ad")
    rows = [f"ENSG{number:011d},{'low' if number < 15 else 'high'},{number}" for number in range(30)]
    (path / "genes.csv").write_text("gene,half,place\n" + "\n".join(rows) + "\n")
    train(make(path, trainer={"max_steps": 2, "accelerator": "cpu"}), path / "first")
    return path


def make(folder, *, data=None, **sections):
    usual = {"batch_tokens": 256, "chunk": 4, "pool": 64, "validation": 0.2}
    values = {
        "data": {"paths": [str(folder / "cells.h5ad")], **usual, **(data or {})},
        "model": {"max_length": 32, "core": CORE},
        "optimiser": {"lr": 0.02},
        "trainer": {"max_steps": 8, "max_epochs": 99, "validate_every": 8, "accelerator": "cpu"},
    }
    return build({**values, **sections})


def start(folder, **more):
    return {"start": str(folder / "first" / "model"), **more}


def test_a_head_on_a_frozen_core_is_saved_and_predicts(folder, tmp_path):
    objectives = {
        "kind": {"objective": "classify", "column": "kind", "pool": "mean", "class_weights": "balanced"},
        "state": {"objective": "classify", "column": "state", "pool": "mean", "weight": 0.1},
    }
    config = make(
        folder, data={"labels": {"state": {"missing": ["?"]}}}, objectives=objectives,
        model=start(folder, freeze="all"), trainer={"max_steps": 30, "max_epochs": 99, "accelerator": "cpu"},
        optimiser={"lr": 0.1},
    )  # fmt: skip
    result = train(config, tmp_path / "run")
    before, after = (load_file(at / "model.safetensors") for at in (folder / "first" / "model", result.model))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert before.keys() == after.keys()
    model = biolm.load(result.model)
    assert model.heads.classes == {"kind": ("B", "T"), "state": ("act", "rest")}
    with open_cells(folder / "cells.h5ad") as source:
        match = model.vocabulary.match(source.gene_columns())
        tokens = model.tokenize(next(source.blocks()), match)
    said = model.predict(tokens)
    assert said["state"].shape == (60, 2)
    called = np.array(model.heads.classes["kind"])[said["kind"].argmax(1)]
    assert (called == np.array(["T", "B"])[np.arange(60) % 2]).mean() > 0.9
    again = biolm.load(folder / "first" / "model")
    with pytest.raises(ConfigError, match="trained on no label"):
        again.predict(tokens)


def test_low_rank_updates_end_in_the_weights_and_resume_to_the_bit(folder, tmp_path, monkeypatch):
    objectives = {"age": {"objective": "regress", "column": "age", "pool": "mean"}}
    lora = {"rank": 2, "layers": ["*.mlp.up"], "dropout": 0.1}
    config = make(
        folder, objectives=objectives, model=start(folder, lora=lora),
        trainer={"max_steps": 6, "max_epochs": 99, "checkpoint_every": 3, "accelerator": "cpu"},
    )  # fmt: skip
    whole = train(config, tmp_path / "whole")
    before, after = (load_file(at / "model.safetensors") for at in (folder / "first" / "model", whole.model))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"layers.0.mlp.up.weight", "layers.1.mlp.up.weight"}
    usual = Pretraining.training_step

    def killed(self, batch, batch_idx):
        if self.step == 5:
            raise RuntimeError("killed")
        return usual(self, batch, batch_idx)

    monkeypatch.setattr(Pretraining, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "broken")
    monkeypatch.undo()
    resumed = load_file(train(config, tmp_path / "broken", resume=True).model / "model.safetensors")
    assert all(torch.equal(after[name], resumed[name]) for name in after)
    goes_on = prepare(make(folder, objectives=objectives, model={"start": str(whole.model)}))
    heads = biolm.load(whole.model).heads.objective.state_dict()
    taken = make_module(goes_on, tmp_path).objective.state_dict()
    assert all(torch.equal(heads[name], taken[name]) for name in heads)


def test_donors_are_held_out_whole(folder):
    job = prepare(make(folder, data={"groups": "state"}))
    # Cells without a value would be groups of their own; here all have one of three.
    assert len({int(row) % 3 for row in job.valid.rows}) == 1
    assert len(job.train.rows) == 40


def test_low_rank_weights_are_those_of_a_plain_core():
    torch.manual_seed(0)
    core = Transformer(CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8))
    names = set(core.state_dict())
    add_lora(core, LoraConfig(rank=2, alpha=3.0))
    layer = core.layers[0].attention.query
    torch.nn.init.normal_(layer.up)
    found = plain_weights(core, core.state_dict())
    assert set(found) == names
    x = torch.randn(5, 8)
    made = x @ found["layers.0.attention.query.weight"].T + found["layers.0.attention.query.bias"]
    torch.testing.assert_close(made, layer(x))


@pytest.mark.parametrize("frozen", ["embeddings", 1])
def test_frozen_parts_do_not_move(folder, tmp_path, frozen):
    config = make(folder, model=start(folder, freeze=frozen), trainer={"max_steps": 1, "accelerator": "cpu"})
    module = make_module(prepare(config), tmp_path)
    learns = {name for name, weight in module.core.named_parameters() if weight.requires_grad}
    assert not any(name.startswith("embeddings.") for name in learns)
    assert any(name.startswith("layers.1.") for name in learns)
    assert any(name.startswith("layers.0.") for name in learns) == (frozen == "embeddings")


def test_genes_are_labelled_in_every_cell(folder, tmp_path):
    table = {"genes": str(folder / "genes.csv")}
    objectives = {
        "half": {"objective": "classify", "column": "half", "level": "token"},
        "place": {"objective": "regress", "column": "place", "level": "token", "weight": 0.1},
    }
    config = make(
        folder, data={"labels": {"half": table, "place": table}}, objectives=objectives,
        trainer={"max_steps": 30, "max_epochs": 99, "validate_every": 30, "accelerator": "cpu"},
    )  # fmt: skip
    result = train(config, tmp_path / "run")
    assert result.scores["half/loss"] < 0.5 * result.scores["half/frequencies"]
    assert result.scores["place/mae"] < result.scores["place/mean_mae"]
    model = biolm.load(result.model)
    with open_cells(folder / "cells.h5ad") as source:
        tokens = model.tokenize(next(source.blocks()), model.vocabulary.match(source.gene_columns()))
    said = model.predict(tokens, batch_tokens=100)
    assert said["half"].shape == (len(tokens.ids), 2)
    genes = tokens.ids >= 4
    called = np.array(model.heads.classes["half"])[said["half"].argmax(1)]
    assert (called == np.where(tokens.ids < 19, "low", "high"))[genes].mean() > 0.9


def test_cells_without_a_label_teach_only_what_needs_none(folder):
    paths = [str(folder / name) for name in ("cells.h5ad", "bare.h5ad")]
    objectives = {"classify": {"column": "kind"}}
    job = prepare(make(folder, data={"paths": paths}, objectives=objectives))
    # Six cells of the first file and all ten of the second have no kind.
    assert len(job.train.rows) + len(job.valid.rows) == 54
    both = prepare(make(folder, data={"paths": paths}, objectives={**objectives, "masked_tokens": {}}))
    assert len(both.train.rows) + len(both.valid.rows) == 70
    assert both.labels.counts(np.arange(70))["kind"] == (27, 27)


def test_held_out_examples_without_a_label_are_told_of(folder, tmp_path, caplog):
    import anndata

    cells = anndata.read_h5ad(folder / "cells.h5ad")
    donors = np.array(["here", "there"])[np.arange(cells.n_obs) % 4 // 3]
    cells.obs["donor"], cells.obs["kind"] = donors, cells.obs["kind"].astype(object)
    cells.obs.loc[cells.obs["donor"] == "there", "kind"] = ""
    cells.write_h5ad(tmp_path / "cells.h5ad")
    data = {"paths": [str(tmp_path / "cells.h5ad")], "groups": "donor"}
    alone = {"classify": {"column": "kind"}}
    config = make(folder, data=data, objectives={**alone, "masked_tokens": {}})
    result = train(config, tmp_path / "run")
    assert "no held-out example has a label in the column 'kind': it is not validated" in caplog.messages
    assert "masked_tokens/loss" in result.scores
    assert not any(name.startswith("classify") for name in result.scores)
    assert prepare(make(folder, data=data, objectives=alone)).valid is None
    assert any("so nothing is validated" in message for message in caplog.messages)
    with pytest.raises(InputError, match="no held-out example has a label to validate on"):
        prepare(make(folder, data=data, objectives=alone, trainer={"patience": 2}))


BOTH_WAYS = {"classify": {"column": "age"}, "regress": {"column": "age"}}


def classified(column, **settings):
    return {"objectives": {"classify": {"column": column, **settings}}}


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        (classified("knid"), InputError, "did you mean 'kind'"),
        (classified("same"), InputError, "all training labels .* are 'one'"),
        ({"objectives": {"regress": {"column": "gap"}}}, InputError, "no labelled example"),
        ({"objectives": {"masked_tokens": {}, "regress": {"column": "gap"}}}, InputError, "no training ex"),
        ({"objectives": {"regress": {"column": "kind"}}}, InputError, "holds text"),
        (classified("kind", level="token"), ConfigError, "labels each example"),
        (classified("kind", level="cell"), ConfigError, "example or token"),
        (classified("kind", class_weights="even"), ConfigError, "balanced"),
        (classified("kind", class_weights=[1, 1, 1]), ConfigError, "3 numbers"),
        ({"objectives": BOTH_WAYS}, ConfigError, "another name"),
        (classified("kind", weight="much"), ConfigError, "must be a number, not"),
        (classified("kind", pool=3), ConfigError, "pool must be text, not 3"),
        (classified("kind", label_smoothing="some"), ConfigError, "must be a number"),
        ({"data": {"groups": "donr"}}, InputError, "no file of cells has the obs column"),
        ({"data": {"groups": "same"}}, InputError, "leave nothing"),
        ({"data": {"labels": {"knid": {}}}}, ConfigError, "read by no objective"),
        ({"model": {"lora": {}}}, ConfigError, "set model.start"),
        ({"model": {"freeze": "all"}}, ConfigError, "set model.start"),
        ({"model": {"start": "genetext"}}, ConfigError, "no core that reads cells"),
        ({"model": {"start": "nowhere"}}, ConfigError, "no model or folder"),
        ({"model": {"start": "{folder}"}}, CheckpointError, "no model recognises"),
        ({"model": {"start": "{model}", "core": {"d_model": 8}}}, ConfigError, "which fixes it"),
        ({"model": {"start": "{model}", "core": {"dmodel": 8}}}, ConfigError, "did you mean 'd_model'"),
        ({"model": {"start": "{model}", "tokenizer": {"max_lenght": 8}}}, ConfigError, "'max_length'"),
        ({"model": {"start": "{model}", "lora": {"layers": ["*.qeury"]}}}, ConfigError, "fits none"),
        ({"model": {"start": "{model}", "freeze": 9}}, ConfigError, "9 layers"),
        ({"model": {"start": "{model}", "freeze": "all"}}, ConfigError, "nothing to learn"),
        ({"model": {"start": "{model}", "init_genes": "genetext"}}, ConfigError, "its own gene vectors"),
        ({"model": {"start": "{model}"}, "data": {"vocabulary": "{model}"}}, ConfigError, "own vocabulary"),
    ],
)  # fmt: skip
def test_impossible_starts_and_labels_are_refused(folder, tmp_path, sections, error, message):
    places = {"{folder}": str(folder), "{model}": str(folder / "first" / "model")}

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(entry) for key, entry in value.items()}
        return places.get(value, value) if isinstance(value, str) else value

    with pytest.raises(error, match=message) as caught:
        make_module(prepare(make(folder, **filled(sections))), tmp_path)
    assert isinstance(caught.value, BiolmError)
    assert str(caught.value).count(". ") == 0
