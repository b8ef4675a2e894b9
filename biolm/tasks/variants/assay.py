"""Tables of variants of one protein, as ProteinGym lays them out.

Dimensions: ``m`` variants.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.sequences import open_sequences
from biolm.io.sequences.stream import open_stream
from biolm.tasks.variants.mutations import (
    Mutation,
    apply_mutations,
    check_mutations,
    parse_mutations,
    undo_mutations,
)
from biolm.tasks.variants.proteins import ProteinVariant

__all__ = ["Assay", "read_assay", "read_protein"]

_MUTANT, _MUTATED, _MEASURED = ("mutant", "mutation", "variant"), "mutated_sequence", "DMS_score"


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
    def of(cls, wild: str, mutants: Sequence[str]) -> Assay:
        """Variants of a protein in memory.

        Raises
        ------
        InputError
            If a mutation is malformed or of another protein.
        """
        variants = []
        for number, text in enumerate(mutants, start=1):
            where = f"variant {number}"
            changes = parse_mutations(text, where)
            check_mutations(changes, wild, where)
            variants.append(ProteinVariant(apply_mutations(wild, changes), changes, where))
        return cls({"mutant": np.array(list(mutants), str)}, wild, variants, None)


def read_assay(path: str | Path, wild: str | None = None, reference: str | Path | None = None) -> Assay:
    """Read a CSV or TSV with a column ``mutant`` (``A24G:K30R``), ``mutated_sequence``, or both.

    Parameters
    ----------
    path
        The table, plain or gzip; every other column is kept.
    wild
        The unchanged protein.
    reference
        ProteinGym's table of assays, whose ``target_seq`` is taken by the file's name.

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
    header, rows, lines, name = _read_table(path)
    mutants = next((column for column in _MUTANT if column in header), None)
    if mutants is None and _MUTATED not in header:
        raise InputError(
            f"{name} has no column mutant and no column {_MUTATED}, only {', '.join(header[:8])}; name the "
            "column of mutations mutant"
        )
    columns = {key: np.array([row[place] for row in rows], str) for place, key in enumerate(header)}
    if wild is None and reference is not None:
        wild = _target(reference, Path(str(path)).name)
    where = [f"line {line} of {name}" for line in lines]
    texts = None if mutants is None else columns[mutants].tolist()
    sequences = columns[_MUTATED].tolist() if _MUTATED in header else None
    if texts is not None and sequences is None and _are_sequences(texts):
        # ProteinGym writes the whole sequence for insertions and deletions.
        texts, sequences = None, texts
    wild = wild or _undone(texts, sequences, where, name)
    variants = [
        _variant(
            wild, None if texts is None else texts[row], None if sequences is None else sequences[row], place
        )
        for row, place in enumerate(where)
    ]
    return Assay(columns, wild, variants, _numbers(columns.get(_MEASURED), where))


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


def _read_table(path: str | Path) -> tuple[list[str], list[list[str]], list[int], str]:
    with open_stream(path) as stream:
        reader = csv.reader(_text(stream.lines(), stream.name), delimiter=_delimiter(path))
        header = [cell.strip() for cell in next(reader, [])]
        rows, lines = [], []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"line {reader.line_num} of {stream.name} has {len(row)} cells but the header "
                    f"{len(header)}; correct it"
                )
            rows.append(row)
            lines.append(reader.line_num)
    if not rows:
        raise InputError(f"{stream.name} holds no variants; give a table with a header and a row for each")
    if len(set(header)) < len(header):
        raise InputError(f"{stream.name} names a column twice; rename one")
    return header, rows, lines, stream.name


def _text(lines: Iterator[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8") + "\n"
        except UnicodeDecodeError:
            raise InputError(f"line {number} of {name} is not UTF-8 text; save it as CSV again") from None


def _delimiter(path: str | Path) -> str:
    name = str(path).lower().removesuffix(".gz")
    return "\t" if name.endswith((".tsv", ".tab", ".txt")) else ","


def _are_sequences(texts: list[str]) -> bool:
    return all(text.isalpha() and len(text) > 3 for text in texts)


def _undone(texts: list[str] | None, sequences: list[str] | None, where: list[str], name: str) -> str:
    """The protein by the first variant that tells both what was changed and the result."""
    if texts is None or sequences is None:
        raise InputError(
            f"{name} does not tell the unchanged protein; give it as FASTA (--sequence) or ProteinGym's "
            "table of assays (--assays)"
        )
    changes = parse_mutations(texts[0], where[0])
    return undo_mutations(sequences[0].upper(), changes, where[0])


def _variant(wild: str, text: str | None, sequence: str | None, where: str) -> ProteinVariant:
    if text is None:
        assert sequence is not None
        if not sequence.isalpha():
            raise InputError(f"{where}: {sequence[:20]!r} is no protein; correct it")
        return ProteinVariant(sequence.upper(), _differences(wild, sequence.upper()), where)
    changes = parse_mutations(text, where)
    check_mutations(changes, wild, where)
    mutated = apply_mutations(wild.upper(), changes)
    if sequence is not None and sequence.upper() != mutated:
        raise InputError(
            f"{where}: {_MUTATED} is not what {text} makes of the protein; give the sequence that the "
            "mutations belong to"
        )
    return ProteinVariant(mutated, changes, where)


def _differences(wild: str, sequence: str) -> tuple[Mutation, ...] | None:
    """Mutations of a sequence as long as the wild type; None for any other."""
    if len(wild) != len(sequence):
        return None
    pairs = zip(wild.upper(), sequence, strict=True)
    return tuple(Mutation(old, place, new) for place, (old, new) in enumerate(pairs) if old != new)


def _numbers(texts: NDArray[np.str_] | None, where: list[str]) -> NDArray[np.float64] | None:
    if texts is None:
        return None
    found = np.full(len(texts), np.nan)
    for row, text in enumerate(texts.tolist()):
        if text.strip().lower() in ("", "na", "nan"):
            continue
        try:
            found[row] = float(text)
        except ValueError:
            raise InputError(f"{where[row]}: {_MEASURED} {text!r} is no number; correct it") from None
    return found


def _target(reference: str | Path, file: str) -> str:
    """``target_seq`` of a file in ProteinGym's table of assays."""
    header, rows, _, name = _read_table(reference)
    if "target_seq" not in header:
        raise InputError(f"{name} has no column target_seq; give ProteinGym's table of assays")
    stem = file.lower().removesuffix(".gz").removesuffix(".csv")
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        named = (cells.get("DMS_filename", ""), cells.get("DMS_id", ""))
        if stem in {each.lower().removesuffix(".csv") for each in named}:
            return cells["target_seq"].strip().upper()
    raise InputError(f"{name} lists no assay {file}; give the protein as FASTA (--sequence)")
