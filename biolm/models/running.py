"""Run the core for its hidden states: where, how deep, in which precision.

Dimensions: ``t`` tokens of a batch · ``d`` width.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.core import Transformer, pool
from biolm.errors import ConfigError
from biolm.models.model import EmbedOptions

__all__ = ["layers_for", "pick_device", "pooled", "return_memory", "states_of"]

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA, then MPS, then CPU.

    Raises
    ------
    ConfigError
        If the named device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not available here; use --device auto or cpu") from error
    return device


def layers_for(core: Transformer, hidden_state: int) -> int | None:
    """How many layers to run for a hidden state: those after it are never computed. None for all.

    Raises
    ------
    ConfigError
        If the core has no such state.
    """
    depth = core.config.n_layers
    layers = hidden_state if hidden_state >= 0 else depth + 1 + hidden_state
    if not 0 <= layers <= depth:
        raise ConfigError(f"hidden state must lie in {-depth - 1}..{depth}, not {hidden_state}")
    return None if layers == depth else layers


def states_of(
    core: Transformer, batch: Batch, hidden_state: int, options: EmbedOptions, *, only: Tensor | None = None
) -> Tensor:
    """Hidden states ``(t, d)`` of a batch, float32 whatever the precision they were computed in.

    With ``only (m,)`` those of some tokens of the last layer, ``(m, d)``.
    """
    precision = _PRECISIONS[options.precision]
    autocast = torch.autocast(batch.ids.device.type, precision) if precision else nullcontext()
    layers = layers_for(core, _state(hidden_state, options))
    with autocast:
        output = core(batch, logits=False, n_layers=layers, only=only)
    states: Tensor = output.last_hidden_state
    return states.float()


def pooled(
    core: Transformer,
    batch: Batch,
    hidden_state: int,
    options: EmbedOptions,
    how: str,
    skip: tuple[int, int] = (0, 0),
) -> Tensor:
    """One vector ``(b, d)`` for each document; arguments as of :func:`states_of` and :func:`biolm.core.pool`.

    Where that is the last state of one token, the last layer is not run for the others. The same batch gives
    the same bytes; in another batch a document's vector is the same to rounding, since libraries of linear
    algebra choose their kernel by the number of rows.
    """
    whole = layers_for(core, _state(hidden_state, options)) is None
    if how not in ("cls", "last") or not whole:
        return pool(states_of(core, batch, hidden_state, options), batch.offsets, how, skip=skip)
    offsets = batch.offsets.long()
    filled = offsets[1:] > offsets[:-1]
    places = (offsets[:-1] if how == "cls" else offsets[1:] - 1)[filled]
    states = states_of(core, batch, hidden_state, options, only=places)
    vectors = states.new_zeros((len(batch), states.shape[1]))
    vectors[filled] = states
    return vectors


def _state(hidden_state: int, options: EmbedOptions) -> int:
    return hidden_state if options.hidden_state is None else options.hidden_state


def return_memory(device: torch.device) -> None:
    """Give memory that a batch on the CPU has freed back to the system.

    Each batch has its own number of tokens, and what torch keeps for each shape lands between large tensors:
    the freed space fits no later batch, and the process grows with the file. Elsewhere than under glibc, and
    on other devices, nothing is done.
    """
    if device.type == "cpu" and (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found
