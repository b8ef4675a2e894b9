"""Names of chromosomes: ``1`` and ``chr1`` mean the same, as do ``MT``, ``M`` and ``chrM``."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from biolm.errors import InputError

__all__ = ["find_contig"]

_MITOCHONDRIAL = ("chrM", "MT", "chrMT", "M")


def find_contig(name: str, known: Collection[str], where: str) -> str:
    """The name under which a reference holds a contig.

    Parameters
    ----------
    name
        As written in the file that refers to it.
    known
        Names of the reference.
    where
        The reference, for the message.

    Raises
    ------
    InputError
        If it holds none of that name.

    Examples
    --------
    >>> find_contig("chr7", ["6", "7"], "genome.fa")
    '7'
    """
    other: str = name.removeprefix("chr") if name.startswith("chr") else f"chr{name}"
    same: tuple[str, ...] = _MITOCHONDRIAL if name in _MITOCHONDRIAL else ()
    for candidate in (name, other, *same):
        if candidate in known:
            return candidate
    # Assemblies of many scaffolds have a million names, and matching is slow.
    some = difflib.get_close_matches(name, list(known)[:1000], n=3) or list(known)[:3]
    more = " and others" if len(known) > len(some) else ""
    raise InputError(
        f"there is no contig {name!r} in {where}, whose contigs are {', '.join(some)}{more}; "
        "use the reference that the positions belong to"
    )
