"""Impossible configs and inputs are refused by name, before anything is computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.config import RopeScaling
from biolm.errors import ConfigError, InputError

SIZES: dict[str, Any] = {"vocab_size": 20, "d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 3}, "d_model must be a multiple of n_heads"),
        ({"n_heads": 0}, "n_heads must be at least 1, not 0"),
        ({"d_ff": -1}, "d_ff must be at least 1"),
        ({"n_kv_heads": 3}, "n_kv_heads must divide n_heads: 3 does not divide 4"),
        ({"head_dim": 5, "position": "rope"}, "rope_dim must be even and at most head_dim 5, not 5"),
        ({"rope_dim": 6, "position": "rope"}, "rope_dim must be even and at most head_dim 4, not 6"),
        (
            {"position": "absolute"},
            "position must be one of none, learned, sinusoid, rope, .* not 'absolute'",
        ),
        ({"activation": "tanh"}, "activation must be one of gelu, gelu_tanh, relu, silu"),
        ({"block": "both"}, "block must be one of pre, post, sandwich, parallel"),
        ({"norm_eps": 0.0}, "norm_eps must be over 0"),
        ({"attn_softcap": -1.0}, "attn_softcap must be over 0"),
        ({"norm_plus_one": True}, "norm_plus_one needs norm='rmsnorm'"),
        ({"windowed_layers": (0,)}, "windowed_layers needs a window"),
        ({"window": -1}, "window must be 0 or more"),
        ({"window": 4, "windowed_layers": (2,)}, "windowed_layers lie in 0..1"),
        ({"token_dropout": True}, "token_dropout needs mask_id"),
        ({"token_dropout": True, "mask_id": 20}, "token_dropout needs mask_id"),
        ({"value_encoder": "bins"}, "n_values of at least 1"),
        ({"position": "t5", "t5_buckets": 3}, "t5_buckets of at least 4"),
        ({"position": "t5", "t5_max_distance": 8}, "t5_max_distance over 8"),
        ({"share_layers": True, "window": 2, "windowed_layers": (0,)}, "share_layers uses one block"),
        ({"share_layers": True, "first_attn_norm": False}, "share_layers uses one block"),
        ({"cross_attention": True, "block": "parallel"}, "cross_attention needs block='pre' or 'post'"),
        ({"block": "sandwich", "residual_scale": 0.5}, "residual_scale and layer_scale must be off"),
        ({"head": "linear", "embed_dim": 8}, "a tied linear head needs embed_dim equal to d_model"),
        ({"dropout_residual": 1.0}, r"dropout_residual must lie in \[0, 1\)"),
    ],
)
def test_impossible_configs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CoreConfig(**{**SIZES, **changes})


@pytest.mark.parametrize(
    ("values", "message"),
    [({"kind": "dynamic", "factor": 2.0}, "dynamic"), ({"kind": "linear", "factor": 0.5}, "0.5")],
)
def test_impossible_scalings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RopeScaling(**values)


def test_an_unknown_mixer_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixer must be one of attention"):
        Transformer(CoreConfig(**SIZES, mixer="hyena"))


def test_configs_survive_json() -> None:
    scaling = RopeScaling(kind="yarn", factor=4.0, original_length=128)
    config = CoreConfig(**SIZES, position="rope", rope_scaling=scaling, window=3, windowed_layers=(1,))
    assert CoreConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    with pytest.raises(ConfigError, match="no field 'd_modle'"):
        CoreConfig.from_dict({**SIZES, "d_modle": 3})


def batch(ids: list[int], **columns: list[int]) -> Batch:
    rows = {name: torch.tensor([column]) for name, column in columns.items()}
    return Batch.from_padded(torch.tensor([ids]), **rows)


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({}, batch([1, 2, 20]), r"token id 20 lies outside the vocabulary 0\.\.19"),
        ({}, batch([1, -1]), "token id -1 lies outside the vocabulary"),
        ({"max_length": 2}, batch([1, 2, 3]), "a document has 3 tokens but the model 2 positions"),
        ({"n_segments": 2}, batch([1, 2], segments=[0, 2]), r"segment 2 lies outside the model's 0\.\.1"),
        (
            {"value_encoder": "bins", "n_values": 5},
            batch([1], values=[5]),
            r"bin 5 lies outside the model's 0\.\.4",
        ),
        ({"value_encoder": "bins", "n_values": 5}, batch([1]), "reads bins values beside the ids"),
    ],
)
def test_batches_that_do_not_fit_are_refused(changes: dict[str, Any], given: Batch, message: str) -> None:
    model = Transformer(CoreConfig(**{**SIZES, **changes}))
    for layer in model.layers:
        layer.forward = None  # type: ignore[assignment]  # nothing may be computed
    with pytest.raises(InputError, match=message):
        model(given)


def test_a_model_without_positions_takes_any_length() -> None:
    model = Transformer(CoreConfig(**SIZES, position="rope", max_length=2))
    assert model(batch(list(range(9)))).last_hidden_state.shape == (9, 16)


def test_families_refuse_what_they_are_not(tmp_path: Path) -> None:
    from biolm.models.families.hf import from_hf

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hyenadna"}))
    with pytest.raises(ConfigError, match="'hyenadna' is not one of AMPLIFY, albert, bart, bert"):
        from_hf(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "bert", "vocab_size": 9, "hidden_size": 10, "num_hidden_layers": 1})
    )
    with pytest.raises(Exception, match="lacks the field 'num_attention_heads'"):
        from_hf(tmp_path)
