"""Gene names as spreadsheets and R rewrite them: dates for genes, dots for hyphens.

Both lose letters, so a name is read back only where one gene alone can have been written so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["excel_names", "originals", "r_name"]

_MONTH = r"(mar|sep|dec)"
# R puts an X before a leading digit and dots for hyphens, so its forms of a date are read as well.
_DAY_FIRST = re.compile(rf"X?(\d{{1,2}})[-.]{_MONTH}", re.IGNORECASE)
_MONTH_FIRST = re.compile(rf"{_MONTH}[-.](\d{{1,2}})", re.IGNORECASE)
_ISO = re.compile(r"\d{4}-(03|09|12)-(\d\d)(?:[ T]00:00:00)?")
_MONTHS = {"03": "mar", "09": "sep", "12": "dec"}
# Symbols that were in use and that a spreadsheet takes for a date (Ziemann et al. 2016).
_STEMS = {"mar": ("MARCH", "MARC"), "sep": ("SEPT", "SEP"), "dec": ("DEC",)}
_NOT_IN_R = re.compile(r"[^A-Za-z0-9._]")
_CHANGED = re.compile(r"\A[0-9]|[^A-Za-z0-9.]")  # names without are left alone by R and Seurat


def excel_names(name: str) -> tuple[str, ...]:
    """Symbols that a spreadsheet shows as this date, in capitals; empty where the name is no date.

    Examples
    --------
    >>> excel_names("3-Sep"), excel_names("2021-03-01"), excel_names("Mar-10"), excel_names("CD3D")
    (('SEPT3', 'SEP3'), ('MARCH1', 'MARC1'), ('MARCH10', 'MARC10'), ())
    """
    if match := _DAY_FIRST.fullmatch(name):
        day, month = match[1], match[2].lower()
    elif match := _MONTH_FIRST.fullmatch(name):
        month, day = match[1].lower(), match[2]
    elif match := _ISO.fullmatch(name):
        month, day = _MONTHS[match[1]], match[2]
    else:
        return ()
    return tuple(f"{stem}{int(day)}" for stem in _STEMS[month])


def r_name(name: str) -> str:
    """A name as R's ``make.names`` writes it.

    Examples
    --------
    >>> r_name("HLA-A"), r_name("0610007P14Rik"), r_name("CD3D")
    ('HLA.A', 'X0610007P14Rik', 'CD3D')
    """
    plain = _NOT_IN_R.sub(".", name)
    return f"X{plain}" if plain[:1].isdigit() or plain.startswith("_") else plain


def originals(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What R (``HLA.A``) or Seurat (``Y-RNA``) makes of names that they change, to the names.

    Examples
    --------
    >>> originals(["HLA-A", "Y_RNA", "CD3D"])
    {'HLA.A': ('HLA-A',), 'Y-RNA': ('Y_RNA',)}
    """
    meanings: dict[str, tuple[str, ...]] = {}
    for name in names:
        # Most names are letters and digits; that much is seen without a pattern.
        if (name.isalnum() and not name[0].isdigit()) or not _CHANGED.search(name):
            continue
        for written in {r_name(name), name.replace("_", "-")} - {name}:
            meanings[written] = (*meanings.get(written, ()), name)
    return meanings
