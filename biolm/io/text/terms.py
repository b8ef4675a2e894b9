"""Dictionaries of names: tab-separated ``id``, ``name`` and synonyms, or OBO."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from biolm.errors import InputError
from biolm.io.damage import damage_named
from biolm.io.text.source import lines_of

__all__ = ["read_terms"]

_SYNONYM = re.compile(r'synonym: "((?:[^"\\]|\\.)*)"')


@damage_named()
def read_terms(path: Path) -> Iterator[tuple[str, str]]:
    """Pairs of identifier and name.

    Parameters
    ----------
    path
        ``.obo`` (names and synonyms of terms that are not obsolete), or a table with an identifier, then one
        name a column; ``|`` parts several names of one cell.

    Raises
    ------
    InputError
        If a row has no name, or the file holds no term.
    """
    count = 0
    rows = _obo(path) if ".obo" in path.suffixes else _table(path)
    for row in rows:
        count += 1
        yield row
    if not count:
        raise InputError(f"{path} holds no terms; give an .obo file, or a table of identifiers and names")


def _table(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in lines_of(path):
        if not line.strip() or line.startswith("#"):
            continue
        name, *names = line.split("\t")
        if not names:
            raise InputError(
                f"{path}, line {number} has one column; a row is an identifier and names, tab-separated"
            )
        if number == 1 and name.lower() in ("id", "identifier", "curie"):
            continue
        for each in "|".join(names).split("|"):
            if each.strip():
                yield name.strip(), each.strip()


def _obo(path: Path) -> Iterator[tuple[str, str]]:
    term, obsolete = "", False
    names: list[str] = []
    for _, line in lines_of(path):
        if line.startswith("["):
            if term and not obsolete:
                yield from ((term, name) for name in names)
            term, names, obsolete = "", [], line != "[Term]"
        elif line.startswith("id: "):
            term = line[4:].strip()
        elif line.startswith("name: "):
            names.append(line[6:].strip())
        elif line.startswith("is_obsolete: true"):
            # Obsolete terms keep their names, which belong to others by now.
            obsolete = True
        elif match := _SYNONYM.match(line):
            names.append(match[1].replace('\\"', '"'))
    if term and not obsolete:
        yield from ((term, name) for name in names)
