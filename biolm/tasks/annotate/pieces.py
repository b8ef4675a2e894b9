"""Sequences as a model is trained on them.

Sequences longer than the model are cut in pieces, each with the label of the whole.

Dimensions: ``n`` sequences · ``p`` pieces · ``s`` samples · ``k`` samples of a batch · ``d`` width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Batch, Tokens
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceModel, SequenceOptions
from biolm.tasks.annotate.samples import Samples
from biolm.tasks.annotate.settings import FitSettings

if TYPE_CHECKING:
    from torch import Tensor

    from biolm.core import Transformer
    from biolm.training.linear_start import Inputs

__all__ = ["pieces_of"]

_LONGEST = 1024  # tokens of a piece for models without a limit


def pieces_of(
    model: SequenceModel, samples: Samples, known: NDArray[np.int64], settings: FitSettings
) -> Inputs:
    """Pieces of all sequences, and which of the ``known`` samples each holds.

    Parameters
    ----------
    model
        To train.
    samples
        Sequences and labels.
    known
        Samples that have a label; their place here is their number in training.
    settings
        Choices of the job.
    """
    from biolm.training.linear_start import Inputs

    tokens, owner = _pieces(samples.block, model)
    options = SequenceOptions(pool=settings.pool, device=settings.device)
    number = np.full(len(samples.values), -1, np.int64)
    number[known] = np.arange(len(known))
    if not samples.per_residue:
        return Inputs(
            tokens=tokens,
            samples=number[owner],
            starts=np.arange(len(owner) + 1),
            states=lambda core, batch: _vectors(model, core, batch, options),
        )
    lengths = np.maximum(tokens.lengths - sum(model.preprocessor.special), 0)
    return Inputs(
        tokens=tokens,
        samples=number,
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        states=lambda core, batch: _letters(model, core, batch, options),
    )


def _vectors(model: SequenceModel, core: Transformer, batch: Batch, options: SequenceOptions) -> Tensor:
    """Vectors ``(k, d)`` of pieces as a core of the model's shape makes them, with their gradient."""
    from biolm.models.running import pooled

    how = options.pool or model.pools[0]
    # Those pools take a special token itself; means leave special tokens out.
    skip = (0, 0) if how in ("cls", "last") else model.preprocessor.special
    return pooled(core, batch, model.hidden_state, options, how, skip)


def _letters(model: SequenceModel, core: Transformer, batch: Batch, options: SequenceOptions) -> Tensor:
    """States ``(k, d)`` of every token but special ones, as :func:`_vectors`."""
    import torch

    from biolm.models.running import states_of

    before, after = model.preprocessor.special
    starts, ends = batch.offsets[:-1].long(), batch.offsets[1:].long()
    place = torch.arange(len(batch.ids), device=batch.ids.device)
    owner = torch.repeat_interleave(torch.arange(len(batch), device=place.device), ends - starts)
    # Samples are letters, and special tokens stand for none.
    inner = (place >= starts[owner] + before) & (place < ends[owner] - after)
    return states_of(core, batch, model.hidden_state, options)[inner]


def _pieces(block: SequenceBlock, model: SequenceModel) -> tuple[Tokens, NDArray[np.int64]]:
    """Tokens of ``p`` pieces, and the sequence that each belongs to."""
    # Room for the special tokens, which every piece gets again.
    longest = (model.max_length or _LONGEST) - sum(model.preprocessor.special)
    width = longest * model.tokenizer.stride
    # An empty sequence is one piece still, so that places in the table stay aligned.
    counts = np.maximum(-(-block.lengths // width), 1)
    owner = np.repeat(np.arange(len(block)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = block.offsets[:-1][owner] + place * width
    ends = np.minimum(begins + width, block.offsets[1:][owner])
    cut = SequenceBlock(
        names=[block.names[row] for row in owner.tolist()],
        descriptions=[""] * len(owner),
        letters=block.letters,
        offsets=np.concatenate([begins[:1], ends]),
    )
    tokens = model.tokenize(cut)
    return tokens, owner
