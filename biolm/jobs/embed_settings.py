"""The choices of an embedding job, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

from biolm.errors import ConfigError
from biolm.jobs.settings import ReadingSettings
from biolm.jobs.shards import Shard

__all__ = ["EmbedKeywords", "EmbedSettings", "SequenceKeywords", "check_embed_values"]


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
    shard: str | None
    progress: bool


class SequenceKeywords(EmbedKeywords, total=False):
    """Those for sequences too; see :class:`biolm.tasks.embed_sequences.SequenceSettings`."""

    letters: Literal["error", "unknown", "skip"]
    duplicates: str
    windows: bool
    window: int | None
    overlap: int | None
    per_residue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSettings(ReadingSettings):
    """Choices of an embedding job, beside those of :class:`~biolm.jobs.settings.ReadingSettings`.

    ``overwrite`` also lets an embedding of the same key from elsewhere be replaced.

    Parameters
    ----------
    key
        Name of the result in ``obsm``; ``X_<model>`` by default.
    pool
        One of the model's ways to pool; None for its own definition.
    hidden_state
        Hidden state to pool: -1 the last, -2 the one before it, 0 the embeddings; None for the model's
        own definition.
    precision
        ``float32``, ``bfloat16`` or ``float16``; mixed precision, for GPUs.
    compile
        Compile the model's layers first (torch models); for long jobs on a GPU.
    batch_tokens
        Tokens packed into one batch, for models that read tokens.
    device
        ``auto`` (CUDA, then MPS, then CPU) or a torch device name.
    centre
        Move the mean of the dataset to zero; a cell's vector then depends on the other cells.
    block_rows
        Cells embedded between two progress reports; the model's choice by default.
    resume
        Continue a job that was interrupted; files only.
    format
        ``h5ad``, ``zarr``, ``parquet`` or ``npy``; from the ending of the output by default.
    shard
        Do a part of the job only, such as ``2/7``, into a folder for ``biolm merge``; files only.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    key: str | None = None
    pool: str | None = None
    hidden_state: int | None = None
    precision: str = "float32"
    compile: bool = False
    batch_tokens: int = 16_384
    device: str = "auto"
    centre: bool = False
    block_rows: int | None = None
    resume: bool = False
    format: str | None = None
    shard: str | None = None

    def __post_init__(self) -> None:
        # A dataclass with slots is made anew, so a bare super() would look in the wrong class.
        ReadingSettings.__post_init__(self)
        check_embed_values(self)
        if self.shard is not None:
            Shard.parse(self.shard)
            if self.format is not None:
                raise ConfigError("a shard has no format; choose it when the shards are merged")


class _EmbedValues(Protocol):
    """The choices that cells and sequences have in common."""

    @property
    def batch_tokens(self) -> int: ...

    @property
    def block_rows(self) -> int | None: ...

    @property
    def key(self) -> str | None: ...

    @property
    def precision(self) -> str: ...


def check_embed_values(chosen: _EmbedValues) -> None:
    """Check the choices that cells and sequences have in common.

    Raises
    ------
    ConfigError
        If one is out of range.
    """
    if chosen.batch_tokens < 1:
        raise ConfigError(f"batch tokens must be at least 1, not {chosen.batch_tokens}")
    if chosen.block_rows is not None and chosen.block_rows < 1:
        raise ConfigError(f"block rows must be at least 1, not {chosen.block_rows}")
    if chosen.key is not None and (not chosen.key or "/" in chosen.key):
        raise ConfigError(f"key {chosen.key!r} cannot name a result; use a word without '/', like X_mine")
    if chosen.precision not in _PRECISIONS:
        raise ConfigError(f"precision '{chosen.precision}' is not one of {', '.join(_PRECISIONS)}")
