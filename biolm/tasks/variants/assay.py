"""Tables of variants of one protein, as ProteinGym lays them out.

Dimensions: ``m`` variants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.sequences import open_sequences
from biolm.tasks.variants.assay_table import TextTable, numbers_of, read_text_table
from biolm.tasks.variants.mutations import (
    Mutation,
    apply_mutations,
    check_mutations,
    fitting_offset,
    parse_mutations,
    undo_mutations,
)
from biolm.tasks.variants.proteins import ProteinVariant

__all__ = ["Assay", "read_assay", "read_protein"]

_MUTANT, _MUTATED, _MEASURED = ("mutant", "mutation", "variant"), "mutated_sequence", "DMS_score"
_SEQUENCE = re.compile(r"[A-Za-z*.-]{4,}")


@dataclass(frozen=True, slots=True)
class Assay:
    """A table of variants of one protein.

    Parameters
    ----------
    columns
        Every column as text, by name.
    wild
        The unchanged protein.
    variants
        ``m`` variants.
    measured
        ``(m,)`` of the column ``DMS_score``, NaN where it is empty; None where there is none.
    """

    columns: dict[str, NDArray[np.str_]]
    wild: str
    variants: list[ProteinVariant]
    measured: NDArray[np.float64] | None

    @classmethod
    def of(cls, wild: str, mutants: Sequence[str], *, offset: int = 0) -> Assay:
        """Variants of a protein in memory; written places exceed those of the protein by ``offset``.

        Parameters
        ----------
        wild
            The protein.
        mutants
            Such as ``A24G:K30R``.
        offset
            By how much written places exceed those of the protein.

        Raises
        ------
        InputError
            If a mutation is malformed or of another protein.
        """
        where = [f"variant {number}" for number in range(1, len(mutants) + 1)]
        variants = _variants(wild, list(mutants), None, where, offset)
        return cls({"mutant": np.array(list(mutants), str)}, wild, variants, None)


def read_assay(
    path: str | Path,
    wild: str | None = None,
    reference: str | Path | None = None,
    *,
    offset: int = 0,
    clean: Callable[[str], str] = str.upper,
) -> Assay:
    """Read a CSV or TSV with a column ``mutant`` (``A24G:K30R``), ``mutated_sequence``, or both.

    Parameters
    ----------
    path
        The table, plain or compressed; every other column is kept.
    wild
        The unchanged protein.
    reference
        ProteinGym's table of assays, whose ``target_seq`` is taken by the file's name.
    offset
        How much the places of the table exceed those of the protein.
    clean
        Makes of the protein what the model is to read.

    Returns
    -------
    The table. Without ``wild`` and ``reference`` the protein is what remains when the mutations of a mutated
    sequence are undone.

    Raises
    ------
    InputError
        If a column is missing, or a line holds a mutation that is malformed or of another protein; the line
        is named.

    Examples
    --------
    >>> assay = read_assay("BLAT_ECOLX_Stiffler_2015.csv")  # doctest: +SKIP
    """
    table = read_text_table(path)
    columns = table.columns()
    # Reversed, so that of two names that differ in case the first column counts.
    known = {name.lower(): name for name in reversed(table.header)}
    mutants = next((known[name] for name in _MUTANT if name in known), None)
    if mutants is None and _MUTATED not in table.header:
        raise InputError(
            f"{table.name} has no column mutant and no column {_MUTATED}, only "
            f"{', '.join(table.header[:8])}; name the column of mutations mutant"
        )
    if wild is None and reference is not None:
        wild = _target(reference, Path(str(path)).name)
    texts = None if mutants is None else columns[mutants].tolist()
    sequences = columns[_MUTATED].tolist() if _MUTATED in table.header else None
    if texts is not None and sequences is None and all(_SEQUENCE.fullmatch(text) for text in texts):
        # ProteinGym writes the whole sequence for insertions and deletions.
        texts, sequences = None, texts
    wild = clean(wild or _undone(texts, sequences, table, offset))
    variants = _variants(wild, texts, sequences, table.where, offset)
    return Assay(columns, wild, variants, numbers_of(table, _MEASURED))


def read_protein(path: str | Path) -> tuple[str, str]:
    """Name and letters of the first record of a sequence file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    with open_sequences(path, case="upper") as source:
        block = next(source.blocks(records=1))
    return block.names[0], block.text(0)


def _undone(texts: list[str] | None, sequences: list[str] | None, table: TextTable, offset: int) -> str:
    """The protein by the first variant that tells both what was changed and the result."""
    if texts is None or sequences is None:
        raise InputError(
            f"{table.name} does not name the unchanged protein; give it as FASTA (`sequence`) or "
            "ProteinGym's table of assays (`assays`)"
        )
    for text, sequence, where in zip(texts, sequences, table.where, strict=True):
        changes = parse_mutations(text, where, offset=offset)
        if all(each.substitutes for each in changes):
            return undo_mutations(sequence.upper(), changes, where)
    raise InputError(f"{table.name} holds no substitution that tells the protein; give it (`sequence`)")


def _variants(
    wild: str, texts: list[str] | None, sequences: list[str] | None, where: list[str], offset: int
) -> list[ProteinVariant]:
    """One variant a row."""
    if texts is None:
        assert sequences is not None
        return [_of_sequence(wild, *pair) for pair in zip(sequences, where, strict=True)]
    parsed = [parse_mutations(text, place, offset=offset) for text, place in zip(texts, where, strict=True)]
    try:
        for changes, place in zip(parsed, where, strict=True):
            check_mutations(changes, wild, place)
    except InputError as error:
        shift = fitting_offset(parsed, wild)
        if not shift:
            raise
        # Numbering that starts elsewhere (a signal peptide cut off) is the usual cause, and can be told.
        raise InputError(f"{error}; all of them fit with `offset={offset + shift}`") from None
    results = [_of_sequence(wild, *pair) for pair in zip(sequences, where, strict=True)] if sequences else []
    variants = []
    for row, changes in enumerate(parsed):
        mutated = _mutated(wild, changes, where[row])
        if results and mutated.sequence and results[row].sequence != mutated.sequence:
            raise InputError(
                f"{where[row]}: {_MUTATED} is not what {(texts or [])[row]} makes of the protein; give the "
                "sequence that the mutations belong to"
            )
        variants.append(mutated)
    return variants


def _mutated(wild: str, changes: tuple[Mutation, ...], where: str) -> ProteinVariant:
    """A protein with its mutations; without letters where one is a stop, an insertion or a frame shift."""
    if any(each.wild == "*" or each.mutant in ("*", "?") for each in changes):
        return ProteinVariant("", None, where)
    whole = all(each.substitutes for each in changes)
    return ProteinVariant(apply_mutations(wild.upper(), changes), changes if whole else None, where)


def _of_sequence(wild: str, text: str, where: str) -> ProteinVariant:
    """A mutated protein; without letters where a stop cuts it short."""
    bare = re.sub("[.-]", "", text.strip().upper())
    ended = bare.rstrip("*")
    if not ended.replace("*", "").isalpha():
        raise InputError(f"{where}: {text[:20]!r} is no protein; correct it")
    # A stop at the end of a full-length protein is how some files end it; before, it cuts the protein short.
    if "*" in ended or (ended != bare and len(ended) < len(wild)):
        return ProteinVariant("", None, where)
    return ProteinVariant(ended, _differences(wild, ended), where)


def _differences(wild: str, sequence: str) -> tuple[Mutation, ...] | None:
    """Mutations of a sequence as long as the wild type; None for any other."""
    if len(wild) != len(sequence):
        return None
    pairs = zip(wild.upper(), sequence, strict=True)
    return tuple(Mutation(old, place, new) for place, (old, new) in enumerate(pairs) if old != new)


def _target(reference: str | Path, file: str) -> str:
    """``target_seq`` of a file in ProteinGym's table of assays."""
    table = read_text_table(reference)
    if "target_seq" not in table.header:
        raise InputError(f"{table.name} has no column target_seq; give ProteinGym's table of assays")
    stem = file.lower().removesuffix(".gz").removesuffix(".csv")
    for row in table.rows:
        cells = dict(zip(table.header, row, strict=True))
        named = (cells.get("DMS_filename", ""), cells.get("DMS_id", ""))
        if stem in {each.lower().removesuffix(".csv") for each in named}:
            return cells["target_seq"].strip().upper()
    raise InputError(f"{table.name} lists no assay {file}; give the protein as FASTA (`sequence`)")
