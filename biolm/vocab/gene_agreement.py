"""Whether the ids of a file belong to the symbols beside them.

Dimensions: ``g`` genes of the file.

A column that was joined or sorted apart from the other (a public resource had its ids shifted by one row) is
found whole by itself, so that nothing else notices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from biolm.errors import GeneMatchError
from biolm.vocab.gene_names import ensembl_id, is_blank
from biolm.vocab.gene_table import SpeciesGenes

__all__ = ["check_agreement", "disagreement"]

NOTED = 0.05
"""Fraction of rows above which the user is warned; files of real data of any age lie below."""
MOST = 0.5
"""Fraction above which a file is refused unless a column is chosen."""

_LEAST = 20  # rows that both columns must know before a fraction means anything


def disagreement(
    columns: Mapping[str, Sequence[str]], column: str, genes: SpeciesGenes
) -> tuple[float, str] | None:
    """Fraction of rows in which the column used and another name different genes, and the other column.

    Only rows count whose id and symbol are both known. A symbol means all the genes that have it, had it or
    share it as an alias, and an id also the ids that replaced it, so that age alone is no disagreement.

    Parameters
    ----------
    columns
        Gene columns ``(g,)`` of the file.
    column
        The one that genes are found by.
    genes
        The gene table of the species.

    Returns
    -------
    The column that differs least: beside a right column there may be one of related genes. None where
    there is nothing to compare.
    """
    used = columns[column]
    ids = _mostly_ids(used)
    best: tuple[float, str] | None = None
    for name, values in columns.items():
        # Two columns of symbols may differ by age alone; an id beside a symbol cannot.
        if name == column or _mostly_ids(values) == ids:
            continue
        left, right = (used, values) if ids else (values, used)
        known = differ = 0
        for written, symbol in zip(left, right, strict=True):
            gene = ensembl_id(written)
            meant = () if gene is None or gene not in genes.symbol else _meant(symbol, genes)
            if gene is not None and meant:
                known += 1
                # A new id of the same gene is no contradiction.
                differ += gene not in meant and not set(genes.replaced.get(gene, ())).intersection(meant)
        fraction = differ / known if known >= _LEAST else 0.0
        if known >= _LEAST and (best is None or fraction < best[0]):
            best = fraction, name
    return best


def check_agreement(
    columns: Mapping[str, Sequence[str]], column: str, genes: SpeciesGenes, *, chosen: bool
) -> str:
    """A sentence where the column used and the others name different genes; empty where they agree.

    Parameters
    ----------
    columns, column, genes
        As for :func:`disagreement`.
    chosen
        Whether a person named the column, who then only hears of it.

    Raises
    ------
    GeneMatchError
        If most rows differ, and nobody chose the column.
    """
    clash = disagreement(columns, column, genes)
    if clash is None or clash[0] <= NOTED:
        return ""
    fraction, other = clash
    sentence = (
        f"columns {column!r} and {other!r} name different genes in {fraction:.0%} of the rows that both "
        "know, so one of them does not belong to these rows"
    )
    if fraction > MOST and not chosen:
        raise GeneMatchError(
            f"{sentence}; find out which is right and name it ({column!r} or {other!r}) as the gene column"
        )
    return sentence


def _mostly_ids(names: Sequence[str]) -> bool:
    filled = [name for name in names[:2000] if not is_blank(name)]
    return 2 * sum(ensembl_id(name) is not None for name in filled) > len(filled)


def _meant(symbol: str, genes: SpeciesGenes) -> tuple[str, ...]:
    """Every gene that a symbol can mean; empty for one that the table does not know."""
    if is_blank(symbol) or ensembl_id(symbol):
        return ()
    alias = genes.aliases.get(symbol)
    meant = (*genes.ids.get(symbol, ()), *genes.ambiguous.get(symbol, ()), *((alias,) if alias else ()))
    return meant or genes.upper_ids.get(symbol.upper(), ())
