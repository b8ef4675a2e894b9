"""Choices that file tasks share, each declared once: what is read, how a model runs, how a job is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from biolm.common_options import (
    AUTO,
    CELLS,
    KEY,
    LONG_ROWS,
    ROWS,
    SEQUENCES,
    SHARD,
    SPECIES,
    AllowNormalised,
    BatchTokens,
    Device,
    Duplicates,
    Format,
    Letters,
    Overwrite,
    Pool,
    Precision,
    Progress,
    Resume,
    Seed,
)
from biolm.errors import ConfigError
from biolm.io.cells.source import TRANSPOSED
from biolm.options import Option, check_options

__all__ = [
    "CellSettings",
    "EmbedSettings",
    "ModelSettings",
    "ReadingSettings",
    "Resumable",
    "RunSettings",
    "SequenceSettings",
    "check_key",
]

MATCHES = ("resolve", "published")
_INPUT, _MODEL, _OUTPUT, _RUN = "Input", "Model", "Output", "Run"


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """Choices shared by jobs that read cells.

    Parameters
    ----------
    layer
        Matrix to read: ``X`` (default), the name of a layer, or ``raw``; where a matrix holds features of
        several types, the name of a type other than gene expression.
    transpose
        The table is genes x cells; text tables and mtx folders only.
    gene_column
        ``index`` or the ``var`` column that names the genes; found automatically by default.
    minimum_match
        Least fraction of genes that must be known to the model.
    match
        ``resolve`` finds genes by any of their names; ``published`` looks names up exactly as the published
        system does, by its own column.
    species
        ``human`` or ``mouse``, where the names do not say it or say it wrongly; inferred from the names by
        default.
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

    layer: Annotated[
        str | None, Option(help="Matrix to read: a layer, or raw.", shown="X", panel="Cells", only=CELLS)
    ] = None
    transpose: Annotated[
        bool, Option(help="The text table or mtx folder is genes x cells.", panel="Cells", only=CELLS)
    ] = False
    gene_column: Annotated[
        str | None,
        Option(help="index or a var column with gene names.", shown="found", panel="Cells", only=CELLS),
    ] = None
    minimum_match: Annotated[
        float,
        Option(help="Least fraction of genes the model must know.", min=0, max=1, panel="Cells", only=CELLS),
    ] = 0.1
    match: Annotated[
        str,
        Option(
            help="resolve: genes by any name; published: as the model's authors look them up.",
            choices=MATCHES,
            panel="Cells",
            only=CELLS,
        ),
    ] = "resolve"
    species: Annotated[str | None, SPECIES] = None
    allow_normalised: AllowNormalised = False
    seed: Seed = 0
    overwrite: Overwrite = False
    progress: Progress = False

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def matrix(self) -> str:
        """The matrix as readers spell it."""
        return (self.layer or "X") + (TRANSPOSED if self.transpose else "")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """How a model is run.

    Parameters
    ----------
    pool
        One of the model's ways to pool; None for its own definition.
    hidden_state
        Hidden state to pool: -1 the last, -2 the one before it, 0 the embeddings; None for the model's
        own definition.
    precision
        ``float32``, ``bfloat16`` or ``float16``; ``auto`` is ``bfloat16`` on CPUs with AMX or AVX512-BF16
        where the vectors of the first rows stay the same (:mod:`biolm.jobs.precision`), and ``float32``
        elsewhere.
    device
        ``auto`` (CUDA, then MPS, then CPU) or a torch device name.
    batch_tokens
        Tokens packed into one batch, for models that read tokens.
    block_rows
        Rows embedded between two progress reports; the model's choice by default. Shards begin there.
    compile
        Compile the model's layers first (torch models); for long jobs on a GPU.
    """

    pool: Pool = None
    hidden_state: Annotated[
        int | None, Option(help="State to pool: -1 the last, -2 ...", shown="the model's own", panel=_MODEL)
    ] = None
    precision: Precision = "float32"
    device: Device = "auto"
    batch_tokens: BatchTokens = 16_384
    block_rows: Annotated[int | None, replace(ROWS, shown="the model's own")] = None
    compile: Annotated[bool, Option(help="Compile the layers first (GPU).", panel=_RUN)] = False


@dataclass(frozen=True, kw_only=True)
class SequenceSettings:
    """Choices shared by jobs that read sequences.

    Parameters
    ----------
    letters
        What is done with residues or bases that the model does not know: ``error`` stops, ``unknown`` reads
        them as its unknown token, ``skip`` leaves the record out.
    """

    letters: Letters = "unknown"


@dataclass(frozen=True, kw_only=True)
class CellSettings(ReadingSettings, ModelSettings):
    """What a task that embeds cells is asked: how they are read and how the model runs."""


@dataclass(frozen=True, kw_only=True)
class Resumable:
    """How a job that can be interrupted is run.

    Parameters
    ----------
    resume
        Continue a job that was interrupted; files only.
    """

    resume: Resume = False

    @property
    def shard(self) -> str | None:
        """The whole job is done."""
        return None


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a job that writes a file is run.

    Parameters
    ----------
    resume
        Continue a job that was interrupted; files only.
    shard
        Do a part of the job only, such as ``2/7``, into a folder for ``biolm merge``; files only.
    format
        Of the output; from its ending by default.
    """

    resume: Resume = False
    shard: Annotated[str | None, SHARD] = None
    format: Format = None

    def check_run(self) -> None:
        """Check what holds for every job.

        Raises
        ------
        ConfigError
            If the shard is none, has a format, or leaves a choice that machines may make differently.
        """
        from biolm.jobs.shards import Shard

        if self.shard is not None:
            Shard.parse(self.shard)
            if getattr(self, "precision", None) == AUTO:
                raise ConfigError(
                    "shards must run alike on every machine, so they take no `precision='auto'`; choose "
                    "float32 or bfloat16 for all of them"
                )
            if self.format is not None:
                raise ConfigError("a shard has no `format`; choose it when the shards are merged")

    def check_in_memory(self, *, attaches: bool = False) -> None:
        """Refuse what only a job that writes a file can do.

        Parameters
        ----------
        attaches
            Whether the result goes into data of the user's, where ``overwrite`` means something.

        Raises
        ------
        ConfigError
            If a shard, a format, resuming or, without ``attaches``, overwriting is asked for.
        """
        for word in ("resume", "shard", "format", *(() if attaches else ("overwrite",))):
            if getattr(self, word):
                raise ConfigError(f"`{word}` is for jobs that write a file; give an output")


@dataclass(frozen=True, kw_only=True)
class EmbedSettings(CellSettings, SequenceSettings, RunSettings):
    """Choices of an embedding job, beside those of the classes that it is made of.

    ``overwrite`` also lets an embedding of the same key from elsewhere be replaced.

    Parameters
    ----------
    key
        Name of the result in ``obsm``; ``X_<model>`` by default.
    centre
        Move the mean of the dataset to zero; a cell's vector then depends on the other cells.
    adapt
        Join the factors of ``cellfactors`` with principal components of the dataset. Such vectors, under a
        key of their own, are never comparable with those of another file.
    state
        Submodule of a model of sequences whose output is pooled, by its name in the authors' code or in the
        core; in place of ``hidden_state``.
    duplicates
        ``error`` refuses names that repeat, ``keep`` takes the records as they come.
    windows
        Read sequences longer than the model in overlapping windows.
    window, overlap
        Most tokens of a window, special ones included, and least tokens that two share; the model's own
        length and a quarter of it by default.
    per_residue
        A row for each residue, base or token instead of one for each sequence.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    key: Annotated[str | None, KEY] = None
    centre: Annotated[
        bool, Option(help="Take the dataset's mean from its vectors.", panel="Cells", only=CELLS)
    ] = False
    adapt: Annotated[
        bool, Option(help="Join factors with components of this dataset alone.", panel="Cells", only=CELLS)
    ] = False
    state: Annotated[
        str | None,
        Option(
            help="Submodule whose output is pooled, such as blocks.28.mlp.l3.",
            shown="none",
            panel="Sequences",
            only=SEQUENCES,
        ),
    ] = None
    duplicates: Duplicates = "error"
    windows: Annotated[
        bool, Option(help="Read long sequences in overlapping windows.", panel="Sequences", only=SEQUENCES)
    ] = True
    window: Annotated[
        int | None,
        Option(help="Tokens of a window.", min=1, shown="the model's own", panel="Sequences", only=SEQUENCES),
    ] = None
    overlap: Annotated[
        int | None,
        Option(
            help="Tokens that windows share.",
            min=0,
            shown="a quarter",
            panel="Sequences",
            only=LONG_ROWS,
            needs=("windows=True",),
        ),
    ] = None
    per_residue: Annotated[
        bool, Option(help="A row for each residue, base or token.", panel="Sequences", only=SEQUENCES)
    ] = False

    def __post_init__(self) -> None:
        check_options(self)
        check_key(self.key)
        self.check_run()
        if self.state is not None and self.hidden_state is not None:
            raise ConfigError("`state` and `hidden_state` both choose what is pooled; give one")
        if self.per_residue and self.pool is not None:
            raise ConfigError("`per_residue` gives every token its vector, so it takes no `pool`; choose one")


def check_key(key: str | None) -> None:
    """Check the name of a result.

    Raises
    ------
    ConfigError
        If it is empty or holds a ``/``.
    """
    if key is not None and (not key or "/" in key):
        raise ConfigError(f"`key` {key!r} cannot name a result; use a word without '/', like X_mine")
