"""Timing that survives a busy machine: CPU time, interleaved rounds, medians; and counted work."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from biolm.core import CoreConfig

__all__ = ["encoder_flops", "interleaved", "mm_rate"]


def interleaved(jobs: dict[str, Callable[[], object]], *, rounds: int = 3) -> dict[str, float]:
    """Median CPU seconds of each job, the jobs taking turns so that drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def mm_rate(size: int = 1024, repeats: int = 8) -> float:
    """Floating-point operations a CPU second of ``torch.mm`` on square float32 matrices."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.mm(a, b)
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        torch.mm(a, b)
        best = min(best, time.process_time() - start)
    return 2 * size**3 / best


def encoder_flops(config: CoreConfig, lengths: list[int], layers: int | None = None) -> float:
    """Multiply-adds times two of the matrix products of an encoder: projections, scores, feed-forward."""
    depth = config.n_layers if layers is None else layers
    inner = config.n_heads * config.head_dim
    matrices = config.d_model * inner * 4 + config.d_model * config.d_ff * (3 if config.glu else 2)
    tokens, pairs = sum(lengths), sum(n * n for n in lengths)
    return depth * (2.0 * tokens * matrices + 4.0 * pairs * inner)
