"""Preprocessing in the manner of scanpy: what a model will find in the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.models.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.model import CellModel

__all__ = ["match_genes"]


def match_genes(
    adata: AnnData,
    *,
    model: str | Path | CellModel = DEFAULT_MODEL,
    layer: str | None = None,
    gene_column: str | None = None,
    key_added: str | None = None,
) -> dict[str, Any]:
    """Find the genes of the data in a model's vocabulary, without refusing a poor match.

    Parameters
    ----------
    adata
        Cells.
    model
        Built-in name, folder of a checkpoint, hub id, or a loaded model.
    layer
        Layer to be read, or ``raw``, whose genes are looked up; ``X`` by default.
    gene_column
        ``index`` or the ``var`` column with gene names; found automatically by default.
    key_added
        Column of ``adata.var`` to set; ``<model>_gene`` by default. Not set for ``raw``, whose genes
        are others.

    Returns
    -------
    The match report. Sets ``adata.var[key_added]``: the model's name of each gene, '' where missing.

    Examples
    --------
    >>> import anndata
    >>> adata = anndata.read_h5ad("data/cells/pbmc_cite_10k.h5ad")
    >>> report = match_genes(adata)
    >>> report["share"] > 0.7
    True
    """
    import numpy as np

    from biolm.io.cells import open_cells
    from biolm.jobs.bind import loaded

    reader = loaded(model)
    with open_cells(adata, matrix=layer or "X") as source:
        # No minimum: this is where a user looks to see why a match is poor.
        match = reader.vocabulary.match(source.gene_columns(), column=gene_column, minimum=0.0)
    if source.matrix != "raw/X":
        names = np.array([*reader.vocabulary.genes, ""], dtype=object)
        adata.var[key_added or f"{reader.name}_gene"] = names[match.target]
    return match.report.as_dict()
