"""Write vectors of cells: into a copy of the input, into a new AnnData store, or alone."""

from __future__ import annotations

from pathlib import Path

from biolm.errors import ConfigError
from biolm.io.anndata.vectors import Addition, CellVectors, check_key
from biolm.io.cells.block import CellSource
from biolm.io.table import side_car

__all__ = ["FORMATS", "STORES", "check_store", "endings_of", "format_of", "write_result", "write_store"]

FORMATS = ("h5ad", "zarr", "parquet", "npy")
STORES = ("h5ad", "zarr")


def format_of(target: Path, chosen: str | None = None, known: tuple[str, ...] = FORMATS) -> str:
    """The format asked for, or the one that the suffix of the output names, out of those that are known.

    Parameters
    ----------
    target
        The output.
    chosen
        What the user asked for.
    known
        Formats that can be written.

    Raises
    ------
    ConfigError
        If neither names a known one.

    Examples
    --------
    >>> format_of(Path("cells.zarr"))
    'zarr'
    """
    name = chosen or target.suffix.removeprefix(".").lower()
    if name not in known:
        asked = f"format '{chosen}'" if chosen else f"the ending of {target.name}"
        raise ConfigError(f"{asked} is not one of {', '.join(known)}; choose one with `format`")
    return name


def endings_of(target: Path, form: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Endings of the files that a job writes; for a shard, those that its folder must not have.

    Parameters
    ----------
    target
        The output.
    form
        Its format, or ``shard``.
    known
        Formats that can be written.
    """
    if form == "shard":
        return tuple(f".{name}" for name in known)
    return (target.suffix, f"{target.suffix}.json") if form == "npy" else (target.suffix,)


def write_result(source: CellSource, target: Path, form: str, result: Addition) -> None:
    """Write a finished result; ``target`` must not exist and gets all or, on an error, a part.

    Parameters
    ----------
    source
        The cells that were embedded; an h5ad or zarr input is copied whole.
    target
        Path to write; for ``npy`` the JSON file lies beside it.
    form
        One of :data:`FORMATS`.
    result
        Vectors; into stores any addition.
    """
    if form in STORES:
        write_store(source, target, form, result)
        return
    assert isinstance(result, CellVectors)
    if form == "parquet":
        from biolm.io.anndata.table import write_parquet

        write_parquet(target, source.cell_names(), result)
    else:
        from biolm.io.anndata.table import write_npy

        write_npy(target, side_car(target), source.cell_names(), result)


def check_store(source: CellSource, form: str, key: str, *, overwrite: bool) -> None:
    """Check, before any work, that the vectors can enter a copy of the input.

    Parameters
    ----------
    source
        The input.
    form, key
        Format and name of the result.
    overwrite
        Whether a result of that name may be replaced.

    Raises
    ------
    InputError, OutputError
        As :func:`biolm.io.anndata.vectors.check_key`.
    """
    if form in STORES and source.kind in STORES and source.path is not None:
        from biolm.io.anndata.convert import reading

        with reading(source.path) as root:
            check_key(root, key, overwrite=overwrite)


def write_store(source: CellSource, target: Path, form: str, result: Addition) -> None:
    """Write a copy of the input with a result added, as ``h5ad`` or ``zarr``; ``target`` must not exist.

    Parameters
    ----------
    source
        The input.
    target
        Path that does not exist.
    form
        ``h5ad`` or ``zarr``.
    result
        What is added.
    """
    from biolm.io.anndata import build as write_build
    from biolm.io.anndata import convert as write_convert
    from biolm.io.anndata import copy as write_copy

    if source.path is None or source.kind not in STORES:
        write_build.build(source, target, form, result)
    elif (source.kind, form) == ("h5ad", "h5ad"):
        write_copy.copy_h5ad(source.path, target, result)
    # A zip is unpacked into a folder, which a copy could not do.
    elif (source.kind, form) == ("zarr", "zarr") and source.path.is_dir():
        write_copy.copy_zarr(source.path, target, result)
    else:
        write_convert.convert(source.path, target, form, result)
