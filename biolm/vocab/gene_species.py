"""The species of a file, inferred from its gene names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biolm.vocab.gene_names import ensembl_id, genome_prefix, id_species, sample
from biolm.vocab.gene_table import gene_table

__all__ = ["SpeciesCall", "tell_species"]

_SAMPLE = 2000


@dataclass(frozen=True, slots=True)
class SpeciesCall:
    """What the names say about the species.

    Parameters
    ----------
    species
        ``human``, ``mouse``, ``other`` where Ensembl ids of a third species stand, or an empty string
        where the names do not show it.
    upper_case
        Mouse symbols written in capitals, as human symbols are.
    """

    species: str
    upper_case: bool = False


def tell_species(columns: Mapping[str, Sequence[str]]) -> SpeciesCall:
    """Species of a file from all its gene columns.

    Ensembl ids decide where any column holds them. Else symbols do, in this order: a fifth of the
    names or more are spelled as mouse genes and more than are spelled as human genes (``Cd3d``); or,
    ignoring case, names that only one species has (``HLA-A`` and ``LINC00115``, ``A230046K03RIK`` and
    ``GM1992``) are more than twice those of the other. Else the species is left open.

    Parameters
    ----------
    columns
        Gene names by column.

    Examples
    --------
    >>> tell_species({"index": ["Cd3d", "Ms4a1"]}).species
    'mouse'
    >>> tell_species({"index": ["CD3D", "MS4A1"]}).species
    ''
    """
    votes: Counter[str] = Counter()
    names: list[str] = []
    for values in columns.values():
        some = sample(values, _SAMPLE)
        ids = [ensembl for ensembl in map(ensembl_id, some) if ensembl]
        if 2 * len(ids) > len(some):
            votes.update(id_species(ensembl) or "other" for ensembl in ids)
        else:
            names += some
    if votes:
        return SpeciesCall(votes.most_common(1)[0][0])
    return _from_symbols(names)


def _from_symbols(names: list[str]) -> SpeciesCall:
    table = gene_table()
    human, mouse = table.species("human"), table.species("mouse")
    votes: Counter[str] = Counter()
    for name in names:
        prefix = genome_prefix(name)
        if prefix:
            votes[prefix[0]] += 1
            continue
        is_human = name in human.ids or name in human.aliases
        is_mouse = name in mouse.ids or name in mouse.aliases
        if is_human != is_mouse:
            # Spelling says most: CD3E is human, Cd3e is mouse.
            votes["human as spelled" if is_human else "mouse as spelled"] += 1
        upper = name.upper()
        if upper in human.upper_ids:
            votes["human"] += upper not in mouse.upper_ids
        elif upper in mouse.upper_ids:
            # Old mouse symbols live on as human aliases (SFPI1), so an alias is no vote for human.
            votes["mouse"] += upper not in human.upper_aliases
    if votes["mouse as spelled"] > max(votes["human as spelled"], len(names) / 5):
        return SpeciesCall("mouse")
    if votes["mouse"] > 2 * votes["human"]:
        return SpeciesCall("mouse", upper_case=True)
    return SpeciesCall("human" if votes["human"] > 2 * votes["mouse"] else "")
