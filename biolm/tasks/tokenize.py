"""Tokenise cells: blocks of a file to packed tokens, in memory or on disk; torch is never imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import biolm
from biolm.adapters.cells import concatenate, in_threads
from biolm.batch import Tokens
from biolm.errors import ConfigError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.cells import CellBlock, CellSource, open_cells
from biolm.io.provenance import plain
from biolm.io.token_store import VOCABULARY
from biolm.jobs.bind import fit
from biolm.jobs.settings import ReadingSettings
from biolm.jobs.shards import SHARD_FILE, Shard, input_facts, write_record
from biolm.progress import progress

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.io.tokens import TokenWriter
    from biolm.models.model import CellModel

__all__ = ["TokenizeSettings", "TokenizeSummary", "tokenize", "tokenize_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeSettings(ReadingSettings):
    """Choices of a tokenising job, beside those of :class:`~biolm.jobs.settings.ReadingSettings`.

    Parameters
    ----------
    workers
        Threads that tokenise a block; the result does not depend on it.
    block_rows
        Cells of one block; the tokens do not depend on it.
    shard
        Do a part of the job only, such as ``2/7``, into a folder for ``biolm merge``; files only.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    workers: int = 1
    block_rows: int = 8192
    shard: str | None = None

    def __post_init__(self) -> None:
        # A dataclass with slots is made anew, so a bare super() would look in the wrong class.
        ReadingSettings.__post_init__(self)
        for name in ("workers", "block_rows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name.replace('_', ' ')} must be at least 1, not {getattr(self, name)}")
        if self.shard is not None:
            Shard.parse(self.shard)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeSummary:
    """What a tokenising job did.

    Parameters
    ----------
    output
        The file.
    cells, tokens
        Rows of the file; tokens of all of them.
    provenance
        What stands in the file's metadata.
    """

    output: Path
    cells: int
    tokens: int
    provenance: dict[str, Any]


def tokenize(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel,
    output: str | Path | None = None,
    format: str | None = None,  # noqa: A002  # the word users know
    **options: Any,
) -> Tokens | Path:
    """Turn every cell into the tokens that a model reads.

    Parameters
    ----------
    data
        An AnnData, or the path of an h5ad, zarr, loom, 10x or csv table.
    model
        Folder of a checkpoint, name, or a loaded model. Of a folder only the tokeniser is loaded.
    output
        Write to this ``.parquet``, ``.arrow`` or ``.zarr`` block by block, instead of returning tokens.
    format
        ``parquet``, ``arrow`` or ``zarr``; from the ending of the output by default.
    options
        See :class:`TokenizeSettings`.

    Returns
    -------
    :class:`~biolm.batch.Tokens` in input order, or the path of ``output``.

    Raises
    ------
    BiolmError
        If data, model or output cannot be used, with the reason and what to do.
    """
    settings = TokenizeSettings(**options)
    if output is not None:
        return tokenize_file(data, output, model, settings, format).output
    if settings.shard is not None:
        raise ConfigError("shard is for jobs that write a file; give an output")
    with open_cells(data, matrix=settings.matrix) as source:
        return concatenate(_token_blocks(source, _tokeniser(model), settings)[1])


def tokenize_file(
    data: str | Path | AnnData,
    output: str | Path,
    model: str | Path | CellModel,
    settings: TokenizeSettings,
    form: str | None = None,
) -> TokenizeSummary:
    """Tokenise the cells of a file into a file; memory is bounded by a few blocks.

    Raises
    ------
    BiolmError
        As :func:`tokenize`; nothing half-written is left.
    """
    target = Path(output)
    refuse_existing(target, overwrite=settings.overwrite)
    with open_cells(data, matrix=settings.matrix) as source:
        if settings.shard is not None:
            return _tokenize_shard(source, target, model, settings, form)
        facts, blocks = _token_blocks(source, _tokeniser(model), settings)
        cells, tokens = _write(source, blocks, _writer(target, facts, settings, form), settings)
    return TokenizeSummary(output=target, cells=cells, tokens=tokens, provenance=facts)


def _tokenize_shard(
    source: CellSource,
    target: Path,
    model: str | Path | CellModel,
    settings: TokenizeSettings,
    form: str | None,
) -> TokenizeSummary:
    """A folder with the tokens of a part of the cells."""
    if form is not None:
        raise ConfigError("a shard has no format; choose it when the shards are merged")
    shard = Shard.parse(str(settings.shard))
    first, last = shard.rows(source.n_cells, settings.block_rows)
    facts, blocks = _token_blocks(source, _tokeniser(model), settings, first, last)
    job = {"input": input_facts(source), "provenance": facts, "step": settings.block_rows}
    with replacing(target, overwrite=settings.overwrite) as folder:
        folder.mkdir()
        writer = _writer(folder / SHARD_FILE, facts, settings, None)
        cells, tokens = _write(source, blocks, writer, settings, first, last)
        write_record(folder, shard, "tokens", job, {})
    return TokenizeSummary(output=target, cells=cells, tokens=tokens, provenance=facts)


def _writer(target: Path, facts: dict[str, Any], settings: TokenizeSettings, form: str | None) -> TokenWriter:
    from biolm.io.tokens import TokenWriter

    return TokenWriter(target, metadata=facts, format=form, overwrite=settings.overwrite)


def _write(
    source: CellSource,
    blocks: Iterator[Tokens],
    writer: TokenWriter,
    settings: TokenizeSettings,
    first: int = 0,
    last: int | None = None,
) -> tuple[int, int]:
    """Write blocks of tokens; how many cells and tokens they were."""
    names, start, total = source.cell_names(), first, 0
    end = source.n_cells if last is None else last
    with writer, progress("tokenising", end - first, show=settings.progress) as advance:
        for tokens in blocks:
            writer.write(tokens, names[start : start + len(tokens)])
            start, total = start + len(tokens), total + len(tokens.ids)
            advance(len(tokens))
    return start - first, total


def _tokeniser(model: str | Path | CellModel) -> Any:
    """What tokenises for a model."""
    if not isinstance(model, str | Path):
        return model
    from biolm.models.registry import load_tokenizer

    return load_tokenizer(model)


def _token_blocks(
    source: CellSource, model: Any, settings: TokenizeSettings, first: int = 0, last: int | None = None
) -> tuple[dict[str, Any], Iterator[Tokens]]:
    """Provenance, and the tokens of consecutive blocks."""
    match = fit(source, model, settings)
    facts = plain(
        {
            "model": model.name,
            VOCABULARY: getattr(getattr(model, "language", model), "fingerprint", None),
            "biolm_version": biolm.__version__,
            "genes": match.report.as_dict(),
            "matrix": source.matrix,
            "seed": settings.seed,
        }
    )

    def tokens_of(block: CellBlock) -> Tokens:
        tokens: Tokens = model.tokenize(block, match, seed=settings.seed)
        return tokens

    blocks = source.blocks(settings.block_rows, first, last)
    return facts, (in_threads(tokens_of, block, settings.workers) for block in blocks)
