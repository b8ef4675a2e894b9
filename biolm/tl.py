"""Tools in the manner of scanpy: in place, keyword-only, ``copy=False``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.models.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.model import CellModel
    from biolm.tasks.annotate.annotator import Annotator
    from biolm.tasks.search.index import Index

__all__ = ["annotate", "embed", "impute", "perturb", "search"]


def embed(
    adata: AnnData,
    *,
    model: str | Path | CellModel = DEFAULT_MODEL,
    key_added: str | None = None,
    layer: str | None = None,
    copy: bool = False,
    **options: Any,
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
    >>> embed(adata)
    >>> sc.pp.neighbors(adata, use_rep="X_cellfactors")
    """
    from biolm.tasks.embed import embed as run

    result = run(adata, model=model, key=key_added, layer=layer, copy=copy, **options)
    return result if copy else None


def search(
    adata: AnnData,
    *,
    index: str | Path | Index,
    k: int = 10,
    model: str | Path | CellModel | None = None,
    inside: float = 0.99,
    key_added: str = "search",
    layer: str | None = None,
    copy: bool = False,
    **options: Any,
) -> AnnData | None:
    """Find the most similar cells of a reference, and transfer its labels.

    Parameters
    ----------
    adata
        Cells.
    index
        Folder of an index, or an open one: see :func:`biolm.search.build`.
    k, model, inside
        As for :func:`biolm.search.query`.
    key_added
        Begins the names of the results.
    layer
        Layer to read, or ``raw``; ``X`` by default.
    copy
        Return a copy instead of changing ``adata``.
    options
        As for :func:`biolm.embed`.

    Returns
    -------
    None, or the copy. Sets these fields:

    ``adata.obsm[key_added + "_neighbours"]``, ``adata.obsm[key_added + "_distances"]``
        Rows of the index ``(n_obs, k)``, -1 for none, and distances.
    ``adata.obs[key_added + "_distance"]``, ``adata.obs[key_added + "_out_of_reference"]``
        Mean distance, and whether it is larger than in nearly all of the reference.
    ``adata.obs[key_added + "_" + label]``, ``adata.obs[key_added + "_" + label + "_confidence"]``
        Commonest label of the neighbours and the fraction of them that has it, for an index with labels.
    ``adata.uns["biolm"][key_added]``
        Model, index and gene match.

    Examples
    --------
    ``biolm.tl.search(adata, index="reference")`` after ``biolm search build atlas.h5ad -o reference``.
    """
    from biolm.tasks.search.index import load
    from biolm.tasks.search.query import query

    opened = load(index) if isinstance(index, str | Path) else index
    overwrite = options.pop("overwrite", False)
    neighbours = query(adata, opened, k=k, model=model, inside=inside, layer=layer, **options)
    additions = neighbours.additions(key_added, opened.label)
    additions.check_free(dict.fromkeys(adata.obs), adata.uns.get("biolm", {}), overwrite=overwrite)
    target = adata.copy() if copy else adata
    additions.attach(target)
    return target if copy else None


def perturb(
    adata: AnnData,
    *,
    model: str | Path | CellModel = DEFAULT_MODEL,
    delete: Sequence[str] = (),
    overexpress: Sequence[str] = (),
    genes: str | Path | Sequence[str] = (),
    key_added: str = "perturb",
    copy: bool = False,
    **options: Any,
) -> AnnData | None:
    """Delete or over-express genes in cells and measure how far the cells' vectors move.

    Parameters
    ----------
    adata
        Cells; they stay as they are.
    model, delete, overexpress, genes, options
        As for :func:`biolm.perturb`.
    key_added
        Name of the table.
    copy
        Return a copy instead of changing ``adata``.

    Returns
    -------
    None, or the copy. Sets these fields:

    ``adata.uns[key_added]``
        Data frame with a row an edit, largest effect first: see :func:`biolm.perturb`.
    ``adata.uns["biolm"][key_added]``
        Model, settings and gene match.

    Examples
    --------
    ``biolm.tl.perturb(adata, delete=["MS4A1"])``, then ``adata.uns["perturb"]``.
    """
    from biolm.tasks.perturb.run import perturb as run

    result = run(adata, model=model, delete=delete, overexpress=overexpress, genes=genes, **options)
    target = adata.copy() if copy else adata
    table = result.frame()
    # h5ad keeps no other index, and warns.
    table.index = table.index.astype(str)
    target.uns[key_added] = table
    target.uns["biolm"] = {**target.uns.get("biolm", {}), key_added: result.provenance}
    return target if copy else None


def impute(
    adata: AnnData,
    *,
    model: str | Path | CellModel = "cellfactors",
    genes: str | Path | Sequence[str] = "unmeasured",
    key_added: str = "imputed",
    layer: str | None = None,
    copy: bool = False,
    **options: Any,
) -> AnnData | None:
    """Impute genes that a gene panel does not measure, from those that it does.

    Parameters
    ----------
    adata
        Cells; their counts stay as they are.
    model, genes, options
        As for :func:`biolm.impute`, which returns the genes as a table of their own.
    key_added
        Name of the result.
    layer
        Layer to read, or ``raw``; ``X`` by default.
    copy
        Return a copy instead of changing ``adata``.

    Returns
    -------
    None, or the copy. Sets these fields:

    ``adata.obsm[key_added]``
        Data frame ``(n_obs, m)`` of log(1 + counts in 10,000), a column a gene.
    ``adata.uns[key_added]``
        Data frame with a row a gene: its id, whether the file measures it, and how well it is predicted.
    ``adata.obs[key_added + "_uncertainty"]``, ``adata.obs[key_added + "_empty"]``
        Posterior variance of the factors of a cell, and cells without counts, where there are any.
    ``adata.uns["biolm"][key_added]``
        Model, checkpoint, parameters and gene match.

    Raises
    ------
    OutputError
        If a column or matrix of the name exists that biolm did not write, and ``overwrite`` is not set.

    Examples
    --------
    >>> import scanpy as sc
    >>> adata = sc.read_h5ad("data/cells/pbmc68k_reduced_counts_700.h5ad")[:50].copy()
    >>> impute(adata, genes=["TCL1A", "LEF1"])
    >>> adata.obsm["imputed"].shape
    (50, 2)
    """
    from biolm.io.anndata.columns import CellAdditions
    from biolm.tasks.embed import protect
    from biolm.tasks.impute.run import impute as run

    overwrite = options.pop("overwrite", False)
    protect(adata, key_added, overwrite=overwrite)
    result = run(adata, model=model, genes=genes, layer=layer, **options)
    # The names that biolm.impute gives, under the key that was asked for.
    columns = {
        name.replace("imputed", key_added, 1): values.to_numpy()
        for name, values in result.obs.items()
        if name in ("imputed_empty", "imputed_uncertainty")
    }
    table = {key_added: result.to_df()}
    added = CellAdditions(
        columns=columns, matrices=table, records={key_added: result.uns["biolm"]["imputed"]}
    )
    added.check_free(dict.fromkeys(adata.obs), adata.uns.get("biolm", {}), overwrite=overwrite)
    target = adata.copy() if copy else adata
    added.attach(target)
    target.uns[key_added] = result.var
    return target if copy else None


def annotate(
    adata: AnnData,
    *,
    annotator: str | Path | Annotator,
    key_added: str | None = None,
    copy: bool = False,
    **options: Any,
) -> AnnData | None:
    """Name every cell by an annotator.

    Parameters
    ----------
    adata
        Cells.
    annotator
        Folder of ``biolm annotate fit``, or what :func:`biolm.annotate.fit` returned.
    key_added
        Name of the result; ``biolm_<label>`` by default.
    copy
        Return a copy instead of changing ``adata``.
    options
        As for :func:`biolm.annotate.predict`, ``layer`` among them.

    Returns
    -------
    None, or the copy. Sets these fields:

    ``adata.obs[key_added]``
        Categorical names, ``unknown`` for cells that were rejected.
    ``adata.obs[key_added + "_confidence"]``
        Calibrated probability of the likeliest class.
    ``adata.obsm[key_added + "_probabilities"]``
        float32 ``(n_obs, c)``.
    ``adata.uns["biolm"][key_added]``
        Classes, model and held-out scores.

    Examples
    --------
    ``biolm.tl.annotate(adata, annotator="blood")`` after ``biolm annotate fit blood.h5ad -o blood ...``.
    """
    from biolm.tasks.annotate.predict import predict

    result = predict(adata, annotator, key=key_added, copy=copy, **options)
    return result if copy else None
