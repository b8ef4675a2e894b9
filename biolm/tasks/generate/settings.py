"""The choices of a job that makes sequences, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from biolm.errors import ConfigError

__all__ = ["DIRECTIONS", "GenerateKeywords", "GenerateSettings"]

DIRECTIONS = ("forward", "backward", "both")
"""From the first letter on, from the last letter back, and as many of each."""


class GenerateKeywords(TypedDict, total=False):
    """Keyword options of :func:`biolm.generate`; see :class:`GenerateSettings`."""

    number: int
    max_length: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    direction: str
    steps: int
    sweeps: int
    ambiguous: bool
    near: float
    seed: int
    batch_size: int
    device: str
    progress: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSettings:
    """Choices of a job.

    Parameters
    ----------
    number
        Sequences for each prompt, and in each direction.
    max_length
        Most residues (tokens, for models of DNA in longer words) of a sequence, its prompt included.
    temperature
        Divides the logits; 0 always takes the likeliest token.
    top_k, top_p
        Draw among the ``top_k`` likeliest tokens (0 for all), and among the fewest that together have
        probability ``top_p``.
    repetition_penalty
        Makes tokens that stand before less likely: logits are divided by it where positive and multiplied
        where negative; 1 for none. Decoders only.
    direction
        One of :data:`DIRECTIONS`; ``backward`` writes from the C end, for models trained both ways.
    steps
        Passes in which an encoder fills a sequence, the surest places first; 0 for one place a pass.
    sweeps
        Times that an encoder draws every filled place again, given all others.
    ambiguous
        Also write letters that stand for several, such as X and N, and rare ones, such as U.
    near
        Identity to a sequence of the reference from which on a sequence counts as its copy.
    seed
        Fixes every draw. Probabilities are the same to rounding whatever the batch size.
    batch_size
        Sequences made together.
    device
        Where to compute.
    overwrite, progress
        Whether an existing output may be replaced; draw a bar on a terminal.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    number: int = 1
    max_length: int = 512
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    direction: str = "forward"
    steps: int = 0
    sweeps: int = 0
    ambiguous: bool = False
    near: float = 0.9
    seed: int = 0
    batch_size: int = 32
    device: str = "auto"
    overwrite: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("number", "max_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.direction not in DIRECTIONS:
            raise ConfigError(f"direction must be one of {', '.join(DIRECTIONS)}, not {self.direction!r}")
        if self.steps < 0 or self.sweeps < 0:
            raise ConfigError(f"steps and sweeps must be 0 or more, not {self.steps} and {self.sweeps}")
        if not 0 < self.near <= 1:
            raise ConfigError(f"near must be over 0 and at most 1, not {self.near}")

    def sampling(self) -> dict[str, Any]:
        """What :class:`biolm.core.SamplingOptions` has in common with these."""
        names = ("temperature", "top_k", "top_p", "repetition_penalty", "seed", "batch_size")
        return {name: getattr(self, name) for name in names}
