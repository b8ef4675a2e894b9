"""What a reader of a section hands over: counts, places, images and what was counted on the way.

Dimensions: ``n`` spots, bins or cells of the section · ``g`` genes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.cells.block import CellBlock, CellSource

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Section", "SectionImage"]


@dataclass(frozen=True, slots=True)
class SectionImage:
    """An image that a layout names.

    Parameters
    ----------
    name
        ``hires``, ``lowres``, or what the layout calls it.
    source
        The file, or ``(H, W, 3)`` pixels that an h5ad holds.
    scale, origin
        A place ``xy`` of the section lies at pixel ``(xy - origin) * scale``; the scale is None where the
        layout does not say it.
    fault
        Why the image cannot be used unless the user gives its scale; '' for none.
    """

    name: str
    source: Path | NDArray[Any]
    scale: float | None = None
    origin: tuple[float, float] = (0.0, 0.0)
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of tissue. Use as a context manager.

    Parameters
    ----------
    name, layout
        What the user calls it, and the layout it was read from (``space-ranger``, ``xenium``, ...).
    source
        Open table of counts, of which the section is the rows ``rows``.
    rows
        ``(n,)`` row in ``source`` of each spot.
    names
        ``(n,)`` barcodes or cell ids.
    xy
        ``(n, 2)`` places: x is the column of the image and y its row.
    unit
        ``px`` of the full-resolution image, or ``um``.
    columns
        Columns of the spot table, ``(n,)`` each, such as ``in_tissue`` and ``array_row``.
    images
        Images that the layout names.
    microns_per_pixel, spot_pitch_um, spot_diameter_px
        As far as the layout states them.
    counted
        What the reader matched, dropped and converted, for the report.
    """

    name: str
    layout: str
    source: CellSource
    rows: NDArray[np.int64]
    names: NDArray[np.str_]
    xy: NDArray[np.float64]
    unit: Literal["px", "um"] = "px"
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    images: tuple[SectionImage, ...] = ()
    microns_per_pixel: float | None = None
    spot_pitch_um: float | None = None
    spot_diameter_px: float | None = None
    counted: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.rows):
            raise InputError(f"{self.name} holds no spot that has both counts and a place")
        broken = int((~np.isfinite(self.xy)).any(1).sum())
        if broken:
            raise InputError(
                f"{self.name}: {broken} of {len(self.xy)} spots have coordinates that are NaN or infinite; "
                "remove these spots, or read the table of positions again from its source"
            )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_genes(self) -> int:
        """``g``."""
        return self.source.n_genes

    def genes(self) -> NDArray[np.str_]:
        """``(g,)`` names as the file has them first."""
        return self.source.gene_columns()["index"]

    def blocks(self, rows: int = 8192) -> Iterator[CellBlock]:
        """Counts in blocks of at most ``rows`` spots, in the section's order."""
        for start in range(0, len(self), rows):
            yield self.source.take(self.rows[start : start + rows])

    def counts(self) -> Any:
        """``(n, g)`` counts as one sparse matrix."""
        from scipy.sparse import csr_matrix, vstack

        shape = self.n_genes
        parts = [csr_matrix((b.data, b.indices, b.indptr), shape=(len(b), shape)) for b in self.blocks()]
        return vstack(parts, format="csr")

    def take(self, rows: NDArray[np.int64]) -> Section:
        """The spots ``rows`` of the section, in that order."""
        return replace(
            self,
            rows=self.rows[rows],
            names=self.names[rows],
            xy=self.xy[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
        )

    def to_anndata(self) -> AnnData:
        """The section as scanpy has it: ``obsm["spatial"]`` is ``(x, y)``."""
        import anndata
        import pandas as pd

        genes = self.source.gene_columns()
        # Symbols repeat; scanpy's own way to tell them apart would rename genes.
        names, keys = genes["index"], dict(genes)
        if len(set(names.tolist())) < len(names) and "gene_ids" in genes:
            names, keys = genes["gene_ids"], {"symbol": genes["index"], **genes}
        var = pd.DataFrame({k: v for k, v in keys.items() if k != "index"}, index=pd.Index(names))
        obs = pd.DataFrame(dict(self.columns), index=pd.Index(self.names))
        adata = anndata.AnnData(self.counts(), obs=obs, var=var)
        adata.obsm["spatial"] = self.xy.copy()
        return adata

    def close(self) -> None:
        """Close the table of counts."""
        self.source.close()

    def __enter__(self) -> Section:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
