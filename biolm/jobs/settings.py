"""The choices that jobs on a file of cells share: what is read, how genes are found, what may be replaced."""

from __future__ import annotations

from dataclasses import dataclass

from biolm.errors import ConfigError

__all__ = ["ReadingSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingSettings:
    """Choices shared by jobs that read cells.

    Parameters
    ----------
    layer
        Matrix to read: ``X`` (default), the name of a layer, or ``raw``.
    gene_column
        ``index`` or the ``var`` column that names the genes; found automatically by default.
    minimum_match
        Least share of genes that must be known to the model.
    species
        ``human`` or ``mouse``, where the names cannot tell or tell wrongly; told from the names by default.
    allow_normalised
        Take values that are not counts where the model wants counts.
    seed
        Seeds everything random.
    overwrite
        Whether an existing output may be replaced.
    progress
        Draw a progress bar on stderr, if that is a terminal.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    layer: str | None = None
    gene_column: str | None = None
    minimum_match: float = 0.1
    species: str | None = None
    allow_normalised: bool = False
    seed: int = 0
    overwrite: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_match <= 1:
            raise ConfigError(f"the minimum match is a share from 0 to 1, not {self.minimum_match}")
        if self.seed < 0:
            raise ConfigError(f"the seed must be 0 or more, not {self.seed}")

    @property
    def matrix(self) -> str:
        """The matrix as readers spell it."""
        return self.layer or "X"
