"""CellLM's model: vectors of cells whose padding is one token.

Dimensions: ``b`` cells of a batch · ``t`` tokens · ``d`` width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import Transformer, pool
from biolm.core.maps import Receive, leading
from biolm.errors import ConfigError
from biolm.models.model import EmbedOptions
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.running import states_of
from biolm.models.token_model import TokenCellModel

__all__ = ["Celllm"]


class Celllm(TokenCellModel):
    """Encoder, preprocessor and the head that predicts bins.

    Parameters
    ----------
    preprocessor, core, files, options
        See :class:`~biolm.models.token_model.TokenCellModel`.
    bin_head
        ``(d,)`` to the logits of the eight bins.
    """

    def __init__(
        self,
        preprocessor: CellPreprocessor,
        core: Transformer,
        bin_head: nn.Linear,
        files: list[Path],
        options: dict[str, Any],
    ) -> None:
        super().__init__(preprocessor, core, pool="cls", hidden_state=-1, files=files, options=options)
        self.bin_head = bin_head

    def attention(self, batch: Batch, receive: Receive) -> None:
        """Maps of each layer between a cell's own tokens; the padding among its keys is left out."""
        if batch.segments is None:
            super().attention(batch, receive)
            return
        # The padding of a cell is its last token.
        real = [int(part.sum()) for part in torch.split(batch.segments == 0, batch.lengths.tolist())]

        def own(maps: tuple[Any, ...]) -> None:
            receive(tuple(leading(each, kept) for each, kept in zip(maps, real, strict=True)))

        super().attention(batch, own)

    @torch.inference_mode()
    def _vectors(self, batch: Batch, options: EmbedOptions) -> Tensor:
        how = options.pool or self.pools[0]
        if how not in self.pools:
            raise ConfigError(f"pool must be one of {', '.join(self.pools)}, not {how!r}")
        plain = how.removesuffix("_l2")
        states = states_of(self.core, batch, self.hidden_state, options)
        if batch.segments is None:
            offsets, kept = batch.offsets.long(), slice(None)
        else:
            real = batch.segments == 0
            ends = torch.cat([real.new_zeros(1).long(), real.long().cumsum(0)])
            offsets, kept = ends[batch.offsets.long()], real  # type: ignore[assignment]  # either indexes
        vectors = pool(states[kept], offsets, plain, skip=self._skip(how))
        return torch.nn.functional.normalize(vectors, dim=1) if how.endswith("_l2") else vectors
