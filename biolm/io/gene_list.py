"""Names of genes as users list them: in a file, one a line, or in the first column of a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from biolm.errors import InputError
from biolm.io.damage import damage_named

__all__ = ["check_gene_file", "gene_rows", "read_gene_list", "read_names"]


def check_gene_file(given: str, words: tuple[str, ...], single: str) -> None:
    """Refuse names of genes where a file of them is asked for.

    Parameters
    ----------
    given
        What was given.
    words
        What else may stand in the place of a file.
    single
        The options that take names.

    Raises
    ------
    InputError
        If it is neither a file nor one of the words.
    """
    if given not in words and not Path(given).is_file():
        raise InputError(
            f"{given}: no such file of gene names; give a file with one name a line, "
            f"{' or '.join(words)}, or name genes by {single}"
        )


def read_gene_list(path: str | Path, *, words: Sequence[str] = ("all",)) -> list[str]:
    """The names in a file of genes.

    Parameters
    ----------
    path
        Text, a name a line.
    words
        What else could have been written in the place of a file, for the message.

    Raises
    ------
    InputError
        If there is no such file, it is not text, or it names no gene.
    """
    file = Path(path)
    if not file.is_file():
        others = " or ".join(f"'{word}'" for word in words)
        raise InputError(f"{file}: no such file of gene names; give one name a line, or {others}")
    try:
        names = read_names(file.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise InputError(f"{file} is not a text file; give one gene name a line") from None
    if not names:
        raise InputError(f"{file} names no gene; give one name a line")
    return names


def read_names(lines: Sequence[str]) -> list[str]:
    r"""Gene names, one a line; what follows a tab or comma, empty lines and lines after ``#`` are left out.

    Examples
    --------
    >>> read_names(["TP53", "# a comment", "", "MYC\toncogene"])
    ['TP53', 'MYC']
    """
    # Lists are often the first column of somebody's table.
    names = [line.split("\t")[0].split(",")[0].strip() for line in lines if not line.startswith("#")]
    return [name for name in names if name]


@damage_named("the table of genes")
def gene_rows(path: Path) -> list[list[str]]:
    """Rows of a tab- or comma-separated table of genes, the header first.

    Raises
    ------
    InputError
        If it cannot be read as text.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            first = file.readline()
            file.seek(0)
            return list(csv.reader(file, delimiter="\t" if "\t" in first else ","))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the table of genes {path} cannot be read; give tab- or comma-separated text"
        ) from error
