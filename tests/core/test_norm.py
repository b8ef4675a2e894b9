"""RMSNorm against its formula, forward and backward, in the spellings of Llama and Gemma."""

from __future__ import annotations

import pytest
import torch

from biolm.core.norm import RMSNorm


@pytest.mark.parametrize("plus_one", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients(plus_one: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    norm = RMSNorm(12, 1e-3, plus_one=plus_one).to(dtype)
    norm.weight.data.normal_()
    x = torch.randn(5, 12, dtype=dtype, requires_grad=True)
    before = x.detach().clone()
    upstream = torch.randn(5, 12, dtype=dtype)
    found = norm(x)
    gradients = torch.autograd.grad(found, (x, norm.weight), upstream)
    wide, weight = before.double().requires_grad_(), norm.weight.detach().double().requires_grad_()
    wanted = wide / (wide.square().mean(-1, keepdim=True) + 1e-3).sqrt() * (weight + plus_one)
    expected = torch.autograd.grad(wanted, (wide, weight), upstream.double())
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    assert torch.allclose(found.double(), wanted, atol=tolerance, rtol=tolerance)
    for got, exact in zip(gradients, expected, strict=True):
        assert torch.allclose(got.double(), exact, atol=tolerance, rtol=tolerance)
    # The input is the residual stream: it must come out untouched.
    assert torch.equal(x.detach(), before)
