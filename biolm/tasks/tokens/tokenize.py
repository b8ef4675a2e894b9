"""Tokenise cells or sequences: blocks of a file to packed tokens; torch is never imported.

Dimensions: ``n`` rows of a block · ``t`` tokens of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import concatenate
from biolm.batch import Tokens
from biolm.common_options import ROWS
from biolm.errors import ConfigError
from biolm.io.tokens import FORMATS, TokenWriter, token_format
from biolm.jobs.job import Job, check_outputs, watched
from biolm.jobs.merging import Merging
from biolm.jobs.modality import Modality, loaded_for, modality_of
from biolm.jobs.settings import ReadingSettings, RunSettings, SequenceSettings
from biolm.jobs.spool import Parts
from biolm.options import Option, check_options, read_options, refuse_unused

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.model import CellModel
    from biolm.models.sequence_model import SequenceModel

__all__ = ["TokenizeSettings", "TokenizeSummary", "merge_tokens", "tokenize", "tokenize_file"]

KIND = "tokens"


@dataclass(frozen=True, kw_only=True)
class TokenizeSettings(ReadingSettings, SequenceSettings, RunSettings):
    """Choices of a tokenising job, beside those of the classes that it is made of.

    Parameters
    ----------
    workers
        Threads that tokenise a block; the result does not depend on it.
    block_rows
        Rows of one block; the tokens do not depend on it.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    workers: Annotated[int, Option(help="Threads that tokenise.", min=1, panel="Run")] = 1
    block_rows: Annotated[int, ROWS] = 8192

    def __post_init__(self) -> None:
        check_options(self)
        self.check_run()


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
    model: str | Path | CellModel | SequenceModel,
    output: str | Path | None = None,
    **options: Any,
) -> Tokens | Path:
    """Turn every cell or sequence into the tokens that a model reads.

    Parameters
    ----------
    data
        An AnnData, or the path of an h5ad, zarr, loom, 10x or csv table, or of a file of sequences.
    model
        Folder of a checkpoint, name, or a loaded model. Of a folder only the tokeniser is loaded.
    output
        Write to this ``.parquet``, ``.arrow`` or ``.zarr`` block by block, instead of returning tokens.
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
    settings: TokenizeSettings = read_options(TokenizeSettings, options, "tokenize")
    if output is not None:
        return tokenize_file(data, output, model, settings).output
    settings.check_in_memory()
    modality = modality_of(data)
    with modality.open(data, settings) as source:
        work = _work(modality, source, model, settings)
        return concatenate(work.tokens(block) for block in work.blocks(0, len(work.ends) - 1))


def tokenize_file(
    data: str | Path | AnnData,
    output: str | Path,
    model: str | Path | CellModel | SequenceModel,
    settings: TokenizeSettings,
) -> TokenizeSummary:
    """Tokenise the rows of a file into a file; memory is bounded by a few blocks.

    Parameters
    ----------
    data, output, model
        As of :func:`tokenize`.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        As :func:`tokenize`; nothing half-written is left.
    """
    target = Path(output)
    form = "" if settings.shard else token_format(target, settings.format)
    check_outputs(target, tuple(FORMATS) if settings.shard else (target.suffix,), settings)
    modality = modality_of(data)
    with modality.open(data, settings) as source:
        work = _work(modality, source, model, settings)
        metadata, count = work.facts, 0

        def compute(block: Any) -> dict[str, NDArray[Any]]:
            nonlocal count
            tokens = work.tokens(block)
            count += len(tokens.ids)
            arrays = {"ids": _narrow(tokens.ids), "offsets": tokens.offsets, "index": tokens.index}
            more = {"values": tokens.values, "segments": tokens.segments}
            arrays |= {name: values for name, values in more.items() if values is not None}
            return {**arrays, "names": work.names_of(block)}

        def finish(parts: Parts, temporary: Path) -> None:
            nonlocal count
            count = _write(parts, temporary, metadata, form)

        rows = Job(
            kind=KIND,
            # Blocks are resumed by number, so their size is part of the job.
            same={"input": work.same(), "provenance": metadata, "step": settings.block_rows},
            inputs=watched(source),
            ends=work.ends,
            blocks=work.blocks,
            compute=compute,
            finish=finish,
            label="tokenising",
            unit=modality.name,
        ).run(target, settings)
    return TokenizeSummary(output=target, cells=rows, tokens=count, provenance=metadata)


def _work(modality: Modality, source: Any, model: Any, settings: TokenizeSettings) -> Any:
    """What tokenises a source; the weights of a folder are not read."""
    refuse_unused(settings, modality.reads)
    if modality.tokens is None:
        raise ConfigError(f"{modality.name} have no tokens of their own; embed them instead")
    # A tokeniser needs no weights, which may be gigabytes.
    return modality.tokens(source, loaded_for(modality.reads, model, whole=False), settings)


def merge_tokens(merging: Merging) -> int:
    """Write the tokens of all shards as the whole job would; how many rows there are."""
    merging.refuse_data("tokens")
    form, metadata = token_format(merging.target, merging.form), merging.job["provenance"]
    merging.write(lambda temporary: _write(merging.parts, temporary, metadata, form))
    return sum(len(part["index"]) for part in merging.parts)


def _narrow(ids: NDArray[np.int32]) -> NDArray[Any]:
    """Token ids in two bytes each where that holds them: they are on the disk twice before a job is done."""
    most = np.iinfo(np.uint16).max
    return ids.astype(np.uint16) if len(ids) and ids.min() >= 0 and ids.max() <= most else ids


def _write(parts: Parts, temporary: Path, metadata: dict[str, Any], form: str) -> int:
    """Write the blocks of a job one by one; how many tokens they hold."""
    count = 0
    with TokenWriter(temporary, metadata=metadata, format=form) as writer:
        for part in parts:
            names, ids = part.pop("names").astype(str), part.pop("ids").astype(np.int32, copy=False)
            tokens = Tokens(ids=ids, **part)
            writer.write(tokens, names)
            count += len(tokens.ids)
    return count
