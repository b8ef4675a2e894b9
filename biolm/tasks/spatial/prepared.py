"""A prepared section in memory, its spots in an order that does not depend on the file.

Dimensions: ``n`` spots · ``g`` genes · ``i`` tokens of a patch · ``f`` numbers of a token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.counts import check_counts
from biolm.errors import InputError
from biolm.io.anndata.read import read_anndata
from biolm.io.cells import open_cells

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Prepared", "load_prepared", "read_obsm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A section as models of sections read it.

    Spots are sorted by name and genes by name, so that no result depends on how a file was ordered;
    ``order`` brings results back into the file's order.

    Parameters
    ----------
    name, patient
        Of the section.
    names
        ``(n,)`` spots, ascending.
    genes
        ``(g,)`` genes, ascending.
    counts
        ``(n, g)`` sparse.
    xy
        ``(n, 2)``.
    image
        ``(n, i, f)`` features, NaN without a patch; None for a section without an image.
    record
        ``uns["biolm"]["spatial"]``.
    order
        ``(n,)`` row in the file of each spot.
    columns
        Columns of obs, ``(n,)`` each.
    """

    name: str
    patient: str
    names: NDArray[np.str_]
    genes: NDArray[np.str_]
    counts: Any
    xy: NDArray[np.float64]
    image: NDArray[np.float32] | None
    record: dict[str, Any]
    order: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.int64], name: str | None = None) -> Prepared:
        """Some spots as a section of their own, in ascending order; it has no neighbours among the others.

        Parameters
        ----------
        rows
            ``(m,)`` of the spots.
        name
            Of the new section.
        """
        rows = np.sort(rows)
        return replace(
            self,
            name=name or self.name,
            names=self.names[rows],
            counts=self.counts[rows],
            xy=self.xy[rows],
            image=None if self.image is None else self.image[rows],
            # Ranks: the part's own file order, without gaps.
            order=np.argsort(np.argsort(self.order[rows])),
            columns={key: column[rows] for key, column in self.columns.items()},
        )

    def in_file_order(self, values: NDArray[Any]) -> NDArray[Any]:
        """``(n, …)`` results as the file has its spots."""
        out = np.empty_like(values)
        out[self.order] = values
        return out


def load_prepared(source: str | Path | AnnData | Prepared) -> Prepared:
    """Read what :func:`biolm.tasks.spatial.prepare.prepare` wrote, or an AnnData of that form.

    Parameters
    ----------
    source
        The file, the AnnData, or a section that is loaded already.

    Raises
    ------
    InputError
        If it has no places, or its values are no counts.
    """
    if isinstance(source, Prepared):
        return source
    adata = _read(source)
    with open_cells(adata) as cells:
        check_counts(cells, reopen=None)
    if "spatial" not in adata.obsm:
        raise InputError(f"{_name(source)} has no obsm['spatial']; make it with biolm spatial prepare")
    record = dict(dict(adata.uns.get("biolm", {})).get("spatial", {}))
    names = adata.obs_names.to_numpy().astype(str)
    if len(set(names.tolist())) < len(names):
        raise InputError(f"{_name(source)}: names of spots repeat; give every spot a name of its own")
    # By name: training draws batches by place, and the same section stored in another order must train alike.
    order = np.argsort(names, kind="stable")
    genes, counted = _gene_table(adata)
    places = np.asarray(adata.obsm["spatial"], np.float64)[order, :2]
    if not np.isfinite(places).all():
        raise InputError(f"{_name(source)}: coordinates are NaN or infinite; remove those spots")
    features = None
    if "X_image" in adata.obsm:
        tokens = int(record.get("image_tokens", 1))
        features = np.asarray(adata.obsm["X_image"], np.float32)[order].reshape(len(order), tokens, -1)
    name = str(record.get("section", _name(source)))
    return Prepared(
        name=name,
        # Sections of unknown patients count as patients of their own; `split` reports how it was split.
        patient=str(record.get("patient") or name),
        names=names[order],
        genes=genes,
        counts=counted[order],
        xy=places,
        image=features,
        record=record,
        order=order,
        columns={str(column): adata.obs[column].to_numpy()[order] for column in adata.obs},
    )


def read_obsm(source: str | Path | AnnData, key: str) -> NDArray[np.float64]:
    """A matrix of ``obsm``, in the order of the file.

    Parameters
    ----------
    source
        The section.
    key
        Of the matrix.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    adata = _read(source)
    if key not in adata.obsm:
        raise InputError(f"{_name(source)} has no obsm[{key!r}] but {', '.join(adata.obsm) or 'nothing'}")
    return np.asarray(adata.obsm[key], np.float64)


def _read(source: str | Path | AnnData) -> AnnData:
    if not isinstance(source, (str, Path)):
        return source
    return read_anndata(source)


def _gene_table(adata: AnnData) -> tuple[NDArray[np.str_], Any]:
    """Genes sorted by name and their counts; columns that share a name are summed."""
    from scipy.sparse import csr_matrix

    names, target = np.unique(adata.var_names.to_numpy().astype(str), return_inverse=True)
    shape = (len(target), len(names))
    selector = csr_matrix((np.ones(len(target)), (np.arange(len(target)), target)), shape=shape)
    summed = (csr_matrix(adata.X, dtype=np.float64) @ selector).tocsr()
    # Sums over a row must not depend on the order of its columns in the file.
    summed.sort_indices()
    return names, summed


def _name(source: str | Path | AnnData) -> str:
    return Path(source).stem if isinstance(source, (str, Path)) else "the AnnData"
