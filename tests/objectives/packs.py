"""Small packed batches and cores for tests of objectives."""

from __future__ import annotations

import torch
from perturb import perturb
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.objectives.base import Metadata

SIZES = {"vocab_size": 32, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 24, "max_length": 512}
METADATA = Metadata(core=CoreConfig(**SIZES, head="mlm"), special_ids=(0, 1, 2, 3), mask_id=3)


def make_core(**switches: object) -> Transformer:
    """A small core with large random weights, in evaluation mode."""
    torch.manual_seed(0)
    return perturb(Transformer(CoreConfig(**(SIZES | switches)))).eval()


def pack_of(lengths: list[int], ids: Tensor | None = None, values: Tensor | None = None) -> Batch:
    """A packed batch of documents of these lengths; random ids, special ones among them."""
    total = sum(lengths)
    if ids is None:
        ids = torch.randint(0, 32, (total,), generator=torch.Generator().manual_seed(total))
    offsets = torch.tensor([0, *lengths]).cumsum(0).int()
    positions = torch.cat([torch.arange(length) for length in lengths])
    index = torch.arange(len(lengths))
    return Batch(ids, offsets, positions, max(lengths), index, values=values)
