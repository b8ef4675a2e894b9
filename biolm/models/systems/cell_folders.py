"""What readers of published cell systems share before a weight is read: options, lists of genes, sizes."""

from __future__ import annotations

from pathlib import Path

from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells import open_cells

__all__ = ["check_rows", "choose", "gene_list", "whole_number"]


def choose(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """A value that the user chose of a system's option.

    Parameters
    ----------
    name
        Of the option.
    value
        What the user chose.
    allowed
        Its values.

    Raises
    ------
    ConfigError
        If it is none of those allowed.

    Examples
    --------
    >>> choose("padding", "masked", ("published", "masked"))
    'masked'
    """
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def whole_number(name: str, value: int | str, least: int) -> int:
    """A whole number that the user chose, which an address such as ``FOLDER?genes=100`` gives as text.

    Parameters
    ----------
    name
        Of the option.
    value
        What the user chose.
    least
        The smallest that is allowed.

    Raises
    ------
    ConfigError
        If it is no whole number, or smaller.
    """
    if not str(value).isdigit() or int(value) < least:
        raise ConfigError(f"{name} must be a whole number from {least}, not {value}")
    return int(value)


def gene_list(folder: Path, tables: tuple[str, ...] = (), *, source: str) -> tuple[list[str], Path]:
    """Genes in the order of the model: of ``genes.txt``, one a line, or of a published table of cells.

    Parameters
    ----------
    folder
        Of the checkpoint.
    tables
        Names of h5ad files whose genes are in that order.
    source
        Where to get them, for the message.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    listed = folder / "genes.txt"
    if listed.is_file():
        lines = listed.read_text().splitlines()
        return [line.split("\t")[0].strip() for line in lines if line.strip()], listed
    for name in tables:
        if (folder / name).is_file():
            with open_cells(folder / name) as cells:
                return cells.gene_columns()["index"].tolist(), folder / name
    wanted = " or ".join(("genes.txt (one a line)", *tables))
    raise CheckpointError(
        f"{folder} holds no {wanted} with the genes in the order of the model; take them from {source}"
    )


def check_rows(numbered: Path, top: int, weights: Path, rows: int) -> None:
    """Refuse a list of genes or tokens that numbers more than a table of weights has rows.

    Parameters
    ----------
    numbered, top
        The file with the numbers, and the largest of them.
    weights, rows
        The file of the weights, and rows of its table.

    Raises
    ------
    CheckpointError
        If the two are not of one model.
    """
    if top >= rows:
        raise CheckpointError(
            f"{numbered} goes up to {top} but {weights.name} knows 0 to {rows - 1}; take both from one "
            "release"
        )
