"""Plots in the manner of scanpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biolm.errors import InputError
from biolm.models.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["embedding"]


def embedding(
    adata: AnnData, *, key: str = f"X_{DEFAULT_MODEL}", neighbours: int = 15, **options: Any
) -> Any:
    """UMAP of an embedding, drawn by scanpy.

    Parameters
    ----------
    adata
        Cells with ``obsm[key]``. The map is kept in ``obsm[key + "_umap"]`` and used again.
    key
        Name of the embedding.
    neighbours
        Neighbours of a cell in the graph that UMAP lays out.
    options
        For :func:`scanpy.pl.embedding`, such as ``color`` and ``show``.

    Raises
    ------
    InputError
        If there is no such embedding.

    Examples
    --------
    ``biolm.pl.embedding(adata, color="cell_type")`` after ``biolm.tl.embed(adata)``.
    """
    if key not in adata.obsm:
        keys = ", ".join(adata.obsm) or "nothing"
        raise InputError(f"obsm holds no '{key}' but {keys}; run biolm.tl.embed first")
    import scanpy as sc

    # A name of its own: a UMAP of other vectors may already be in obsm["X_umap"].
    basis = f"{key}_umap"
    if basis not in adata.obsm:
        sc.pp.neighbors(adata, n_neighbors=neighbours, use_rep=key, key_added=basis)
        sc.tl.umap(adata, neighbors_key=basis, key_added=basis)
    return sc.pl.embedding(adata, basis=basis, **options)
