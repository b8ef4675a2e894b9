"""Random weights at which a wrong switch shows: at default initialisation parity tests are nearly blind."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["perturb", "relative"]


def perturb(module: nn.Module, *, std: float = 0.4, seed: int = 0) -> nn.Module:
    """Add normal noise to every parameter, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(std * torch.randn(parameter.shape, generator=generator))
    return module


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference over the largest wanted value."""
    return float((found - wanted).abs().max() / wanted.abs().max())
