"""Reading pickled gene dictionaries without running what a pickle may ask for.

A pickle is a small program: it names functions and calls them. Here it may name four things, each replaced
by one of our own that can do nothing but make a number, a string of bytes or a container of them.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from biolm.errors import CheckpointError
from biolm.io.json_file import read_json

__all__ = ["Record", "read_gene_dictionary", "read_pickle"]

_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_TUPLE = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"}
SHARED_TUPLES = 20
"""How many tuples of a pickle may be used a second time."""
SIMPLE_TYPE = re.compile(r"[biufc]\d{1,2}|[SU]\d{1,4}")


def read_pickle(path: str | Path, *, records: Collection[str] = ()) -> object:
    """What a pickle holds, made of built-in containers, numbers, strings and numpy scalars alone.

    Parameters
    ----------
    path
        The file, of any pickle protocol.
    records
        Classes, as ``module.Name``, of which only the attributes are read: each comes as a :class:`Record`.

    Returns
    -------
    dict, list, tuple, set, str, bytes, int, float, bool, None, numpy scalars or records, nested.

    Raises
    ------
    CheckpointError
        If the pickle names anything else (the message says what), or is damaged. Nothing has run then.
    """
    try:
        with Path(path).open("rb") as file:
            _check_memory(file, path)
            file.seek(0)
            return _Restricted(file, str(path), records).load()
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; check the path") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise CheckpointError(f"{path} is a damaged pickle; copy or download it again") from error


def _check_memory(file: BinaryIO, path: str | Path) -> None:
    """Refuse a pickle that would fill the memory or the day of who reads it; nothing is built here.

    The reader makes room up to the highest memo number that a program names, so numbers must follow from the
    length of the program, as every writer counts them. A tuple of shared tuples of shared tuples takes for
    ever to hash, so few tuples may be used twice.
    """
    memo, tuples, shared = set[int](), set[int](), set[int]()
    is_tuple = False
    for place, (operation, argument, _) in enumerate(pickletools.genops(file)):
        name = operation.name
        if name in _PUT:
            number = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if number > place:
                raise CheckpointError(f"{path} is a pickle that asks for room without need; do not open it")
            memo.add(number)
            if is_tuple:
                tuples.add(number)
            continue
        if name == "DUP" or (name in _GET and int(argument or 0) in tuples):
            shared.add(-place if name == "DUP" else int(argument or 0))
        if len(shared) > SHARED_TUPLES:
            raise CheckpointError(f"{path} is a pickle of tuples within tuples; do not open it")
        is_tuple = name in _TUPLE


def read_gene_dictionary(path: str | Path) -> dict[str, Any]:
    """A dictionary by gene: tokens, medians or names.

    Parameters
    ----------
    path
        ``.json``, ``.json.gz`` or ``.pkl``.

    Returns
    -------
    Plain Python values by key, in file order.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, unsafe or holds no dictionary with strings as keys.
    """
    path = Path(path)
    content = read_pickle(path) if path.suffix in {".pkl", ".pickle"} else read_json(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{path} holds no dictionary by gene name; give the dictionary of the model")
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in content.items()}


class Record:
    """The attributes of a pickled object, without its class.

    Attributes
    ----------
    state
        By name.
    """

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = dict(state)


class _Dtype:
    """A pickled numpy type: its code and byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def resolve(self) -> np.dtype[Any]:
        """The numpy type, if it is a simple one."""
        if not SIMPLE_TYPE.fullmatch(self.code) or self.order not in {"=", "<", ">", "|"}:
            raise CheckpointError(f"the pickle holds values of numpy type {self.code!r}, which is not read")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]  # one of four, just checked


# What a pickle may call. Instances without attributes, since a pickle may also try to set attributes on
# whatever it can name.
class _MakeDtype:
    """Stands in for ``numpy.dtype``."""

    __slots__ = ()

    def __call__(self, code: str, *_: object) -> _Dtype:
        return _Dtype(str(code))


class _MakeScalar:
    """Stands in for ``numpy._core.multiarray.scalar``."""

    __slots__ = ()

    def __call__(self, dtype: _Dtype, content: bytes) -> np.generic:
        scalar: np.generic = np.frombuffer(content, dtype.resolve(), count=1)[0]
        return scalar


class _Encode:
    """Stands in for ``_codecs.encode``, by which old protocols spell bytes."""

    __slots__ = ()

    def __call__(self, text: str, *_: object) -> bytes:
        return text.encode("latin1")


ALLOWED = {
    "numpy.dtype": _MakeDtype(),
    "numpy.core.multiarray.scalar": _MakeScalar(),
    "numpy._core.multiarray.scalar": _MakeScalar(),
    "_codecs.encode": _Encode(),
}


class _Restricted(pickle.Unpickler):
    """Builds what needs no code, and refuses the rest by name."""

    def __init__(self, file: Any, name: str, records: Collection[str]) -> None:
        super().__init__(file)
        self._name, self._records = name, records

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for an allowed global."""
        if allowed := ALLOWED.get(f"{module}.{name}"):
            return allowed
        if f"{module}.{name}" in self._records:
            return Record
        raise CheckpointError(
            f"{self._name} is a pickle that asks for {module}.{name}, which could run code; "
            "convert it to JSON where you trust it"
        )
