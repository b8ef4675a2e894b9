"""Tools in the manner of scanpy: in place, keyword-only, ``copy=False``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from biolm.tasks.embed_settings import EmbedKeywords

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.base import CellModel

__all__ = ["embed"]


def embed(
    adata: AnnData,
    *,
    model: str | Path | CellModel = "genetext",
    key_added: str | None = None,
    layer: str | None = None,
    copy: bool = False,
    **options: Unpack[EmbedKeywords],
) -> AnnData | None:
    """Turn every cell into a vector.

    Parameters
    ----------
    adata
        Cells.
    model
        Built-in name, folder of a checkpoint, hub id, or a loaded model.
    key_added
        Name of the result; ``X_<model>`` by default.
    layer
        Layer to read, or ``raw``; ``X`` by default.
    copy
        Return a copy instead of changing ``adata``.
    options
        As for :func:`biolm.embed`.

    Returns
    -------
    None, or the copy. Sets these fields:

    ``adata.obsm[key_added]``
        float32 ``(n_obs, d)`` vectors.
    ``adata.uns["biolm"][key_added]``
        Model, checkpoint, parameters and gene match.
    ``adata.obs[key_added + "_empty"]``
        Cells without counts, where there are any.

    Examples
    --------
    >>> import scanpy as sc
    >>> adata = sc.read_h5ad("data/cells/pbmc68k_reduced_counts_700.h5ad")
    >>> embed(adata, model="genetext")
    >>> sc.pp.neighbors(adata, use_rep="X_genetext")
    """
    from biolm.tasks.embed import embed as run

    result = run(adata, model=model, key=key_added, layer=layer, copy=copy, **options)
    return result if copy else None
