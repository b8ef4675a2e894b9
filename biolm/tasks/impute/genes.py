"""Which genes are imputed, by the names that users give them.

Dimensions: ``m`` imputed genes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import GeneMatchError, InputError
from biolm.io.anndata.rows import Rows
from biolm.io.gene_list import read_gene_list
from biolm.models.model import CellModel, Imputer
from biolm.vocab.gene_table import gene_table

__all__ = ["ALL", "UNMEASURED", "chosen_genes", "gene_rows"]

UNMEASURED, ALL = "unmeasured", "all"
_SHOWN = 5


def chosen_genes(
    model: CellModel, imputer: Imputer, species: str, genes: str | Path | Sequence[str]
) -> tuple[NDArray[np.int64], list[str]]:
    """Places ``(m,)`` of the genes that are asked for, each once, and their names.

    Genes that are named keep the name that they were given; others have their symbol where no other gene has
    it, else their id.

    Parameters
    ----------
    model
        The model.
    imputer
        What it imputes for the file.
    species
        Of the file.
    genes
        ``unmeasured``, ``all``, a file of names, or the names.

    Raises
    ------
    InputError
        If a gene is not known or cannot be imputed, or none is left.
    """
    if isinstance(genes, str) and genes in (UNMEASURED, ALL):
        places = np.arange(len(imputer.rows)) if genes == ALL else np.flatnonzero(~imputer.measured)
        if not len(places):
            raise InputError(
                f"the file measures every gene that {model.name} imputes; name genes (`genes`) to have them "
                "smoothed"
            )
        return places, _symbols(model, imputer.rows[places], species)
    names = read_gene_list(genes, words=(UNMEASURED, ALL)) if isinstance(genes, str | Path) else list(genes)
    names = list(dict.fromkeys(name.strip() for name in names))
    if not names:
        raise InputError("no gene is named; name some, or leave the genes out to impute what is not measured")
    rows = _rows(model, names, species)
    place_of = {row: place for place, row in enumerate(imputer.rows.tolist())}
    lacking = [name for name, row in zip(names, rows, strict=True) if row not in place_of]
    if lacking:
        raise InputError(
            f"{model.name} cannot impute {_listed(lacking)}: the {len(imputer.rows):,} genes that it imputes "
            "are those that varied most where it was fitted; leave such genes out"
        )
    kept: dict[int, str] = {}
    for name, row in zip(names, rows, strict=True):
        # Two names of one gene are one column, under the name that was given first.
        kept.setdefault(place_of[row], name)
    return np.array(list(kept), np.int64), list(kept.values())


def gene_rows(model: CellModel, imputer: Imputer, places: NDArray[np.int64], names: Sequence[str]) -> Rows:
    """The genes of the result: names, ids, and what the model says of each.

    Parameters
    ----------
    model, imputer
        What imputes.
    places, names
        From :func:`chosen_genes`.
    """
    ids = np.array([model.vocabulary.genes[row] for row in imputer.rows[places].tolist()], str)
    columns: dict[str, NDArray[Any]] = {"id": ids, **imputer.columns(places)}
    beside = {"genes": list(names), "gene_columns": {name: v.tolist() for name, v in columns.items()}}
    return Rows(index=np.array(names, str), columns=columns, beside=beside)


def _rows(model: CellModel, names: list[str], species: str) -> list[int]:
    """Vocabulary rows of names; all of them known."""
    try:
        match = model.vocabulary.match({"index": np.array(names)}, minimum=0, species=species or None)
        rows: list[int] = match.target.tolist()
        ambiguous = match.report.ambiguous
    # Of no known name at all; the message below lists them, as for a few.
    except GeneMatchError:
        rows, ambiguous = [-1] * len(names), ()
    unsure = [name for name in names if name in ambiguous]
    if unsure:
        raise InputError(f"{_listed(unsure)} could be several genes; give Ensembl ids (`genes`)")
    unknown = [name for name, row in zip(names, rows, strict=True) if row < 0]
    if unknown:
        kind = f"{species} genes" if species else "genes"
        raise InputError(
            f"{model.name} knows no {kind} called {_listed(unknown)}; check the names or leave them out"
        )
    return rows


def _listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _symbols(model: CellModel, rows: NDArray[np.int64], species: str) -> list[str]:
    ids = [model.vocabulary.genes[row] for row in rows.tolist()]
    symbols = gene_table().ensembl_to_symbol(species) if species else {}
    names = [symbols.get(gene, gene) for gene in ids]
    counts = Counter(names)
    # Symbols that two genes share cannot be names of columns; their ids can.
    return [name if counts[name] == 1 else gene for name, gene in zip(names, ids, strict=True)]
