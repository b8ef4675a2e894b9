"""Longer inputs for models with learned positions, such as BERT's 512.

Dimensions: ``m`` trained positions · ``n`` wanted · ``e`` embedding width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from biolm.core.model import Transformer
from biolm.errors import ConfigError

__all__ = ["extend_positions"]


def extend_positions(model: Transformer, max_length: int, *, keep: int = 0) -> Transformer:
    """A copy of a model that reads documents of up to ``max_length`` tokens.

    The table of learned positions is stretched by linear interpolation: the first and the last trained
    position stay the ends, and the others spread evenly between. So neighbouring tokens come to lie closer
    than in training, and short documents are read a little differently too; ``keep`` leaves the first
    positions as they are and stretches only the rest, as Long-CLIP does (Zhang et al. 2024), which spares
    documents of up to ``keep`` tokens. No new training happens here: expect some loss, measure it, and train
    on if it matters. With ``max_length`` as trained the copy is exact.

    Parameters
    ----------
    model
        With ``position="learned"``.
    max_length
        ``n``, at least the trained length ``m``.
    keep
        Positions at the start that are not moved.

    Raises
    ------
    ConfigError
        If the positions are not learned ones of tokens, the length shrinks, or ``keep`` does not leave two
        positions to stretch.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> config = CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, max_length=512)
    >>> extend_positions(Transformer(config), 2048, keep=20).config.max_length
    2048
    """
    config = model.config
    if config.position != "learned":
        raise ConfigError(
            f"positions of kind {config.position!r} are no table to stretch; rotary ones are extended by "
            "rope_scaling in the config, ALiBi and T5 ones need nothing"
        )
    if config.value_encoder == "patches":
        raise ConfigError("positions of image patches lie on a grid; resize them with biolm.core.patches")
    # Shorter would drop trained positions, which reading shorter documents does not ask for.
    if max_length < config.max_length:
        raise ConfigError(f"max_length must be at least the trained {config.max_length}, not {max_length}")
    if not 0 <= keep <= config.max_length - 2:
        raise ConfigError(f"keep must lie in 0..{config.max_length - 2}, not {keep}")
    table = model.embeddings.position.weight
    longer = Transformer(replace(config, max_length=max_length)).to(table.device, table.dtype)
    fixed = config.position_offset + keep
    weights = model.state_dict()
    weights["embeddings.position.weight"] = torch.cat(
        (table[:fixed], _stretch(table[fixed:], max_length - keep))
    )
    longer.load_state_dict(weights)
    return longer.train(model.training)


def _stretch(table: Tensor, rows: int) -> Tensor:
    """``(m, e)`` to ``(n, e)``, ends onto ends."""
    place = torch.arange(rows, dtype=torch.float64, device=table.device) * (len(table) - 1) / (rows - 1)
    below = place.long().clamp(max=len(table) - 2)
    weight = (place - below)[:, None]
    wide = table.detach().double()
    return (wide[below] * (1 - weight) + wide[below + 1] * weight).to(table.dtype)
