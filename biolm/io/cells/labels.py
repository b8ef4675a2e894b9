"""One spelling for each label, whatever number type a file or its missing values made of it.

Dimensions: ``n`` cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

__all__ = ["label_column", "label_text", "spelled_number"]

LARGEST_WHOLE = 2.0**53  # above this, floats skip whole numbers


def label_text(values: NDArray[Any]) -> NDArray[np.str_]:
    """A column of the cell table as labels ``(n,)``; '' where one is missing.

    Tools store the same clusters as integers, as floats where one cell has none, as text, or as categories of
    any of these. Whole numbers read '3' in all of them, and blanks around a label are no part of it.

    Examples
    --------
    >>> label_text(np.array([0, 12])).tolist(), label_text(np.array([0.0, 12.0, np.nan])).tolist()
    (['0', '12'], ['0', '12', ''])
    >>> label_text(np.array(["B ", " "])).tolist()
    ['B', '']
    """
    column = np.asarray(values)
    if column.dtype.kind == "f":
        # Spelled once a value: labels repeat, cells are millions.
        known, place = np.unique(column, return_inverse=True)
        texts: NDArray[np.str_] = np.array([spelled_number(value) for value in known], dtype=np.str_)
        return texts[place]
    if column.dtype.kind == "O":
        column = np.array(
            [
                ""
                if value is None or value != value
                else spelled_number(value)
                if isinstance(value, float | np.floating)
                else str(value)
                for value in column.tolist()
            ],
            dtype=np.str_,
        )
    return np.asarray(np.char.strip(column.astype(np.str_)))


def label_column(source: Any, name: str, where: str = "the file") -> NDArray[np.str_]:
    """One column of the cells of a source as labels ``(n,)``; '' where one is missing.

    Parameters
    ----------
    source
        Cells; see :class:`biolm.io.cells.CellSource`.
    name
        Of the column.
    where
        What messages call the source.

    Raises
    ------
    InputError
        If it has no such column.
    """
    offered = source.obs_columns()
    if name not in offered:
        names = ", ".join(offered) or "no column"
        raise InputError(f"{where} has no column '{name}' but {names}; choose one of them")
    values = label_text(source.obs_column(name))
    # A missing category of pandas reads as the text nan.
    return np.where(values == "nan", "", values)


def spelled_number(value: Any) -> str:
    """A float as text: whole numbers without a decimal point, '' for one that is missing.

    Examples
    --------
    >>> spelled_number(3.0), spelled_number(0.25), spelled_number(float("nan"))
    ('3', '0.25', '')
    """
    if value != value:
        return ""
    whole = abs(value) < LARGEST_WHOLE and value == int(value)
    return str(int(value)) if whole else str(value)
