"""Run the core for its hidden states: where, how deep, in which precision.

Dimensions: ``t`` tokens of a batch · ``d`` width.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.core import Transformer, pool
from biolm.core.cache import DecodingCache
from biolm.errors import ConfigError
from biolm.models.model import EmbedOptions
from biolm.models.precision import precise
from biolm.models.submodules import capture, layers_until

__all__ = ["layers_for", "pick_device", "pooled", "return_memory", "state_pieces", "states_of"]


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
        # torch.device takes any name; only memory on it shows whether it is there.
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not available here; use `device='auto'` or cpu") from error
    return device


def layers_for(core: Transformer, hidden_state: int | str) -> int | None:
    """How many layers to run for a hidden state: those after it are never computed. None for all.

    A name is that of a submodule, see :mod:`biolm.models.submodules`.

    Parameters
    ----------
    core
        The model.
    hidden_state
        A number, or the name of a submodule.

    Raises
    ------
    ConfigError
        If the core has no such state.
    """
    if isinstance(hidden_state, str):
        return layers_until(hidden_state)
    depth = core.config.n_layers
    layers = hidden_state if hidden_state >= 0 else depth + 1 + hidden_state
    if not 0 <= layers <= depth:
        raise ConfigError(f"hidden state must lie in {-depth - 1}..{depth}, not {hidden_state}")
    return None if layers == depth else layers


def states_of(
    core: Transformer,
    batch: Batch,
    hidden_state: int | str,
    options: EmbedOptions,
    *,
    only: Tensor | None = None,
) -> Tensor:
    """Hidden states ``(t, d)`` of a batch, float32 whatever the precision they were computed in.

    With ``only (m,)`` those of some tokens of the last layer, ``(m, d)``.

    Parameters
    ----------
    core
        The model.
    batch
        Packed tokens.
    hidden_state
        Which state; -1 is the last.
    options
        Device and precision.
    only
        ``(m,)`` tokens of the last layer that are wanted.
    """
    if only is not None:
        core, mixed = precise(core, batch.ids.device, options.precision)
        with mixed:
            states: Tensor = core(batch, logits=False, only=only).last_hidden_state
        return states.float()
    pieces = list(state_pieces(core, batch, hidden_state, options))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def state_pieces(
    core: Transformer, batch: Batch, hidden_state: int | str, options: EmbedOptions
) -> Iterator[Tensor]:
    """As :func:`states_of`, a piece at a time where that bounds memory.

    A causal model reads a document that is longer than a batch in parts, and goes on from its decoding state:
    the states are those of one pass, to rounding. All others come in one piece.

    Parameters
    ----------
    core, batch, hidden_state, options
        As of :func:`states_of`.
    """
    state = _state(hidden_state, options)
    layers = layers_for(core, state)
    core, mixed = precise(core, batch.ids.device, options.precision)
    with mixed:
        if len(batch) > 1 or batch.max_length <= options.batch_tokens or not core.config.causal:
            yield _run(core, batch, state, layers, None)
            return
        cache, ids = core.new_cache(), batch.ids.tolist()
        for start in range(0, len(ids), options.batch_tokens):
            part = cache.batch([0], [ids[start : start + options.batch_tokens]])
            yield _run(core, part, state, layers, cache)
            return_memory(batch.ids.device)


def _run(
    core: Transformer, batch: Batch, state: int | str, layers: int | None, cache: DecodingCache | None
) -> Tensor:
    if isinstance(state, int):
        states: Tensor = core(batch, logits=False, n_layers=layers, cache=cache).last_hidden_state
        return states.float()
    with capture(core, state) as captured:
        core(batch, logits=False, n_layers=layers, cache=cache)
    return captured[-1].float()


def pooled(
    core: Transformer,
    batch: Batch,
    hidden_state: int | str,
    options: EmbedOptions,
    how: str,
    skip: tuple[int, int] = (0, 0),
) -> Tensor:
    """One vector ``(b, d)`` for each document; arguments as of :func:`states_of` and :func:`biolm.core.pool`.

    Where that is the last state of one token, the last layer is not run for the others. The same batch gives
    the same bytes; in another batch a document's vector is the same to rounding, since libraries of linear
    algebra choose their kernel by the number of rows.

    Parameters
    ----------
    core, batch, hidden_state, options
        As of :func:`states_of`.
    how
        Name of the pool.
    skip
        Special tokens before and after that have no part.
    """
    whole = layers_for(core, _state(hidden_state, options)) is None and isinstance(hidden_state, int)
    # The last layer can leave out the rows that nobody pools, where it is the last that runs.
    if how not in ("cls", "last") or not whole or len(batch) == 1:
        pieces = state_pieces(core, batch, hidden_state, options)
        return _pool_pieces(pieces, batch, how, skip)
    offsets = batch.offsets.long()
    filled = offsets[1:] > offsets[:-1]
    places = (offsets[:-1] if how == "cls" else offsets[1:] - 1)[filled]
    states = states_of(core, batch, hidden_state, options, only=places)
    vectors = states.new_zeros((len(batch), states.shape[1]))
    vectors[filled] = states
    return vectors


def _pool_pieces(pieces: Iterator[Tensor], batch: Batch, how: str, skip: tuple[int, int]) -> Tensor:
    """Pool the states of a batch, or of its only document piece by piece, so that they are never all held."""
    first = next(pieces)
    length = int(batch.max_length)
    if len(batch) != 1 or len(first) == length:
        return pool(first, batch.offsets, how, skip=skip)
    kept = (skip[0], length - skip[1]) if how not in ("cls", "last") else (0, length)
    pooled_rows: Tensor | None = None
    start = 0
    for piece in chain((first,), pieces):
        end = start + len(piece)
        part = piece[max(kept[0] - start, 0) : max(kept[1] - start, 0)]
        if len(part):
            own = {"cls": part[0], "last": part[-1], "max": part.amax(0)}.get(how, part.sum(0))
            if pooled_rows is None or how == "last":
                pooled_rows = own
            elif how != "cls":
                pooled_rows = torch.maximum(pooled_rows, own) if how == "max" else pooled_rows + own
        start = end
    assert pooled_rows is not None
    return (pooled_rows / (kept[1] - kept[0]) if how == "mean" else pooled_rows)[None]


def _state(hidden_state: int | str, options: EmbedOptions) -> int | str:
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
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim
