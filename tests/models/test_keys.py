"""Key tables: renaming both ways, fused matrices, and every way a checkpoint can be wrong."""

from __future__ import annotations

import pytest
import torch

from biolm.core import CoreConfig
from biolm.errors import CheckpointError
from biolm.models.families.keys import Key, KeyTable, Rows, Transposed, dropped, norm_keys

CONFIG = CoreConfig(vocab_size=5, d_model=4, n_layers=12, n_heads=2, n_kv_heads=1, d_ff=4)
QKV = tuple(f"layers.{{}}.attention.{name}.*" for name in ("query", "key", "value"))
TABLE = KeyTable(
    [
        Key("emb.weight", "embeddings.token.weight"),
        Key("h.{}.qkv.*", QKV, Rows()),
        Key("h.{}.up.*", "layers.{}.mlp.up.*", Transposed()),
        *norm_keys("h.{}.ln", "layers.{}.attn_norm"),
        Key("/head.bias", "head.bias", when=lambda config: config.head == "linear"),
        *dropped("h.{}.attn.bias", "/head.bias"),
    ],
    prefixes=("model.", ""),
)


def read(**tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    return TABLE.theirs_to_ours({name.replace("__", "."): x for name, x in tensors.items()}, CONFIG)


def test_prefixes_and_spellings_are_read_and_the_first_is_written() -> None:
    x = torch.ones(4)
    for spelling in ("model.h.11.ln.weight", "h.11.ln.weight", "model.h.11.ln.gamma", "h.11.ln.gamma"):
        assert TABLE.theirs_to_ours({spelling: x}, CONFIG).keys() == {"layers.11.attn_norm.weight"}
    assert TABLE.ours_to_theirs({"layers.11.attn_norm.weight": x}, CONFIG).keys() == {"model.h.11.ln.weight"}


def test_fused_rows_respect_grouped_heads() -> None:
    fused = torch.arange(8.0 * 4).view(8, 4)
    ours = read(model__h__0__qkv__weight=fused)
    assert [len(part) for part in ours.values()] == [4, 2, 2]
    assert torch.equal(TABLE.ours_to_theirs(ours, CONFIG)["model.h.0.qkv.weight"], fused)
    with pytest.raises(CheckpointError, match="has 9 rows, not 8"):
        read(h__0__qkv__weight=torch.zeros(9, 4))


def test_transposed_matrices_turn_and_vectors_stay() -> None:
    matrix, vector = torch.arange(12.0).view(3, 4), torch.arange(4.0)
    ours = read(h__2__up__weight=matrix, h__2__up__bias=vector)
    assert torch.equal(ours["layers.2.mlp.up.weight"], matrix.T)
    assert torch.equal(ours["layers.2.mlp.up.bias"], vector)
    assert torch.equal(TABLE.ours_to_theirs(ours, CONFIG)["model.h.2.up.weight"], matrix)


def test_a_buffer_is_dropped_but_not_the_bias_whose_name_ends_alike() -> None:
    """A loose filter for GPT-2's causal mask once dropped a real bias."""
    ours = read(h__0__attn__bias=torch.ones(1), h__0__qkv__bias=torch.arange(8.0))
    assert ours["layers.0.attention.value.bias"].tolist() == [6, 7]
    assert len(ours) == 3
    assert TABLE.drops("model.h.0.attn.bias", CONFIG)
    assert not TABLE.drops("model.h.0.qkv.bias", CONFIG)


def test_unknown_names_are_listed() -> None:
    with pytest.raises(CheckpointError, match=r"no place for: extra\.weight, h\.0\.lnx\.weight"):
        TABLE.theirs_to_ours({"extra.weight": torch.ones(1), "h.0.lnx.weight": torch.ones(1)}, CONFIG)
    with pytest.raises(CheckpointError, match="x7 and 2 more"):
        TABLE.theirs_to_ours({f"x{i}": torch.ones(1) for i in range(10)}, CONFIG)
    with pytest.raises(CheckpointError, match="no published name for value_head"):
        TABLE.ours_to_theirs({"value_head": torch.ones(1)}, CONFIG)


@pytest.mark.parametrize("second", ["h.0.ln.weight", "model.h.0.ln.gamma"])
def test_one_weight_in_two_spellings_is_refused(second: str) -> None:
    with pytest.raises(CheckpointError, match=r"model\.h\.0\.ln\.weight and .*, one weight twice"):
        TABLE.theirs_to_ours({"model.h.0.ln.weight": torch.ones(4), second: torch.zeros(4)}, CONFIG)


def test_conditional_lines() -> None:
    headed = CoreConfig(**{**CONFIG.as_dict(), "head": "linear"})
    tensors = {"head.bias": torch.ones(5)}
    assert TABLE.theirs_to_ours(tensors, headed).keys() == {"head.bias"}
    assert TABLE.theirs_to_ours(tensors, CONFIG) == {}
    assert TABLE.published("layers.3.attention.key.weight", CONFIG) == "model.h.3.qkv.weight"
    assert TABLE.published("no.such", CONFIG) == "no.such"
