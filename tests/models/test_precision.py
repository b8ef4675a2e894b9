"""`precision='auto'`: what decides, that the decision is recorded, and where it is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from small_systems import geneformer
from torch import nn

import biolm
from biolm.core import hardware
from biolm.errors import ConfigError
from biolm.io.cells import open_cells
from biolm.jobs.precision import ENOUGH
from biolm.models import precision
from biolm.models.model import EmbedOptions
from biolm.models.token_model import TokenCellModel
from biolm.training.config import TrainerConfig
from biolm.training.run.train import _check_device

CELLS = Path(__file__).resolve().parents[2] / "data" / "cells" / "pbmc68k_reduced_counts_700.h5ad"


@pytest.fixture
def able(monkeypatch):
    """A CPU that multiplies bfloat16, whatever this one does."""
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda: True)


@pytest.fixture
def unable(monkeypatch):
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda: False)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "few.h5ad"
    anndata.read_h5ad(CELLS)[:40].copy().write_h5ad(path)
    return path


@pytest.fixture
def model(tmp_path):
    model = biolm.load(geneformer(tmp_path / "geneformer"))
    with torch.no_grad():  # weights of tests are drawn too large to be rounded
        for weight in model.core.layers.parameters():
            weight.mul_(0.4)
    return model


def vectors(model, path, **options):
    made = biolm.embed(path, model=model, block_rows=16, **options)
    key = next(iter(made.uns["biolm"]))
    return made.obsm[key], made.uns["biolm"][key]["parameters"]


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def unlike_in_bfloat16(model: TokenCellModel) -> None:
    """Two halves of a feed-forward that cancel, but for what bfloat16 rounds away."""
    for layer in model.core.layers:
        with torch.no_grad():
            for weight in (layer.mlp.up.weight, layer.mlp.up.bias):
                half = len(weight) // 2
                weight[half:] = weight[:half]
            down = layer.mlp.down.weight
            down[:, :half] *= 2000
            down[:, half:] = down[:, :half] * -(1 + 2**-10)


def test_bfloat16_is_chosen_and_recorded(able, model, few, caplog):
    caplog.set_level(logging.INFO, "biolm")
    exact, facts = vectors(model, few)
    assert facts["precision"] == "float32"
    assert "precision_auto" not in facts
    found, facts = vectors(model, few, precision="auto")
    assert facts["precision"] == facts["precision_auto"]["precision"] == "bfloat16"
    assert facts["precision_auto"]["cosine"] >= ENOUGH
    assert facts["precision_auto"]["rows"] == 16
    assert "precision bfloat16: vectors of the first 16 rows" in caplog.text
    assert not np.array_equal(found, exact)
    assert cosines(found, exact).min() > ENOUGH
    named, _ = vectors(model, few, precision="bfloat16")
    np.testing.assert_array_equal(found, named)


def test_a_model_that_bfloat16_changes_stays_float32(able, model, few, caplog):
    caplog.set_level(logging.INFO, "biolm")
    unlike_in_bfloat16(model)
    exact, _ = vectors(model, few)
    assert cosines(vectors(model, few, precision="bfloat16")[0], exact).min() < ENOUGH
    found, facts = vectors(model, few, precision="auto")
    assert facts["precision"] == facts["precision_auto"]["precision"] == "float32"
    assert facts["precision_auto"]["cosine"] < ENOUGH
    assert "below the 0.9999 that bfloat16 needs" in caplog.text
    np.testing.assert_array_equal(found, exact)


def test_without_the_instructions_float32(unable, model, few, caplog):
    caplog.set_level(logging.INFO, "biolm")
    found, facts = vectors(model, few, precision="auto")
    assert facts["precision"] == "float32"
    assert "no bfloat16 instructions" in facts["precision_auto"]["reason"]
    assert "no bfloat16 instructions" in caplog.text
    np.testing.assert_array_equal(found, vectors(model, few)[0])


def test_instructions_that_torch_may_not_use_do_not_count(monkeypatch):
    seen = hardware.multiplies_bfloat16.__wrapped__
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not seen()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not seen()


def test_emulated_bfloat16_says_so_once(monkeypatch, model, few, caplog):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    precision.warn_if_emulated.cache_clear()
    vectors(model, few, precision="bfloat16")
    assert caplog.text.count("bfloat16 is emulated and slower than float32") == 1
    precision.warn_if_emulated.cache_clear()
    with precision.mixed(torch.device("cpu"), "bfloat16"):
        assert torch.is_autocast_enabled("cpu")
    assert caplog.text.count("bfloat16 is emulated and slower than float32") == 2
    _check_device(TrainerConfig(precision="bf16", accelerator="cpu"))  # said already
    precision.warn_if_emulated.cache_clear()
    _check_device(TrainerConfig(precision="bf16", accelerator="cpu"))
    assert caplog.text.count("bfloat16 is emulated and slower than float32") == 3
    precision.warn_if_emulated.cache_clear()


def test_models_without_a_network(able, few):
    found, facts = vectors("genetext", few, precision="auto")
    assert facts["precision"] == "float32"
    assert facts["precision_auto"]["reason"] == "model genetext runs in float32 alone"
    np.testing.assert_array_equal(found, vectors("genetext", few)[0])
    for name in ("genetext", "cellfactors"):
        with pytest.raises(ConfigError, match="runs in float32 alone, so it takes no `precision`"):
            biolm.embed(few, model=name, precision="bfloat16")


def test_shards_take_a_precision_that_every_machine_has(model, few, tmp_path):
    with pytest.raises(ConfigError, match="shards must run alike"):
        biolm.embed(few, model=model, output=tmp_path / "s1", shard="1/2", precision="auto")
    with open_cells(few) as source, pytest.raises(ConfigError, match="jobs alone decide"):
        model.embed(source.take(np.arange(3)), _matched(model, source), EmbedOptions(precision="auto"))


def _matched(model, source):
    return model.vocabulary.match(source.gene_columns())


def test_resuming_takes_the_decision_of_the_interrupted_job(monkeypatch, able, model, few, tmp_path):
    embed, calls = TokenCellModel.embed, []

    def stopped(self, *args):
        calls.append(args[-1].precision)
        if len(calls) == 4:  # two to decide, one block
            raise KeyboardInterrupt
        return embed(self, *args)

    choices = {"model": model, "block_rows": 16, "precision": "auto"}
    whole = biolm.embed(few, output=tmp_path / "whole.h5ad", **choices)
    monkeypatch.setattr(TokenCellModel, "embed", stopped)
    with pytest.raises(KeyboardInterrupt):
        biolm.embed(few, output=tmp_path / "cut.h5ad", **choices)
    assert calls == ["float32", "bfloat16", "bfloat16", "bfloat16"]
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda: False)
    cut = biolm.embed(few, output=tmp_path / "cut.h5ad", resume=True, **choices)
    assert calls[4:] == ["bfloat16", "bfloat16"]
    wanted, found = anndata.read_h5ad(whole), anndata.read_h5ad(cut)
    np.testing.assert_array_equal(found.obsm["X_geneformer"], wanted.obsm["X_geneformer"])
    assert found.uns["biolm"]["X_geneformer"] == wanted.uns["biolm"]["X_geneformer"]


def test_an_index_has_one_precision(able, model, few):
    index = biolm.search.build([few, few], model=model, block_rows=16, precision="auto")
    assert index.metadata["model"]["precision"] == "bfloat16"
    found = biolm.search.query(few, index, model=model, block_rows=16, k=1)
    assert found.distances.max() < 1e-6


def test_annotators_and_gene_vectors_decide(able, model, few, tmp_path, caplog):
    caplog.set_level(logging.INFO, "biolm")
    labelled = anndata.read_h5ad(few)
    labelled.obs["half"] = ["a", "b"] * 20
    options = {"label": "half", "model": model, "features": "embedding", "block_rows": 16}
    made = biolm.annotate.fit(labelled, **options, precision="auto")
    assert caplog.text.count("precision bfloat16") == 1
    biolm.annotate.predict(labelled, made, precision="auto")
    assert caplog.text.count("precision bfloat16") == 2
    biolm.genes.contextual(few, model=model, precision="auto")
    assert caplog.text.count("precision bfloat16") == 3


def test_small_differences_stay_float32(able):
    from biolm.tasks.variants.settings import VariantSettings

    assert VariantSettings(precision="auto").options().precision == "float32"
    assert VariantSettings(precision="bfloat16").options().precision == "bfloat16"


def test_weights_of_layers_alone_are_rounded(model):
    from biolm.core.reduced import reduced

    core = model.core
    narrow = reduced(core, torch.bfloat16)
    assert {p.dtype for p in core.parameters()} == {torch.float32}
    assert narrow.layers[0].mlp.up.weight.dtype == torch.bfloat16
    assert narrow.layers[0].mlp_norm.weight.dtype == torch.float32
    assert narrow.embeddings is core.embeddings
    assert reduced(core, torch.bfloat16) is narrow
    with torch.no_grad():
        nn.init.ones_(core.layers[0].mlp.up.weight)
    again = reduced(core, torch.bfloat16)
    assert again is not narrow
    assert (again.layers[0].mlp.up.weight == 1).all()
