"""Embedders and heads by name: made from a config, saved and loaded with own models, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from biolm.adapters.cells import RankTokenizer
from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core import parts as registry
from biolm.core.parts import Part, find_part, register_part
from biolm.errors import ConfigError
from biolm.models import native
from biolm.models.preprocessor import CellPreprocessor
from biolm.vocab.genes import GeneVocabulary

SIZES: dict[str, Any] = {"vocab_size": 30, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 16}


@dataclass(frozen=True, kw_only=True)
class Scaled:
    factor: float = 2.0


class Doubled(nn.Module):
    def __init__(self, config: CoreConfig, options: Scaled) -> None:
        super().__init__()
        self.token, self.factor = nn.Embedding(config.vocab_size, config.d_model), options.factor

    def forward(self, batch: Batch) -> Tensor:
        return self.token(batch.ids) * self.factor


class Sums(nn.Module):
    def __init__(self, config: CoreConfig, options: None) -> None:
        super().__init__()
        self.out = nn.Linear(config.d_model, 3)

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        return self.out(states) + table.sum()


DOUBLED = Part(name="doubled", kind="embedder", factory=Doubled, options=Scaled)
SUMS = Part(name="sums", kind="output", factory=Sums)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry._PARTS, "_found", {})
    register_part(DOUBLED)
    register_part(SUMS)


def _batch() -> Batch:
    return Batch.from_padded(torch.tensor([[5, 6, 7], [8, 9, 2]]))


def _preprocessor() -> CellPreprocessor:
    genes = [f"ENSG{number:011d}" for number in range(28)]
    tokenizer = RankTokenizer(token_ids=np.arange(2, 30, dtype=np.int32), medians=np.ones(28), max_length=20)
    return CellPreprocessor(name="own", vocabulary=GeneVocabulary.of(genes), tokenizer=tokenizer)


@torch.inference_mode()
def test_own_models_save_and_load_their_parts(tmp_path: Path) -> None:
    options = {"doubled": {"factor": 3.0}}
    core = Transformer(CoreConfig(**SIZES, embedder="doubled", output="sums", part_options=options)).eval()
    output = core(_batch())
    assert output.logits.shape == (6, 3)
    preprocessor = _preprocessor()
    vocabulary = {
        "<pad>": 0,
        "<mask>": 1,
        **dict(zip(preprocessor.vocabulary.genes, range(2, 30), strict=True)),
    }
    saved = native.Saved(preprocessor=preprocessor, vocabulary=vocabulary, core=core.config)
    native.save(tmp_path, saved, core.state_dict())
    again = native.load(tmp_path)
    assert isinstance(again.core.embeddings, Doubled)
    assert torch.equal(again.core(_batch()).logits, output.logits)
    # The options count: another factor gives other states.
    other = Transformer(CoreConfig(**SIZES, embedder="doubled", output="sums")).eval()
    other.load_state_dict(core.state_dict())
    assert not torch.allclose(other(_batch()).logits, output.logits)


@torch.inference_mode()
def test_the_parts_of_published_systems_are_saved_with_own_models(tmp_path: Path) -> None:
    preprocessor = _preprocessor()
    vocabulary = {
        "<pad>": 0,
        "<mask>": 1,
        **dict(zip(preprocessor.vocabulary.genes, range(2, 30), strict=True)),
    }
    for name, options in (("ranked_genes", {"inner": 5}), ("binned_genes", {"activation": "gelu"})):
        config = CoreConfig(**SIZES, position="none", embedder=name, part_options={name: options})
        core, folder = Transformer(config).eval(), tmp_path / name
        folder.mkdir()
        native.save(
            folder,
            native.Saved(preprocessor=preprocessor, vocabulary=vocabulary, core=config),
            core.state_dict(),
        )
        again = native.load(folder)
        batch = Batch.from_padded(torch.tensor([[5, 6, 7]]), values=torch.tensor([[1.0, 2.0, 3.0]]))
        assert torch.equal(again.core(batch).last_hidden_state, core(batch).last_hidden_state), name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embedder": "doubld"}, "embedder must be one of .*doubled.*, not 'doubld'"),
        ({"embedder": "sums"}, "'sums' is of kind output, not embedder"),
        ({"output": "sums", "head": "linear"}, "takes the place of a head"),
        ({"part_options": {"doubled": {}}}, "no part of this config is it"),
        (
            {"embedder": "doubled", "part_options": {"doubled": {"rate": 1}}},
            "no option 'rate'; it has factor",
        ),
        ({"output": "sums", "part_options": {"sums": {"rate": 1}}}, "it has none"),
        ({"norms": {"middle": "layer_norm"}}, "for the places layers and final, not 'middle'"),
        ({"norms": {"final": "sums"}}, "'sums' is of kind output, not norm"),
    ],
)
def test_refusals(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Transformer(CoreConfig(**SIZES, **fields))


def test_fields_of_earlier_versions_are_read_as_the_part_of_scgpt() -> None:
    whole = CoreConfig(**SIZES, value_encoder="continuous", position="none").as_dict()
    plain = CoreConfig.from_dict(whole | {"token_norm": False, "value_clip": None})
    assert plain.embedder == ""
    config = CoreConfig.from_dict(whole | {"token_norm": True, "value_clip": 512.0})
    core = Transformer(config)
    assert isinstance(core.embeddings.token_norm, nn.LayerNorm)
    batch = Batch.from_padded(torch.tensor([[5, 6]]), values=torch.tensor([[600.0, 700.0]]))
    values = core.embeddings(batch) - core.embeddings.tokens(batch.ids)
    assert torch.allclose(values[0], values[1])
    assert CoreConfig.from_dict(config.as_dict()) == config


def test_names_and_kinds() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register_part(DOUBLED)
    with pytest.raises(ConfigError, match="of kind embedder, output or norm, not 'mixer'"):
        Part(name="x", kind="mixer", factory=Doubled)


def test_norms_by_place(tmp_path: Path) -> None:
    norms = {"layers": "group_norm", "final": "layer_norm"}
    options = {"group_norm": {"groups": 2}, "layer_norm": {"eps": 0.5}}
    config = CoreConfig(**SIZES, block="post", norms=norms, part_options=options)
    core = Transformer(config).eval()
    assert isinstance(core.layers[0].attn_norm, nn.GroupNorm)
    assert core.layers[0].mlp_norm.num_groups == 2
    assert isinstance(core.final_norm, nn.LayerNorm)
    assert core.final_norm.eps == 0.5
    assert CoreConfig.from_dict(config.as_dict()) == config
    batch = Batch.from_padded(torch.tensor([[5, 6, 7]]))
    plain = Transformer(CoreConfig(**SIZES, block="post")).eval()
    assert isinstance(plain.final_norm, nn.Identity)
    plain.load_state_dict(core.state_dict(), strict=False)
    assert not torch.allclose(core(batch).last_hidden_state, plain(batch).last_hidden_state, atol=1e-3)


def test_a_package_brings_parts_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint(name=name, group="biolm.parts", value=f"{__name__}:{value}")
        for name, value in (("theirs", "DOUBLED"), ("broken", "NOTHING"), ("wrong", "SIZES"))
    ]
    monkeypatch.setattr(
        "biolm.core.registry.entry_points", lambda group: points if group == "biolm.parts" else []
    )
    assert find_part("embedder", "theirs") is DOUBLED
    with pytest.raises(ConfigError, match="cannot be loaded"):
        find_part("embedder", "broken")
    with pytest.raises(ConfigError, match="is a dict, not a Part"):
        find_part("embedder", "wrong")
