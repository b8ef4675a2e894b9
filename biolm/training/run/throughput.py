"""How fast a run goes: tokens and examples a second, and which fraction of the machine's arithmetic is used.

Dimensions: ``t`` tokens of a batch · ``s`` tokens of an example · ``d`` width · ``p`` parameters of matrices.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from biolm.core import Transformer
from biolm.objectives.base import Prepared

__all__ = ["Throughput", "peak_flops", "step_flops"]

# Dense peak in TFLOP/s of (bf16 or fp16, fp32), from the makers' data sheets.
_PEAKS = {
    "H200": (989.0, 67.0),
    "H100 PCIe": (756.0, 51.0),
    "H100": (989.0, 67.0),
    "A100": (312.0, 19.5),
    "L40S": (362.0, 91.6),
    "L4": (121.0, 30.3),
    "V100": (125.0, 15.7),
    "T4": (65.0, 8.1),
    "RTX 4090": (165.2, 82.6),
}


def step_flops(core: Transformer, prepared: Prepared, narrowed: Sequence[bool] = ()) -> float:
    """Floating-point operations that a training step on a batch needs.

    Six for each token and parameter of the layers' matrices, and ``12 d s`` more for each token's attention
    in each layer (half where it is causal): forward and twice that backward, as PaLM counts them (Chowdhery
    et al. 2022, appendix B). The head counts for the tokens that are predicted alone, and so does the last
    layer, but for keys and values, where only their states are wanted. What is recomputed or frozen is
    counted as if it were not, so a fraction of the peak compares runs by their speed.

    Parameters
    ----------
    core, prepared
        Model and batch.
    narrowed
        For each input, see :attr:`~biolm.objectives.base.Criterion.narrowed`; none by default.
    """
    config = core.config
    matrices = _matrices(core.layers) * (config.n_layers // max(len(core.layers), 1))
    head = 0
    if core.head is not None:
        head = _matrices(core.head)
        tied = config.head in ("linear", "mlm") and config.tied
        head += config.vocab_size * config.embed_dim if tied else 0
    total = 0.0
    inputs = (prepared, *prepared.others)
    for given, narrow in zip(inputs, narrowed or (False,) * len(inputs), strict=True):
        rows = 0 if given.rows is None else len(given.rows)
        pairs = float(given.batch.lengths.double().square().sum())
        # Forward 4 d per pair (scores and mixing), backward twice as much (Chowdhery et al. 2022, appendix
        # B).
        attention = 12.0 * config.d_model * config.n_layers * pairs
        # Two operations a parameter and token forward, four backward.
        total += 6.0 * matrices * len(given.batch.ids) + 6.0 * head * rows
        total += attention / 2 if config.causal else attention
        if narrow and rows and core.narrows:
            total -= _spared(core, given)
    return total


def _spared(core: Transformer, given: Prepared) -> float:
    """Operations of the last layer for the tokens that are not predicted."""
    rows, batch = given.rows, given.batch
    layer: Any = core.layers[-1]
    assert rows is not None
    own = _matrices(layer) - _matrices(layer.attention.key) - _matrices(layer.attention.value)
    document = torch.searchsorted(batch.offsets.long(), rows, right=True) - 1
    asked = torch.bincount(document, minlength=len(batch))
    lengths = batch.lengths.double()
    pairs = float((lengths * (lengths - asked)).sum())
    return 6.0 * own * (len(batch.ids) - len(rows)) + 12.0 * core.config.d_model * pairs


def _matrices(module: nn.Module) -> int:
    """Parameters of its matrices."""
    return sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)


def peak_flops(device: torch.device, *, half: bool) -> float | None:
    """Peak of a device in operations a second; measured on a CPU, None for a GPU that is not known.

    Parameters
    ----------
    device
        Where the run is.
    half
        Whether matrices are multiplied in bf16 or fp16.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        peaks_of = next((peaks for word, peaks in _PEAKS.items() if word in name), None)
        return None if peaks_of is None else 1e12 * peaks_of[0 if half else 1]
    return _measured() if device.type == "cpu" else None


def _measured(size: int = 768, rounds: int = 4) -> float:
    """The best of a few products of large float32 matrices, on as many threads as the run has."""
    a = torch.full((size, size), 0.5)
    best = float("inf")
    for _ in range(rounds):
        since = time.perf_counter()
        torch.mm(a, a)
        # The quickest: other programs can only slow a product down.
        best = min(best, time.perf_counter() - since)
    return 2.0 * size**3 / best


@dataclass(slots=True)
class Throughput:
    """Counts what is done in a stretch of training; pauses for validation are left out.

    Parameters
    ----------
    peak
        Operations a second of this process's device; None if it is not known.
    """

    peak: float | None = None
    tokens: int = 0
    examples: int = 0
    flops: float = 0.0
    _since: float = field(default_factory=lambda: time.perf_counter())
    _paused: float | None = None

    def add(self, core: Transformer, prepared: Prepared, narrowed: Sequence[bool] = ()) -> None:
        """Count a batch; tokens are those that the core reads, in all views. See :func:`step_flops`.

        Parameters
        ----------
        core
            The model.
        prepared
            A batch.
        narrowed
            For each input, whether the last layer gives the states of the predicted tokens alone.
        """
        self.tokens += sum(len(given.batch.ids) for given in (prepared, *prepared.others))
        self.examples += len(prepared.keys)
        self.flops += step_flops(core, prepared, narrowed)

    def pause(self) -> None:
        """Stop the clock."""
        self._paused = time.perf_counter()

    def go_on(self) -> None:
        """Let the clock run again."""
        if self._paused is not None:
            self._since += time.perf_counter() - self._paused
            self._paused = None

    def read(self, processes: int = 1) -> dict[str, float]:
        """Rates since the last reading, of all processes if each does as much; then begin anew.

        ``tokens_per_second``, ``examples_per_second`` and, where the peak is known, ``mfu``.
        """
        now = time.perf_counter() if self._paused is None else self._paused
        seconds = max(now - self._since, 1e-9)
        rates = {
            "tokens_per_second": processes * self.tokens / seconds,
            "examples_per_second": processes * self.examples / seconds,
        }
        if self.peak:
            rates["mfu"] = self.flops / seconds / self.peak
        self.tokens, self.examples, self.flops, self._since = 0, 0, 0.0, now
        return rates
