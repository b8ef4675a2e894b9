"""Embed data of any kind: in memory, or a file block by block.

Dimensions: ``n`` rows of the result · ``d`` width of the embedding.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, overload

import numpy as np

from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.anndata.result import endings_of, format_of
from biolm.jobs.job import Job, check_outputs, made_from, watched
from biolm.jobs.merging import Merging
from biolm.jobs.modality import Embedding, Modality, available, loaded_for, modality_of
from biolm.jobs.precision import settled
from biolm.jobs.settings import EmbedSettings
from biolm.jobs.shards import check_same_input
from biolm.jobs.spool import Parts
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.options import read_options, refuse_unused
from biolm.progress import progress

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.model import CellModel
    from biolm.models.sequence_model import SequenceModel

__all__ = ["EmbedSummary", "embed", "embed_file", "merge_vectors", "protect"]

KIND = "vectors"


@overload
def embed(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel | SequenceModel = ...,
    output: None = ...,
    copy: bool = ...,
    **options: Any,
) -> AnnData: ...


@overload
def embed(
    data: str | Path,
    *,
    model: str | Path | CellModel | SequenceModel = ...,
    output: str | Path,
    copy: bool = ...,
    **options: Any,
) -> Path: ...


def embed(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel | SequenceModel = DEFAULT_MODEL,
    output: str | Path | None = None,
    copy: bool = False,
    **options: Any,
) -> AnnData | Path:
    """Turn every cell, every sequence, or every row of another kind of data, into a vector.

    Parameters
    ----------
    data
        An AnnData, or the path of an h5ad, zarr, loom, 10x or csv table of cells; of a folder of a section,
        such as Space Ranger's ``outs``; of a FASTA, FASTQ, GenBank or EMBL file of sequences; or of documents
        (JSONL, PubTator, BioC, MEDLINE, nbib, CoNLL, a BRAT folder).
    model
        Built-in name, folder of a checkpoint, hub id, or a loaded model.
    output
        For a path: stream to this ``.h5ad``, ``.zarr``, ``.parquet`` or ``.npy`` (sequences also ``.pt``)
        instead of returning an AnnData; memory is then bounded by the block.
    copy
        For an AnnData: leave it as it is and return a copy.
    options
        See :class:`biolm.jobs.settings.EmbedSettings`: ``key``, ``layer``, ``pool`` and others. One that
        means nothing for the kind of data is refused.

    Returns
    -------
    The AnnData, for sequences a new one with a row each, with ``obsm[key]`` float32 ``(n_obs, d)``,
    ``uns["biolm"][key]`` and, where cells hold no counts, ``obs[key + "_empty"]``; or the path of
    ``output``.

    Raises
    ------
    BiolmError
        If data, model or output cannot be used, with the reason and what to do.

    Examples
    --------
    >>> adata = embed("data/cells/pbmc68k_reduced_counts_700.h5ad")
    >>> adata.obsm["X_cellfactors"].dtype
    dtype('float32')
    """
    settings: EmbedSettings = read_options(EmbedSettings, options, "embed")
    if output is not None:
        if _is_table(data):
            raise ConfigError("output is for paths; write an AnnData with its own write_h5ad or write_zarr")
        return embed_file(data, output, model, settings).output
    settings.check_in_memory(attaches=True)
    modality = modality_of(data)
    refuse_unused(settings, modality.reads)
    reader = _reader(modality.reads, model, settings)
    with modality.open(data, settings) as source:
        prepared = _prepared(modality, data, source, reader, settings)
        reader = prepared.model
        key = settings.key or f"X_{reader.name}"
        given = data if _is_table(data) else None
        if given is not None:
            protect(given, key, overwrite=settings.overwrite, checkpoint=reader.describe())
        prepared = settled(prepared)
        ends = prepared.ends
        # One array from the start: joining blocks at the end would hold all vectors twice.
        vectors = np.empty((int(ends[-1]), reader.width), np.float32)
        parts = []
        with progress("embedding", len(vectors), show=settings.progress, unit=modality.name) as advance:
            for place, block in enumerate(prepared.blocks(0, len(ends) - 1)):
                arrays = dict(prepared.compute(block))
                vectors[ends[place] : ends[place + 1]] = arrays.pop("vectors")
                parts.append(arrays)
                advance(int(ends[place + 1] - ends[place]))
        result = modality.writer.result(vectors, key, prepared.provenance(), centre=settings.centre)
        if given is None:
            return modality.writer.table(source, result, parts)
    adata = given.copy() if copy else given
    result.attach(adata)
    return adata


def _reader(kind: str, model: Any, settings: EmbedSettings) -> Any:
    """The loaded model, pooling the submodule that was asked for."""
    reader = loaded_for(kind, model)
    return reader if settings.state is None else reader.at(settings.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSummary:
    """What an embedding job did.

    Parameters
    ----------
    output, format, key
        The file, its format (``shard`` for a shard) and the name of the result in it.
    cells, width, empty
        Rows and columns of the vectors; cells without counts.
    seconds
        Wall time.
    provenance
        What stands in ``uns["biolm"][key]``.
    """

    output: Path
    format: str
    key: str
    cells: int
    width: int
    empty: int
    seconds: float
    provenance: dict[str, Any]


def embed_file(
    path: Any,
    output: str | Path,
    model: str | Path | CellModel | SequenceModel,
    settings: EmbedSettings,
) -> EmbedSummary:
    """Embed the rows of a file and write the result to ``output``.

    Parameters
    ----------
    path
        Any file that a kind of data recognises, or what it takes in a file's place; ``-`` for sequences on
        the standard input.
    output
        ``.h5ad`` or ``.zarr`` (for cells a copy of the input with the vectors), ``.parquet`` or ``.npy``,
        for sequences also ``.pt``; a folder for a shard.
    model
        Name, folder or loaded model.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        If input, model or output cannot be used; nothing half-written is left.
    """
    began, target = time.monotonic(), Path(output)
    modality = modality_of(path)
    refuse_unused(settings, modality.reads)
    writer = modality.writer
    form = "shard" if settings.shard else format_of(target, settings.format, writer.formats)
    check_outputs(target, endings_of(target, form, writer.formats), settings)
    reader = _reader(modality.reads, model, settings)
    with modality.open(path, settings) as source:
        prepared = _prepared(modality, path, source, reader, settings)
        reader = prepared.model
        key = settings.key or f"X_{reader.name}"
        # A shard is merged into a store, whose names must be free as if it were written now.
        writer.check(source, "h5ad" if settings.shard else form, key, overwrite=settings.overwrite)
        prepared = settled(prepared, resume=target if settings.resume else None)
        ends, provenance = prepared.ends, prepared.provenance()
        empty = 0

        def finish(parts: Parts, temporary: Path) -> None:
            nonlocal provenance, empty
            result = writer.result(parts.joined("vectors"), key, provenance, centre=settings.centre)
            provenance, empty = result.provenance, int(result.empty.sum())
            writer.write(temporary, form, result, parts, source)

        shape = (int(ends[-1]), reader.width)
        job = Job(
            kind=KIND,
            same={
                "modality": modality.name,
                "model": prepared.facts,
                **prepared.same(),
                "key": key,
                "centre": settings.centre,
                "provenance": provenance,
            },
            facts={
                "input": made_from(source.path),
                "layer": settings.layer,
                "transpose": settings.transpose,
                "overwrite": settings.overwrite,
            },
            inputs=watched(source),
            ends=ends,
            blocks=prepared.blocks,
            compute=prepared.compute,
            finish=finish,
            # The parts and the result, in float32 each.
            size=8 * shape[0] * shape[1] + writer.size(source, form),
            label="embedding",
            unit=modality.name,
        )
        rows = job.run(target, settings)
    return EmbedSummary(
        output=target,
        format=form,
        key=key,
        cells=rows,
        width=shape[1],
        empty=empty,
        seconds=time.monotonic() - began,
        provenance=provenance,
    )


def merge_vectors(merging: Merging) -> int:
    """Write the vectors of all shards as the whole job would; how many rows there are.

    Raises
    ------
    InputError
        If the input changed, or rows are missing.
    """
    job, metadata, parts, target = merging.job, merging.facts, merging.parts, merging.target
    modality = available()[job["modality"]]
    writer = modality.writer
    form = format_of(target, merging.form, writer.formats)
    check_outputs(target, endings_of(target, form, writer.formats), EmbedSettings(overwrite=True))
    vectors = parts.joined("vectors")
    result = writer.result(vectors, job["key"], job["provenance"], centre=job["centre"])
    if not writer.needs_source:
        # Data that need not be opened again cannot be counted, so their number was recorded.
        if len(vectors) != job["provenance"]["rows"]:
            raise InputError("the shards do not hold all rows; make the shards again")
        merging.write(lambda temporary: writer.write(temporary, form, result, parts, None))
        return len(vectors)
    reading = replace(EmbedSettings(), layer=metadata["layer"], transpose=metadata["transpose"])
    with modality.open(merging.place, reading) as source:
        check_same_input(writer.identity(source), job["input"], source.path)
        writer.check(source, form, job["key"], overwrite=metadata["overwrite"])
        merging.write(lambda temporary: writer.write(temporary, form, result, parts, source))
    return len(vectors)


def _prepared(modality: Modality, data: Any, source: Any, model: Any, settings: EmbedSettings) -> Embedding:
    """Source and model together; a refusal can look at other matrices of the same data."""
    return modality.embedding(
        source, model, settings, lambda name: modality.open(data, replace(settings, layer=name))
    )


def _is_table(data: Any) -> TypeGuard[AnnData]:
    """Whether vectors are written into the data themselves."""
    return hasattr(data, "obsm")


def _hashes(checkpoint: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of what a model was read from, by name; not those of what it made of the data set."""
    return {name: str(checkpoint[name]) for name in ("checkpoint_sha256", "sha256") if name in checkpoint}


def protect(
    adata: AnnData, key: str, *, overwrite: bool, checkpoint: Mapping[str, Any] | None = None
) -> None:
    """Keep a matrix that biolm did not write, and vectors of another checkpoint of the same name.

    Parameters
    ----------
    adata
        The user's table.
    key
        Name in ``obsm``.
    overwrite
        Whether it may be replaced all the same.
    checkpoint
        What the model that makes the new one says of itself.

    Raises
    ------
    OutputError
        If there is one.
    """
    record = adata.uns.get("biolm", {}).get(key, {}) if key in adata.obsm else {}
    earlier, now = (_hashes(each) for each in (record.get("checkpoint", {}), checkpoint or {}))
    if not overwrite and any(earlier[name] != now[name] for name in earlier.keys() & now.keys()):
        raise OutputError(
            f"obsm['{key}'] holds vectors of another checkpoint of {record['model']}; choose another key "
            "(`key`) or allow it to be overwritten (`overwrite=True`)"
        )
    if key in adata.obsm and key not in adata.uns.get("biolm", {}) and not overwrite:
        raise OutputError(
            f"obsm['{key}'] exists already and was not written by biolm; choose another key or set overwrite"
        )
