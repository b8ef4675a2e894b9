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
        The species told from the names.
    known
        The vocabulary's species.
    other
        The best match among the other columns.
    """
    model = " and ".join(known)
    if known and call.species in SPECIES and call.species not in known:
        spelled = "symbols in upper case" if call.upper_case else "genes"
        return (
            f"the genes of column {report.column!r} look like {call.species} {spelled} and the model knows "
            f"{model}; choose a model of {call.species}, map them to {model} orthologs first, or pass "
            f"species={known[0]!r} if they are {known[0]} genes"
        )
    if other is not None and other.matched > 2 * report.matched:
        reason = f"column {other.column!r} would match {other.share:.0%}, name that one"
    else:
        reasons = [_shape(columns[column]) for column in (report.column, *columns)]
        reason = next(filter(None, reasons), "") or _unknown(columns[report.column])
    return (
        f"only {report.matched:,} of {report.total:,} genes (column {report.column!r}) are known to the "
        f"model: {reason}"
    )


def _shape(names: Sequence[str]) -> str:
    """What most of the names are, if they have the shape of something else than genes of man or mouse."""
    some = sample(names, _SAMPLE)
    for pattern, what in FOREIGN.items():
        whole = re.compile(rf"({pattern})(\.\d+)?")
        hits = [name for name in some if whole.fullmatch(name) and not id_species(ensembl_id(name) or "")]
        if 2 * len(hits) > len(some):
            return f"the names are {what}, and Ensembl gene ids or symbols of the model's species are needed"
    return ""


def _unknown(names: Sequence[str]) -> str:
    some = sample(names, 3)
    if not some:
        return "its names are empty, name another gene column"
    examples = ", ".join(repr(name) for name in some)
    return f"names such as {examples} are not its genes, name a column with Ensembl gene ids or symbols"
