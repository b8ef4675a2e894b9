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

__all__ = ["mixed", "precise", "warn_if_emulated"]

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@cache
def warn_if_emulated() -> None:
    """Say once that bfloat16 is slow here, where it is."""
    if not multiplies_bfloat16():
        log.warning(
            "this CPU has no bfloat16 instructions (AVX512-BF16 or AMX), so bfloat16 is emulated and slower "
            "than float32; run it in float32 here"
        )


def mixed(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a pass in mixed precision, which for float32 changes nothing.

    Parameters
    ----------
    device
        Where it runs.
    precision
        ``float32``, ``bfloat16`` or ``float16``.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    dtype = _dtype_of(precision)
    if device.type == "cpu" and dtype == torch.bfloat16:
        warn_if_emulated()
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def _dtype_of(precision: str) -> torch.dtype | None:
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
    if device.type == "cpu" and precision == "bfloat16" and can_reduce(core):
        warn_if_emulated()
        return reduced(core, torch.bfloat16), nullcontext()
    return core, mixed(device, precision)
