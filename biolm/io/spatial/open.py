"""Open a section of any layout: find out what it is, hand it to the reader of that layout.

A layout is one module in :mod:`biolm.io.spatial.layouts` that offers ``recognises(path)`` and
``open_layout(path, options)``; modules there are found by listing the package.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, cast

from biolm.errors import InputError
from biolm.io.damage import naming_damage
from biolm.io.spatial import layouts
from biolm.io.spatial.section import Section
from biolm.options import Option

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Layout", "SectionOptions", "is_section_folder", "open_section"]


@dataclass(frozen=True, kw_only=True)
class SectionOptions:
    """What the user says about a section; a layout refuses what it does not use.

    Parameters
    ----------
    matrix
        ``X``, ``raw`` or a layer, for layouts that hold several.
    bin_um
        Visium HD: side of the bins to read, 2, 8 or 16 µm.
    segmented
        Visium HD of Space Ranger 4: read the segmented cells instead of bins.
    library
        The section to read, where a file holds several.
    library_column
        Column of obs that says which spot is of which section.
    allow_unmatched
        Read on where fewer than 90 % of the barcodes have a place.
    """

    matrix: Annotated[str, Option(help="Matrix to read: X, raw or a layer.", flags=("--layer",))] = "X"
    bin_um: Annotated[int | None, Option(help="Visium HD: 2, 8 or 16 µm bins.", shown="8")] = None
    segmented: Annotated[bool, Option(help="Visium HD: read segmented cells.")] = False
    library: Annotated[
        str | None, Option(help="Section to read of a file with several.", shown="the only one")
    ] = None
    library_column: Annotated[
        str | None, Option(help="Column that says which spot is of which.", shown="found")
    ] = None
    allow_unmatched: Annotated[
        bool, Option(help="Go on where fewer than 90 % of the barcodes have a place.")
    ] = False


class Layout(Protocol):
    """What a module in :mod:`biolm.io.spatial.layouts` offers."""

    USES: tuple[str, ...]
    """Fields of :class:`SectionOptions` that it uses."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether this existing file or folder is of the layout, by its content."""
        ...

    @staticmethod
    def open_layout(path: Path, options: SectionOptions) -> Section:
        """Open it.

        Parameters
        ----------
        path
            Of the file or folder.
        options
            What the user says about it.
        """
        ...


def open_section(source: str | Path | AnnData, options: SectionOptions | None = None) -> Section:
    """Open a section of tissue.

    Parameters
    ----------
    source
        A Space Ranger ``outs`` folder (1 to 4, Visium HD included); a Xenium, CosMx or MERSCOPE folder; an
        h5ad or zarr store with ``obsm["spatial"]``; a folder with a count table and a spot table (ST); a
        SpatialData zarr folder; or an AnnData in memory.
    options
        What the user says about it.

    Raises
    ------
    InputError
        If the path is missing, of no known layout, or its parts do not belong together; and for an option
        that this layout does not use.
    """
    options = options or SectionOptions()
    if not isinstance(source, (str, Path)):
        from biolm.io.spatial.layouts import anndata_store

        _refuse_unused("an AnnData", anndata_store.USES, options)
        return anndata_store.open_anndata(source, options)
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    with naming_damage(path, "the section"):
        for layout in _layouts():
            if layout.recognises(path):
                _refuse_unused(str(path), layout.USES, options)
                return layout.open_layout(path, options)
    raise InputError(
        f"{path} is no section that biolm knows: give a Space Ranger outs folder, a Xenium, CosMx or "
        "MERSCOPE "
        "folder, a folder with a count and a spot table, a SpatialData zarr, or an h5ad with obsm['spatial']"
    )


def is_section_folder(path: Path) -> bool:
    """Whether it is a folder of a layout of sections; a store of AnnData is a table of cells."""
    if not path.is_dir():
        return False
    from biolm.io.spatial.layouts import anndata_store

    return not anndata_store.recognises(path) and any(layout.recognises(path) for layout in _layouts())


def _layouts() -> list[Layout]:
    # In the order of their names, so that a folder is read alike on every machine.
    names = sorted(module.name for module in pkgutil.iter_modules(layouts.__path__))
    return [cast(Layout, importlib.import_module(f"{layouts.__name__}.{name}")) for name in names]


def _refuse_unused(name: str, used: tuple[str, ...], options: SectionOptions) -> None:
    plain = SectionOptions()
    for field in fields(SectionOptions):
        if getattr(options, field.name) != getattr(plain, field.name) and field.name not in used:
            raise InputError(f"{name}: the option {field.name} is not used by this layout; leave it out")
