"""The choices of an embedding job, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from biolm.errors import ConfigError

__all__ = ["EmbedKeywords", "EmbedSettings"]


_PRECISIONS = ("float32", "bfloat16", "float16")


class EmbedKeywords(TypedDict, total=False):
    """Keyword options of :func:`biolm.embed` beyond its named arguments; see :class:`EmbedSettings`."""

    pool: str | None
    hidden_state: int | None
    precision: str
    batch_tokens: int
    device: str
    seed: int
    allow_normalised: bool
    gene_column: str | None
    minimum_match: float
    species: str | None
    compile: bool
    centre: bool
    block_rows: int | None
    overwrite: bool
    resume: bool
    format: str | None
    progress: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSettings:
    """Choices of an embedding job.

    Parameters
    ----------
    layer
        Matrix to read: ``X`` (default), the name of a layer, or ``raw``.
    key
        Name of the result in ``obsm``; ``X_<model>`` by default.
    pool
        One of the model's ways to pool; None for its own definition.
    hidden_state
        Hidden state to pool: -1 the last, -2 the one before it, 0 the embeddings; None for the model's
        own definition.
    precision
        ``float32``, ``bfloat16`` or ``float16``; mixed precision, for GPUs.
    batch_tokens
        Tokens packed into one batch, for models that read tokens.
    device
        ``auto`` (CUDA, then MPS, then CPU) or a torch device name.
    seed
        Seeds everything random.
    allow_normalised
        Take values that are not counts where the model wants counts.
    gene_column
        ``index`` or the ``var`` column that names the genes; found automatically by default.
    minimum_match
        Least share of genes that must be known to the model.
    species
        ``human`` or ``mouse``, where the names cannot tell or tell wrongly; told from the names by default.
    compile
        Compile the model's layers first (torch models); for long jobs on a GPU.
    centre
        Move the mean of the dataset to zero; a cell's vector then depends on the other cells.
    block_rows
        Cells embedded between two progress reports; the model's choice by default.
    overwrite
        Whether an existing output, or an embedding of the same key from elsewhere, may be replaced.
    resume
        Continue a job that was interrupted; files only.
    format
        ``h5ad``, ``zarr``, ``parquet`` or ``npy``; from the ending of the output by default.
    progress
        Draw a progress bar on stderr, if that is a terminal.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    layer: str | None = None
    key: str | None = None
    pool: str | None = None
    hidden_state: int | None = None
    precision: str = "float32"
    batch_tokens: int = 16_384
    device: str = "auto"
    seed: int = 0
    allow_normalised: bool = False
    gene_column: str | None = None
    minimum_match: float = 0.1
    species: str | None = None
    compile: bool = False
    centre: bool = False
    block_rows: int | None = None
    overwrite: bool = False
    resume: bool = False
    format: str | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if self.batch_tokens < 1:
            raise ConfigError(f"batch tokens must be at least 1, not {self.batch_tokens}")
        if self.block_rows is not None and self.block_rows < 1:
            raise ConfigError(f"block rows must be at least 1, not {self.block_rows}")
        if not 0 <= self.minimum_match <= 1:
            raise ConfigError(f"the minimum match is a share from 0 to 1, not {self.minimum_match}")
        if self.key is not None and (not self.key or "/" in self.key):
            raise ConfigError(f"key {self.key!r} cannot name a result; use a word without '/', like X_mine")
        if self.precision not in _PRECISIONS:
            raise ConfigError(f"precision '{self.precision}' is not one of {', '.join(_PRECISIONS)}")
        if self.seed < 0:
            raise ConfigError(f"the seed must be 0 or more, not {self.seed}")

    @property
    def matrix(self) -> str:
        """The matrix as readers spell it."""
        return self.layer or "X"
