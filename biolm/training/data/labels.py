"""Labels of examples and tokens: columns of the cell files, tables of genes, or arrays from Python.

Dimensions: ``n`` examples of the whole data set · ``t`` tokens of a batch · ``u`` tokens of all examples ·
``v`` vocabulary · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.cells.frame import as_plain
from biolm.io.cells.labels import label_text

if TYPE_CHECKING:
    import torch

    from biolm.batch import Batch
    from biolm.objectives.base import LabelKind

__all__ = ["IGNORED", "LabelColumn", "Labels", "encode_classes", "read_numbers"]

IGNORED = -100
"""Class of what has no label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelColumn:
    """One label column.

    Parameters
    ----------
    values
        Classes (int64, -100 for missing) or numbers (float32, NaN for missing): ``(n,)`` by example, ``(v,)``
        by token id, or ``(u,)`` by token of all examples end to end; vectors ``(n, k)`` by example.
    classes
        Names ``(c,)`` of the classes; empty for numbers.
    level
        What ``values`` are of: ``example``, ``vocabulary`` or ``token``.
    offsets
        ``(n + 1,)`` where each example's tokens begin in ``values``, for the level ``token``.
    """

    values: NDArray[Any]
    classes: tuple[str, ...] = ()
    level: Literal["example", "vocabulary", "token"] = "example"
    offsets: NDArray[np.int64] | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether each value is there."""
        # Numbers say with NaN that they are missing, which classes cannot.
        if self.values.dtype.kind == "i":
            return np.asarray(self.values != IGNORED)
        return np.asarray(~np.isnan(self.values.reshape(len(self.values), -1)).any(1))

    def of(self, rows: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[Any]:
        """Labels of the examples ``rows``, or of their tokens ``ids (t,)``.

        Parameters
        ----------
        rows
            ``(b,)`` examples.
        ids
            ``(t,)`` their tokens, where tokens are labelled.
        """
        if self.level == "vocabulary":
            return self.values[ids]
        if self.offsets is None:
            return self.values[rows]
        spans = [self.values[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        values = np.concatenate(spans) if spans else self.values[:0]
        if len(values) != len(ids):
            raise InputError(
                f"tokens are labelled one by one, but {len(values)} labels were given for {len(ids)} tokens "
                "of the same examples; label what the tokeniser made"
            )
        return values

    def of_examples(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Labels that the examples ``rows`` hold, where that is known without their tokens."""
        if self.level == "vocabulary":
            return self.values
        return self.values[rows] if self.offsets is None else self.of(rows, _tokens_of(self.offsets, rows))


@dataclass(frozen=True, slots=True)
class Labels:
    """All label columns of a run, by name.

    Examples
    --------
    >>> import numpy as np
    >>> labels = Labels.of_arrays({"kind": np.array(["T", "B", "T"])}, {"kind": "classes"}, n=3)
    >>> labels.classes, labels.columns["kind"].values.tolist()
    ({'kind': ('B', 'T')}, [1, 0, 1])
    """

    columns: Mapping[str, LabelColumn]

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any], kinds: Mapping[str, LabelKind], *, n: int) -> Labels:
        """Labels given from Python.

        Parameters
        ----------
        arrays
            Of each column ``(n,)`` values (text, categories, numbers; None, NaN and '' are missing), a list
            of ``n`` arrays with a value for each token, a matrix ``(n, k)`` of vectors, or a
            :class:`LabelColumn` that is made already.
        kinds
            Which columns are read, and of what kind each is.
        n
            Examples.

        Raises
        ------
        ConfigError, InputError
            If a column is missing, or its length or content does not fit.
        """
        columns = {}
        for name, kind in kinds.items():
            if name not in arrays:
                raise ConfigError(
                    f"there is no label column {name!r}; given are {', '.join(arrays) or 'none'}"
                )
            column = arrays[name]
            columns[name] = column if isinstance(column, LabelColumn) else _of_array(name, column, kind, n)
        return cls(columns)

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes of each column that has any."""
        return {name: column.classes for name, column in self.columns.items() if column.classes}

    def read(self, rows: NDArray[np.int64], batch: Batch) -> dict[str, torch.Tensor]:
        """Labels of a batch of the examples ``rows``: ``(b,)``, or ``(t,)`` where tokens are labelled.

        Parameters
        ----------
        rows
            ``(b,)`` examples.
        batch
            Their tokens.
        """
        import torch

        ids = batch.ids.numpy()
        return {name: torch.from_numpy(column.of(rows, ids)) for name, column in self.columns.items()}

    def counts(self, rows: NDArray[np.int64]) -> dict[str, tuple[int, ...]]:
        """Labels of each class among the examples ``rows``."""
        counts = {}
        for name, column in self.columns.items():
            if column.classes:
                values = column.of_examples(rows)
                counted = np.bincount(values[values != IGNORED], minlength=len(column.classes))
                counts[name] = tuple(counted.tolist())
        return counts

    def moments(self, rows: NDArray[np.int64]) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each column of numbers among the examples ``rows``."""
        moments = {}
        for name, column in self.columns.items():
            if not column.classes and column.values.ndim == 1:
                values = column.of_examples(rows).astype(np.float64)
                values = values[~np.isnan(values)]
                # Of the training examples alone: those of all would tell of the held-out ones.
                moments[name] = (float(values.mean()), float(values.std())) if len(values) else (0.0, 1.0)
        return moments

    def labelled(self, n: int) -> NDArray[np.bool_]:
        """``(n,)`` whether an example has any label; all where only tokens have."""
        labelled = np.zeros(n, bool)
        for column in self.columns.values():
            if column.level != "example":
                return np.ones(n, bool)
            labelled |= column.known
        return labelled

    def lacking(self, rows: NDArray[np.int64]) -> list[str]:
        """Columns of which the examples ``rows`` have no label."""
        lacking = []
        for name, column in self.columns.items():
            values = column.of_examples(rows)
            if not replace(column, values=values).known.any():
                lacking.append(name)
        return lacking

    def check(self, rows: NDArray[np.int64]) -> None:
        """Refuse columns that have no label, or one alone, among the examples ``rows``.

        Raises
        ------
        InputError
            If all labels are missing, or all are the same.
        """
        for name, column in self.columns.items():
            values = column.of_examples(rows)
            values = values[replace(column, values=values).known]
            if not len(values):
                raise InputError(f"no training example has a label in the column {name!r}; check its values")
            if values.ndim == 1 and (values == values[0]).all():
                only = column.classes[int(values[0])] if column.classes else f"{values[0]:g}"
                raise InputError(
                    f"all training labels of the column {name!r} are {only!r}, so there is nothing to learn; "
                    "choose another column"
                )


def encode_classes(
    values: NDArray[Any], order: Sequence[str] = (), missing: Iterable[str] = ()
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Classes by number, and their names.

    Parameters
    ----------
    values
        ``(n,)`` text, whole numbers or booleans; '' and NaN are missing.
    order
        Names of the classes in their order; others are missing. By default all, sorted.
    missing
        Further names that mean that a label is missing.

    Examples
    --------
    >>> encode_classes(np.array(["b", "", "a", "?"]), missing=["?"])
    (array([   1, -100,    0, -100]), ('a', 'b'))
    """
    text = label_text(np.asarray(values))
    blank = np.isin(text, ["", *missing])
    # Sorted, so that the order of the files numbers no class.
    classes = tuple(order) if order else tuple(np.unique(text[~blank]).tolist())
    numbers = {name: number for number, name in enumerate(classes)}
    names, place = np.unique(text, return_inverse=True)
    codes = np.array([numbers.get(name, IGNORED) for name in names.tolist()], np.int64)[place]
    return np.where(blank, IGNORED, codes).astype(np.int64), classes


def read_numbers(name: str, values: NDArray[Any], missing: Iterable[str] = ()) -> NDArray[np.float32]:
    """Numbers of a column ``(n,)``; '' and the names in ``missing`` are NaN.

    Parameters
    ----------
    name
        Of the column.
    values
        ``(n,)``.
    missing
        Values that mean that there is no label.

    Raises
    ------
    InputError
        If a value is NaN or infinite.
    """
    plain = as_plain(np.asarray(values))
    if plain.dtype.kind == "U":
        plain = np.where(np.isin(plain, ["", *missing]), "nan", plain)
        # Booleans of which one is missing come as text.
        plain = np.where(plain == "True", "1", np.where(plain == "False", "0", plain))
    try:
        with np.errstate(over="ignore"):
            numbers = plain.astype(np.float32)
    except ValueError as error:
        raise InputError(
            f"the label column {name!r} is to be learned as numbers but holds text ({error}); classify it, "
            "or name another column"
        ) from error
    if np.isinf(numbers).any():
        raise InputError(
            f"the label column {name!r} holds infinite or too large numbers; fix them or leave them empty"
        )
    return numbers


def _of_array(name: str, given: Any, kind: LabelKind, n: int) -> LabelColumn:
    """A column of one value an example, or of one array an example."""
    if len(given) != n:
        raise ConfigError(f"the label column {name!r} has {len(given)} values for {n} examples")
    by_token = isinstance(given, list | tuple) and n > 0 and isinstance(given[0], list | tuple | np.ndarray)
    offsets = None
    if by_token:
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in given])]).astype(np.int64)
        given = np.concatenate([np.asarray(each) for each in given])
    values = np.asarray(given)
    level: Literal["example", "token"] = "token" if by_token else "example"
    if kind == "vectors":
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise ConfigError(f"the column {name!r} must be a matrix of numbers, a row for each example")
        return LabelColumn(values=values.astype(np.float32))
    if kind == "numbers":
        return LabelColumn(values=read_numbers(name, values), level=level, offsets=offsets)
    codes, classes = encode_classes(values)
    return LabelColumn(values=codes, classes=classes, level=level, offsets=offsets)


def _tokens_of(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """An empty column as long as the tokens of ``rows``."""
    return np.empty(int((offsets[rows + 1] - offsets[rows]).sum()), np.int64)
