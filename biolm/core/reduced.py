"""A transformer whose attention and feed-forward hold weights of a narrower number type.

What they are added to, norms, embeddings and head stay as they are: they are a small part of the work, and
rounding there, layer after layer, costs ten times as much of the result as rounding inside the branches.
"""

from __future__ import annotations

from copy import copy, deepcopy
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import nn

from biolm.core.block import Block
from biolm.core.model import Transformer

__all__ = ["can_reduce", "reduced"]

_Stamp = tuple[tuple[int, int], ...]
_copies: WeakKeyDictionary[Transformer, tuple[_Stamp, torch.dtype, Transformer]] = WeakKeyDictionary()


def can_reduce(core: Transformer) -> bool:
    """Whether every layer is attention and feed-forward alone, which run in any number type.

    Other mixers hold numbers that must stay as they are, such as the frequencies of long convolutions, and a
    second stream comes from elsewhere in its own type.
    """
    c = core.config
    plain = all(c.layer_mixer(layer) == "attention" for layer in range(c.n_layers))
    return plain and not c.cross_attention


def reduced(core: Transformer, dtype: torch.dtype) -> Transformer:
    """The same model with the weights of its layers in ``dtype``; made once, and again when they change.

    Parameters
    ----------
    core
        The model; it stays as it is.
    dtype
        Such as ``torch.bfloat16``.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> core = Transformer(CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8))
    >>> narrow = reduced(core, torch.bfloat16)
    >>> narrow.layers[0].mlp.up.weight.dtype, narrow.embeddings is core.embeddings
    (torch.bfloat16, True)
    >>> reduced(core, torch.bfloat16) is narrow
    True
    """
    stamp = _stamp(core)
    known = _copies.get(core)
    if known is not None and known[:2] == (stamp, dtype):
        return known[2]
    twin = copy(core)
    twin._modules = dict(core._modules)
    # Layer by layer, so that no second copy of all weights stands in memory at once.
    twin.layers = nn.ModuleList(_narrow(block, dtype) for block in core.layers)
    if getattr(core.layers[0], "_compiled_call_impl", None) is not None:
        twin.compile_layers()
    _copies[core] = stamp, dtype, twin
    return twin


def _narrow(block: nn.Module, dtype: torch.dtype) -> Block:
    narrow = deepcopy(cast(Block, block))
    narrow.attention.to(dtype)
    narrow.mlp.to(dtype)
    narrow.branch_dtype = dtype
    return narrow


def _stamp(core: Transformer) -> _Stamp:
    """Changes with every write to the weights of the layers."""
    return tuple(
        (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        for weight in core.layers.parameters()
    )
