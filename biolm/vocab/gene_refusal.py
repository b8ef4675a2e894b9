"""The sentence a user reads when a file's genes do not fit a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from biolm.vocab.gene_names import FOREIGN, ensembl_id, id_species, sample
from biolm.vocab.gene_species import SpeciesCall
from biolm.vocab.gene_table import SPECIES
from biolm.vocab.match import MatchReport

__all__ = ["refusal"]

_SAMPLE = 500


def refusal(
    report: MatchReport,
    columns: Mapping[str, Sequence[str]],
    call: SpeciesCall,
    known: tuple[str, ...],
    other: MatchReport | None,
) -> str:
    """What was found, the most likely reason and what to do, as one sentence.

    Parameters
    ----------
    report
        The match that is refused.
    columns
        All gene columns of the file.
    call
        The species inferred from the names.
    known
        The vocabulary's species.
    other
        The best match among the other columns.
    """
    foreign = known and call.species and call.species not in known
    if foreign and (call.species in SPECIES or report.matched):
        return _other_species(report.column, columns, call, known)
    if not foreign and other is not None and other.matched > 2 * report.matched:
        reason = f"column {other.column!r} would match {other.share:.0%}; name that one"
    elif shape := _shape(columns[report.column]):
        reason = f"the names are {shape}; Ensembl gene ids or symbols of the model's species are needed"
    else:
        reason = _unknown(columns[report.column])
    return (
        f"only {report.matched:,} of {report.total:,} genes (column {report.column!r}) are known to the "
        f"model: {reason}"
    )


def _other_species(
    column: str, columns: Mapping[str, Sequence[str]], call: SpeciesCall, known: tuple[str, ...]
) -> str:
    if call.species in SPECIES:
        theirs = f"{call.species} {'symbols in upper case' if call.upper_case else 'genes'}"
        choose = f"choose a model of {call.species}"
    else:
        theirs = next(filter(None, map(_shape, columns.values())), "genes of another species")
        choose = "choose a model of that species"
    return (
        f"the genes look like {theirs} and the model knows {' and '.join(known)}; {choose}, map them to "
        f"{known[0]} orthologs, or set `species={known[0]!r}` if column {column!r} holds {known[0]} genes"
    )


def _shape(names: Sequence[str]) -> str:
    """What most of the names are, if they have the shape of something else than genes of man or mouse."""
    some = sample(names, _SAMPLE)
    for pattern, what in FOREIGN.items():
        whole = re.compile(rf"({pattern})(\.\d+)?")
        hits = [name for name in some if whole.fullmatch(name) and not id_species(ensembl_id(name) or "")]
        if 2 * len(hits) > len(some):
            return what
    return ""


def _unknown(names: Sequence[str]) -> str:
    some = sample(names, 3)
    if not some:
        return "its names are empty; name another gene column"
    examples = ", ".join(repr(name) for name in some)
    return f"names such as {examples} are not its genes; name a column with Ensembl gene ids or symbols"
