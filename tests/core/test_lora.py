"""LoRA: fresh adapters change nothing, merging is exact, only adapters learn, and are saved alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from perturb import perturb, relative
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.lora import LoraConfig, add_lora, fold_lora, load_lora, merge_lora, save_lora, unmerge_lora
from biolm.errors import CheckpointError, ConfigError

CORE = CoreConfig(vocab_size=20, d_model=16, n_layers=2, n_heads=2, d_ff=24, head="linear")
CHOSEN = LoraConfig(layers=("*.attention.query", "layers.1.mlp.*"), rank=3, alpha=5.0)


def _model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(CORE)
    perturb(model)
    return model.eval()


def _logits(model: Transformer) -> Tensor:
    ids = torch.arange(12).view(3, 4)
    logits = model(Batch.from_padded(ids)).logits
    assert logits is not None
    return logits


def _trained() -> Transformer:
    model = _model()
    add_lora(model, CHOSEN)
    torch.manual_seed(1)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        _logits(model).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return model


def test_fresh_adapters_change_nothing_and_training_changes_only_them() -> None:
    plain = _logits(_model())
    model = _model()
    names = add_lora(model, CHOSEN)
    assert names == [
        "layers.0.attention.query",
        "layers.1.attention.query",
        "layers.1.mlp.up",
        "layers.1.mlp.down",
    ]
    assert torch.equal(_logits(model), plain)
    trained = _trained()
    assert relative(_logits(trained).detach(), plain.detach()) > 1e-2
    base = {name.replace(".base.", "."): x for name, x in trained.state_dict().items()}
    for name, tensor in _model().state_dict().items():
        assert torch.equal(base[name], tensor), name


def test_merge_unmerge_and_fold() -> None:
    model = _trained()
    wanted = _logits(model).detach()
    weight = model.layers[0].attention.query.base.weight.clone()
    merge_lora(model)
    assert not torch.equal(model.layers[0].attention.query.base.weight, weight)
    assert relative(_logits(model).detach(), wanted) < 1e-5
    merge_lora(model)  # a second call must not add it twice
    assert relative(_logits(model).detach(), wanted) < 1e-5
    unmerge_lora(model)
    assert relative(model.layers[0].attention.query.base.weight, weight) < 1e-6
    fold_lora(model)
    assert model.state_dict().keys() == _model().state_dict().keys()
    assert relative(_logits(model).detach(), wanted) < 1e-5


def test_saved_alone_and_loaded(tmp_path: Path) -> None:
    model = _trained()
    save_lora(model, tmp_path, CHOSEN)
    assert (tmp_path / "adapter.safetensors").stat().st_size < 8000
    other = _model()
    assert load_lora(other, tmp_path) == CHOSEN
    assert torch.equal(_logits(other), _logits(model))


def test_dropout_acts_in_training_only() -> None:
    model = _model()
    add_lora(model, LoraConfig(layers=("*.query",), dropout=0.5))
    for module in model.modules():
        if hasattr(module, "up") and isinstance(module.up, torch.nn.Parameter):
            torch.nn.init.normal_(module.up)
    assert torch.equal(_logits(model), _logits(model))
    model.train()
    assert not torch.equal(_logits(model), _logits(model))


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rank must be at least 1"):
        LoraConfig(rank=0)
    with pytest.raises(ConfigError, match=r"dropout must lie in \[0, 1\)"):
        LoraConfig(dropout=1.0)
    with pytest.raises(ConfigError, match="fits none of the linear layers"):
        add_lora(_model(), LoraConfig(layers=("*.attention.keys",)))
    with pytest.raises(ConfigError, match="no LoRA adapters to save"):
        save_lora(_model(), tmp_path, CHOSEN)
    with pytest.raises(ConfigError, match="already"):
        add_lora(_trained(), CHOSEN)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_lora(_model(), tmp_path)
    save_lora(_trained(), tmp_path, LoraConfig(layers=("*.attention.query",), rank=2))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_lora(_model(), tmp_path)
