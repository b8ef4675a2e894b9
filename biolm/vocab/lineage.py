"""Lineages as Evo 2 was trained to read them: a tag of seven ranks in front of a sequence."""

from __future__ import annotations

import re

from biolm.errors import InputError

__all__ = ["RANKS", "lineage_tag"]

RANKS = ("D", "P", "C", "O", "F", "G", "S")
"""Domain, phylum, class, order, family, genus, species."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,'()_+/-]*")


def lineage_tag(lineage: str) -> str:
    """The tag of a lineage, in upper case.

    Parameters
    ----------
    lineage
        Seven names from domain to species, separated by ``;``, each with or without its rank (``d__``). A
        rank without a name may be left empty, but not the domain.

    Raises
    ------
    InputError
        If it is no such list.

    Examples
    --------
    >>> lineage_tag("Bacteria;Pseudomonadota;Gammaproteobacteria;Enterobacterales;Enterobacteriaceae;"
    ...             "Escherichia;Escherichia coli")[:42]
    '|D__BACTERIA;P__PSEUDOMONADOTA;C__GAMMAPRO'
    """
    parts = [part.strip() for part in lineage.strip().strip("|").rstrip(";").split(";")]
    if len(parts) != len(RANKS):
        raise InputError(
            f"a lineage has {len(RANKS)} names from domain to species, separated by ';', but {lineage!r} has "
            f"{len(parts)}"
        )
    names = []
    for rank, part in zip(RANKS, parts, strict=True):
        given, mark, name = part.rpartition("__")
        if mark and given.upper() != rank:
            raise InputError(
                f"rank {given!r} of the lineage {lineage!r} stands where {rank} belongs; reorder it"
            )
        if name and not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is no name of a lineage; use plain letters, digits, spaces, dots and dashes"
            )
        names.append(name)
    if not names[0]:
        raise InputError(f"the lineage {lineage!r} names no domain; begin with one, such as Bacteria")
    return "|" + ";".join(f"{rank}__{name.upper()}" for rank, name in zip(RANKS, names, strict=True)) + "|"
