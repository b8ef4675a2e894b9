"""Fill in the values of genes a few at a time, the surest first (scGPT's generation).

Dimensions: ``b`` cells · ``t`` tokens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from biolm.batch import Batch
from biolm.core import Transformer
from biolm.errors import ConfigError, InputError
from biolm.objectives.masking import documents, lowest

__all__ = ["generate_values"]


@torch.inference_mode()
def generate_values(
    core: Transformer, batch: Batch, unknown: Tensor, *, mask_value: float = -1.0, rounds: int = 6
) -> Tensor:
    """Values ``(t,)`` float32: those of the batch, and generated ones where they are unknown.

    In each round the model predicts every unknown value from the known ones; those it is surest of become
    known. Of a value without a spread the surest is the highest one (Cui et al. 2024).

    Parameters
    ----------
    core
        With a value head, trained with ``masked_values`` and ``private=true``.
    batch
        Gene tokens; values of unknown ones are not read.
    unknown
        ``(t,)`` which values are to be generated.
    mask_value
        What a masked value was in training.
    rounds
        Each makes an equal fraction of a cell's unknown values known, the last one all that are left.

    Raises
    ------
    ConfigError
        If the core has no value head, or there is no round.
    InputError
        If the batch has no values.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> sizes = {"vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    >>> core = Transformer(CoreConfig(**sizes, value_encoder="continuous", head="value")).eval()
    >>> batch = Batch.from_padded(torch.tensor([[3, 4, 5]]), values=torch.tensor([[7.0, 2.0, 0.0]]))
    >>> generate_values(core, batch, torch.tensor([False, False, True]))[:2].tolist()
    [7.0, 2.0]
    """
    if core.config.head != "value":
        raise ConfigError(f"generating values needs a core with head 'value', not {core.config.head!r}")
    if rounds < 1:
        raise ConfigError(f"rounds must be at least 1, not {rounds}")
    if batch.values is None:
        raise InputError("generating values needs tokens with values; give 0 where they are unknown")
    # A core of bins looks them up, so what is generated must be one of them.
    bins = core.config.value_encoder == "bins"
    values = batch.values.float().masked_fill(unknown, mask_value)
    unknown, document = unknown.clone(), documents(batch)
    count = torch.zeros(len(batch), dtype=torch.long, device=values.device)
    count = count.index_add(0, document, unknown.long())  # (b,)
    for number in range(rounds):
        rows = unknown.nonzero().flatten()
        if not len(rows):
            break
        read = replace(batch, values=values.to(batch.values.dtype) if bins else values, private=unknown)
        generated = values.clone()
        generated[rows] = core(read, logits=rows).logits.float()
        if bins:
            generated[rows] = generated[rows].round().clamp(0, core.config.n_values - 1)
        # Equal shares, rounded so that they add up to the whole.
        due = count * (number + 1) // rounds - count * number // rounds
        surest = lowest(batch, (-generated).masked_fill(~unknown, torch.inf), due) & unknown
        values = torch.where(surest, generated, values)
        unknown &= ~surest
    return values
