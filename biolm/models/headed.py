"""Models that may have learned label columns, of cells or of sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import ConfigError

if TYPE_CHECKING:
    from biolm.core import Transformer
    from biolm.models.heads import Heads

__all__ = ["Headed"]


class Headed:
    """What a model with heads offers beside its vectors.

    Attributes
    ----------
    name
        Names the model in messages.
    core
        The transformer.
    heads
        What it learned of label columns; None where it learned of none.
    """

    name: str
    core: Transformer
    heads: Heads | None

    def predict(
        self, tokens: Tokens, *, batch_tokens: int = 16_384, device: str = "auto"
    ) -> dict[str, NDArray[np.float32]]:
        """Logits or numbers of each label column the model was trained on.

        See :meth:`biolm.models.heads.Heads.predict`.

        Parameters
        ----------
        tokens
            Packed examples.
        batch_tokens
            Most tokens of a batch.
        device
            Where it runs.

        Raises
        ------
        ConfigError
            If it was trained on none.
        """
        if self.heads is None:
            raise ConfigError(f"model {self.name} was trained on no label, so it predicts none; fine-tune it")
        return self.heads.predict(self.core, tokens, batch_tokens=batch_tokens, device=device)
