"""In which number type a model runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from biolm.core import Transformer
from biolm.core.hardware import multiplies_bfloat16
from biolm.core.reduced import can_reduce, reduced
from biolm.errors import ConfigError
from biolm.progress import log

__all__ = ["dtype_of", "precise", "warn_if_emulated"]

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@cache
def warn_if_emulated() -> None:
    """Say once that bfloat16 is slow here, where it is."""
    if not multiplies_bfloat16():
        log.warning(
            "this CPU has no bfloat16 instructions (AVX512-BF16 or AMX), so bfloat16 is emulated and slower "
            "than float32; choose float32, or auto (`precision='auto'`)"
        )


def dtype_of(precision: str) -> torch.dtype | None:
    """Number type of mixed precision; None for float32.

    Raises
    ------
    ConfigError
        If a model cannot be run in it.
    """
    if precision not in _PRECISIONS:
        raise ConfigError(
            f"`precision` must be one of {', '.join(_PRECISIONS)} where a model is run, not {precision!r}; "
            "jobs alone decide on their first rows"
        )
    return _PRECISIONS[precision]


def precise(
    core: Transformer, device: torch.device, precision: str
) -> tuple[Transformer, AbstractContextManager[object]]:
    """What to run in a precision, and the context to run it in.

    On a CPU bfloat16 is a copy with such weights, where the layers allow it: mixed precision would convert
    every weight in every batch. Elsewhere it is mixed precision.

    Parameters
    ----------
    core
        The model, in float32.
    device
        Where it runs.
    precision
        ``float32``, ``bfloat16`` or ``float16``.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    dtype = dtype_of(precision)
    if dtype is None:
        return core, nullcontext()
    if device.type == "cpu" and dtype == torch.bfloat16:
        warn_if_emulated()
        if can_reduce(core):
            return reduced(core, dtype), nullcontext()
    return core, torch.autocast(device.type, dtype)
