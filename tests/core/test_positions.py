"""Rotary frequencies against transformers, distances against the rotated product, windows against loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from biolm.core import CoreConfig
from biolm.core.kernels import attend
from biolm.core.layout import Layout, Rule
from biolm.core.positions import rope_frequencies, rope_table, rotate
from biolm.errors import ConfigError
from biolm.models.families.fields import rope

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 8.0},
    "linear old": {"type": "linear", "factor": 2.5},
    "llama3": {**LLAMA3, "original_max_position_embeddings": 64},
    "llama3 of the config's length": LLAMA3,
    "yarn": YARN,
    "yarn not truncated": {**YARN, "truncate": False},
    "yarn attention factor": {**YARN, "attention_factor": 1.7},
    "yarn ramp": {**YARN, "beta_fast": 16, "beta_slow": 2},
    "yarn long": {**YARN, "factor": 40.0, "original_max_position_embeddings": 4096},
    "yarn short": {**YARN, "original_max_position_embeddings": 4},
    "yarn mscale": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.707},
    "yarn equal mscales": {**YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
    "yarn without factor": {**YARN, "factor": None},
    "yarn one mscale": {**YARN, "mscale": 0.707},
}


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("width", [8, 64])
def test_frequencies_are_those_of_transformers(name: str, width: int) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    values = {"max_position_embeddings": 256, "rope_theta": 5000.0, "rope_scaling": dict(SCALINGS[name])}
    reference = transformers.LlamaConfig(
        hidden_size=4 * width, num_attention_heads=4, **{**values, "rope_scaling": dict(SCALINGS[name])}
    )
    kind = reference.rope_parameters["rope_type"]
    wanted, factor = ROPE_INIT_FUNCTIONS[kind](reference, torch.device("cpu"))
    theta, scaling = rope(values)
    found, own = rope_frequencies(width, theta, scaling)
    assert torch.allclose(found, wanted, rtol=1e-6, atol=0)
    assert own == pytest.approx(factor, rel=1e-6)
    plain, _ = rope_frequencies(width, theta)
    # Where every pair turns rarely, the ramp of transformers ends before it begins.
    assert name == "yarn short" or not torch.allclose(found, plain, rtol=1e-3)
    # What transformers itself writes reads the same.
    assert rope({**values, "rope_scaling": None, "rope_parameters": reference.rope_parameters})[1] == scaling


def test_kinds_that_change_with_the_input_are_refused() -> None:
    with pytest.raises(ConfigError, match="longrope"):
        rope({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}})


def test_frequencies_stay_usable_in_training_after_inference() -> None:
    with torch.inference_mode():
        rope_frequencies(6, 123.0)
    found, _ = rope_frequencies(6, 123.0)
    x = torch.ones(3, requires_grad=True)
    (x * found).sum().backward()
    assert torch.equal(x.grad, found)


def _config(**changes: Any) -> CoreConfig:
    sizes = {"vocab_size": 9, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 8, "position": "rope"}
    return CoreConfig(**{**sizes, **changes})


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("rope_dim", [8, 4])
def test_rotation_against_complex_numbers(interleaved: bool, rope_dim: int) -> None:
    config = _config(rope_dim=rope_dim, rope_interleaved=interleaved)
    x = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    places = torch.tensor([0, 1, 2, 0, 1])
    found = rotate(x, rope_table(config, places), interleaved=interleaved)
    before, after = x.detach(), found.detach()
    for t, place in enumerate(places.tolist()):
        for pair in range(rope_dim // 2):
            a, b = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + rope_dim // 2)
            angle = place * 10_000 ** (-2 * pair / rope_dim)
            for head in range(2):
                turned = complex(before[t, head, a], before[t, head, b]) * complex(
                    math.cos(angle), math.sin(angle)
                )
                assert complex(after[t, head, a], after[t, head, b]) == pytest.approx(turned, abs=1e-5)
    assert torch.equal(found[..., rope_dim:], x[..., rope_dim:])
    # A rotation keeps lengths, so the gradient of half the square is the input itself.
    (found.square().sum() / 2).backward()
    assert torch.allclose(x.grad, x, atol=1e-5)


def test_only_layers_without_window_are_stretched() -> None:
    """Gemma 3: linear times 8 on global layers, a base of their own on windowed ones."""
    _, scaling = rope({"rope_scaling": {"rope_type": "linear", "factor": 8.0}})
    config = _config(
        rope_theta=1e6, rope_theta_local=1e4, rope_scaling=scaling, window=4, windowed_layers=(0,)
    )
    places = torch.arange(40)
    wide, local = rope_table(config, places), rope_table(config, places, local=True)
    assert torch.allclose(wide[0][8 * 3], rope_table(_config(rope_theta=1e6), places)[0][3])
    assert torch.equal(local[0], rope_table(_config(rope_theta=1e4), places)[0])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 3, 100])
@pytest.mark.parametrize("kernel", ["sdpa", "math"])
def test_windows_against_loops(causal: bool, window: int, kernel: str) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [7, 1, 0, 12]
    total = sum(lengths)
    query, key, value = (torch.randn(total, 2, 8, generator=generator) for _ in range(3))
    offsets = torch.tensor([0, *lengths]).cumsum(0).int()
    layout = Layout.of(offsets, torch.cat([torch.arange(n) for n in lengths]), max(lengths))
    rule = Rule(causal=causal, window=window, scale=0.3)
    found = attend(query, key, value, layout, rule, kernel=kernel)
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        for q in range(start, end):
            # Causal: the last `window` tokens with the query's own; else `window` to each side.
            first = max(start, q - window + 1) if causal else max(start, q - window)
            last = q if causal else min(end - 1, q + window)
            for head in range(2):
                scores = [0.3 * float(query[q, head] @ key[s, head]) for s in range(first, last + 1)]
                weights = torch.softmax(torch.tensor(scores), 0)
                wanted = weights @ value[first : last + 1, head]
                assert torch.allclose(found[q, head], wanted, atol=1e-5)
