"""Embed cells: an AnnData in memory, or a file block by block."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from biolm.errors import ConfigError, OutputError
from biolm.io.anndata.vectors import CellVectors
from biolm.io.cells import CellSource, open_cells
from biolm.jobs.bind import loaded
from biolm.jobs.embed_settings import EmbedSettings, SequenceKeywords
from biolm.jobs.job import prepare
from biolm.models.model import CellModel
from biolm.tasks.embed_sequences_settings import cell_options, is_sequence_file, sequence_settings

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.sequence_model import SequenceModel

__all__ = ["embed", "whole_table"]


@overload
def embed(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel | SequenceModel = ...,
    output: None = ...,
    key: str | None = ...,
    layer: str | None = ...,
    copy: bool = ...,
    **options: Unpack[SequenceKeywords],
) -> AnnData: ...


@overload
def embed(
    data: str | Path,
    *,
    model: str | Path | CellModel | SequenceModel = ...,
    output: str | Path,
    key: str | None = ...,
    layer: str | None = ...,
    copy: bool = ...,
    **options: Unpack[SequenceKeywords],
) -> Path: ...


def embed(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel | SequenceModel = "genetext",
    output: str | Path | None = None,
    key: str | None = None,
    layer: str | None = None,
    copy: bool = False,
    **options: Unpack[SequenceKeywords],
) -> AnnData | Path:
    """Turn every cell, or every sequence, into a vector.

    Parameters
    ----------
    data
        An AnnData, or the path of an h5ad, zarr, loom, 10x or csv table of cells; or of a FASTA, FASTQ,
        GenBank or EMBL file of sequences.
    model
        Built-in name, folder of a checkpoint, hub id, or a loaded model.
    output
        For a path: stream to this ``.h5ad``, ``.zarr``, ``.parquet`` or ``.npy`` (sequences also ``.pt``)
        instead of returning an AnnData; memory is then bounded by the block.
    key
        Name of the result; ``X_<model>`` by default.
    layer
        Matrix to read: ``X``, the name of a layer, or ``raw``.
    copy
        For an AnnData: leave it as it is and return a copy.
    options
        See :class:`biolm.jobs.embed_settings.EmbedSettings`, and for sequences
        :class:`biolm.tasks.embed_sequences.SequenceSettings`.

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
    >>> adata.obsm["X_genetext"].dtype
    dtype('float32')
    """
    path = Path(data) if isinstance(data, str | Path) else None
    if path is not None and is_sequence_file(path):
        from biolm.tasks.embed_sequences_file import embed_sequences, embed_sequences_file

        chosen = sequence_settings({"key": key, "layer": layer, **options})
        if output is None:
            return embed_sequences(path, model, chosen)
        return embed_sequences_file(path, output, model, chosen).output
    settings = EmbedSettings(key=key, layer=layer, **cell_options(options))
    if output is not None:
        if path is None:
            raise ConfigError("output is for paths; write an AnnData with its own write_h5ad or write_zarr")
        from biolm.jobs.run import embed_file

        return embed_file(path, output, model, settings).output
    if settings.resume or settings.shard:
        word = "resume" if settings.resume else "shard"
        raise ConfigError(f"{word} is for jobs that write a file; give an output")
    with open_cells(data, matrix=settings.matrix) as source:
        job = prepare(source, loaded(model), settings, lambda name: open_cells(data, matrix=name))
        if path is None:
            adata: Any = data
            if copy:
                adata = adata.copy()
        else:
            adata = whole_table(source)
        _protect(adata, job.key, overwrite=settings.overwrite)
        vectors = np.empty((source.n_cells, job.model.width), np.float32)
        start = 0
        for part in job.vectors():
            vectors[start : start + len(part)] = part
            start += len(part)
        _attach(adata, job.result(vectors))
    return adata


def _protect(adata: AnnData, key: str, *, overwrite: bool) -> None:
    """Keep an embedding that biolm did not write."""
    if key in adata.obsm and key not in adata.uns.get("biolm", {}) and not overwrite:
        raise OutputError(
            f"obsm['{key}'] exists already and was not written by biolm; choose another key or set overwrite"
        )


def _attach(adata: AnnData, result: CellVectors) -> None:
    adata.obsm[result.key] = result.whole()
    adata.uns["biolm"] = {**adata.uns.get("biolm", {}), result.key: result.provenance}
    if result.empty.any():
        adata.obs[f"{result.key}_empty"] = result.empty


def whole_table(source: CellSource) -> AnnData:
    """The table of cells in memory, with everything that an h5ad or zarr holds."""
    import anndata

    if source.kind == "h5ad":
        return anndata.read_h5ad(source.path)
    if source.kind == "zarr":
        return anndata.read_zarr(source.path)
    import pandas as pd
    import scipy.sparse as sp

    blocks = [
        sp.csr_matrix((block.data, block.indices, block.indptr), (len(block), block.n_genes))
        for block in source.blocks()
    ]
    cells = {name: source.obs_column(name) for name in source.obs_columns()}
    genes = source.gene_columns()
    names = genes.pop("index")
    return anndata.AnnData(
        sp.vstack(blocks, format="csr"),
        obs=pd.DataFrame(cells, index=source.cell_names()),
        var=pd.DataFrame(genes, index=names),
    )
