"""Metadata of each cell that a system reads beside its counts: assay, species, modality.

Dimensions: ``n`` cells of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.cells import CellSource

__all__ = ["ContextColumn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextColumn:
    """One fact of a cell, from a column of the cell table or the same for all cells.

    Parameters
    ----------
    system
        Names the system in messages.
    name
        Of the column in ``obs``, and of the option.
    tokens
        Token of each value that the system knows; case does not matter.
    given
        Value of all cells; None to read the column.

    Raises
    ------
    ConfigError
        If the given value is not known; the message lists those that are.

    Examples
    --------
    >>> column = ContextColumn(system="x", name="assay", tokens={"merfish": 7, "cosmx": 8}, given="MERFISH")
    >>> column.token("merfish")
    7
    """

    system: str
    name: str
    tokens: Mapping[str, int]
    given: str | None = None

    def __post_init__(self) -> None:
        if self.given is not None and self.token(self.given) is None:
            raise ConfigError(f"{self.name} must be one of {self.allowed}, not {self.given!r}")

    @property
    def allowed(self) -> str:
        """The values, for messages."""
        return ", ".join(self.tokens)

    def token(self, value: object) -> int | None:
        """Token of a name, or of a token number itself; None if it is not known."""
        text = str(value).strip().lower()
        known = {name.lower(): token for name, token in self.tokens.items()}
        numbers = {form: token for token in known.values() for form in (str(token), f"{token}.0")}
        return (numbers | known).get(text)

    def read(self, source: CellSource) -> NDArray[np.int32]:
        """Tokens ``(n,)`` of the cells of a file.

        Raises
        ------
        InputError
            If there is no such column and no value for all cells, or a cell has an unknown value.
        """
        if self.given is not None:
            return np.full(source.n_cells, self.token(self.given), np.int32)
        if self.name not in source.obs_columns():
            raise InputError(
                f"{self.system} reads the {self.name} of each cell: add it to obs as column '{self.name}', "
                f"or say it for all cells (-m 'FOLDER?{self.name}=VALUE'), one of {self.allowed}"
            )
        values, places = np.unique(source.obs_column(self.name).astype(str), return_inverse=True)
        tokens = [self.token(value) for value in values]
        if None in tokens:
            wrong = str(values[tokens.index(None)])
            raise InputError(
                f"obs['{self.name}'] holds {wrong!r}, which {self.system} does not know; use one of "
                f"{self.allowed}"
            )
        return np.array(tokens, np.int32)[places.ravel()]
