"""Attention of bfloat16 in blocks gives what the definition gives, to the rounding of its inputs."""

from __future__ import annotations

import pytest
import torch
from attention_cases import layout_of

from biolm.core import narrow_attention
from biolm.core.kernels import attend
from biolm.core.layout import Rule
from biolm.core.narrow_attention import attend_in_blocks

RULE = Rule(scale=16**-0.5)


def drawn(tokens: int, heads: int) -> torch.Tensor:
    return torch.randn(tokens, heads, 16, generator=torch.Generator().manual_seed(tokens + heads)).bfloat16()


@pytest.mark.parametrize(("rows", "scores"), [(512, 1 << 20), (7, 1), (7, 1 << 10), (100, 1 << 9)])
@pytest.mark.parametrize(
    ("asked", "keys", "heads", "shared"), [(33, 33, 4, 4), (33, 33, 4, 2), (9, 40, 6, 1)]
)
def test_any_cut_gives_the_same(monkeypatch, rows, scores, asked, keys, heads, shared) -> None:
    monkeypatch.setattr(narrow_attention, "_ROWS", rows)
    monkeypatch.setattr(narrow_attention, "_SCORES", scores)
    query, key, value = drawn(3 * asked, heads), drawn(3 * keys, shared), drawn(3 * keys, shared) + 1
    layout = layout_of((asked,) * 3, None if asked == keys else (keys,) * 3)
    wanted = attend(query.float(), key.float(), value.float(), layout, RULE, kernel="math")
    found = attend_in_blocks(*(x.view(3, -1, *x.shape[1:]) for x in (query, key, value)), RULE.scale)
    assert found.dtype == torch.bfloat16
    assert (found.flatten(0, 1).float() - wanted).abs().max() < 0.03


@pytest.mark.parametrize(
    ("rule", "lengths", "used"),
    [
        (RULE, (120, 120, 100), 2),  # documents of equal length go together
        (RULE, (120, 8), 1),
        (Rule(scale=0.25, window=5), (120,), 0),
        (Rule(scale=0.25, causal=True), (120,), 0),
    ],
)
def test_where_it_is_used(monkeypatch, rule, lengths, used) -> None:
    monkeypatch.setattr(narrow_attention, "multiplies_bfloat16", lambda: True)
    calls = []

    def counted(*inputs):
        calls.append(inputs)
        return attend_in_blocks(*inputs)

    monkeypatch.setattr("biolm.core.kernels.attend_in_blocks", counted)
    query, key, value = (drawn(sum(lengths), 4) + shift for shift in (0, 0, 1))
    with torch.no_grad():
        found = attend(query, key, value, layout_of(lengths), rule)
        wanted = attend(query.float(), key.float(), value.float(), layout_of(lengths), rule, kernel="math")
    assert len(calls) == used
    assert (found.float() - wanted).abs().max() < 0.03
    calls.clear()
    monkeypatch.setattr(narrow_attention, "multiplies_bfloat16", lambda: False)
    with torch.no_grad():
        attend(query, key, value, layout_of(lengths), rule)
    assert not calls


def test_gradients_are_those_of_the_definition(monkeypatch) -> None:
    monkeypatch.setattr(narrow_attention, "_ROWS", 50)
    monkeypatch.setattr(narrow_attention, "_SCORES", 1 << 13)
    inputs = [drawn(2 * 120, 4), drawn(2 * 120, 2), drawn(2 * 120, 2) + 1]
    weight = drawn(2 * 120, 4)
    exact = [x.float().requires_grad_() for x in inputs]
    out = attend(*exact, layout_of((120, 120)), RULE, kernel="math")
    wanted = torch.autograd.grad((out * weight.float()).sum(), exact)
    narrow = [x.view(2, 120, *x.shape[1:]).requires_grad_() for x in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        out = attend_in_blocks(*narrow, RULE.scale)
    given = torch.autograd.grad((out.flatten(0, 1) * weight).sum(), narrow)
    for gradient, right, x in zip(given, wanted, narrow, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert gradient.shape == x.shape
        assert (gradient.flatten(0, 1).float() - right).norm() < 0.02 * right.norm()
