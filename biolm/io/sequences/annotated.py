"""GenBank, EMBL and Swiss-Prot through Biopython: whole records, or their features, translated if wanted."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

from biolm.errors import InputError
from biolm.io.sequences.block import SequenceBlock
from biolm.io.sequences.stream import Stream
from biolm.progress import log

__all__ = ["ANNOTATED", "read_annotated"]

ANNOTATED = ("genbank", "embl", "swiss")
"""Formats that Biopython reads here, by its own names."""

_NAMES = ("protein_id", "locus_tag", "gene", "label")
_ROWS = 1024


def read_annotated(
    stream: Stream, kind: str, first: bytes = b"", *, features: str | None = None, translate: bool = False
) -> Iterator[SequenceBlock]:
    """Records, or the features of one type, in order.

    Parameters
    ----------
    stream
        The file.
    kind
        One of :data:`ANNOTATED`.
    first
        Bytes that were read from it already.
    features
        Type of the features to cut out, such as ``CDS``; joined and complementary locations are followed.
        None for the whole records.
    translate
        Give proteins: the annotated translation of a feature, else its own by the table it names.

    Raises
    ------
    InputError
        If the file is damaged or holds no such feature.
    """
    count = 0
    pending: list[tuple[str, str, str]] = []
    for record in _records(stream, kind, first):
        pending.extend(_cut(record, features, translate=translate))
        if len(pending) >= _ROWS:
            yield _block(pending, count)
            count, pending = count + len(pending), []
    if pending:
        yield _block(pending, count)
    elif not count:
        what = f"no feature {features!r}" if features else "no record"
        raise InputError(f"{stream.name} holds {what}; check the file and the type of the features")


def _records(stream: Stream, kind: str, first: bytes) -> Iterator[Any]:
    from Bio import BiopythonParserWarning, SeqIO

    parse: Any = SeqIO.parse
    text = io.TextIOWrapper(io.BufferedReader(_Rest(stream, first)), encoding="latin-1")
    with warnings.catch_warnings():
        # Biopython warns of odd lines that it reads well enough.
        warnings.simplefilter("ignore", BiopythonParserWarning)
        # But a record that is shorter or longer than its head says was cut or joined.
        warnings.filterwarnings("error", "Expected sequence length", BiopythonParserWarning)
        try:
            yield from parse(text, kind)
        except (ValueError, AssertionError, StopIteration, BiopythonParserWarning) as error:
            raise InputError(
                f"{stream.name} cannot be read as {kind} ({error}); repair or download it again"
            ) from error


class _Rest(io.RawIOBase):
    """A stream as a file, with the bytes that were read already in front."""

    def __init__(self, stream: Stream, first: bytes) -> None:
        self._stream, self._first = stream, first

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._first[: len(buffer)] or self._stream.read(len(buffer))
        self._first = self._first[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _cut(record: Any, features: str | None, *, translate: bool) -> Iterator[tuple[str, str, str]]:
    """Name, description and letters."""
    if features is None:
        text = record.seq.translate() if translate else record.seq
        yield record.id or record.name, record.description, str(text)
        return
    number = 0
    for feature in record.features:
        if feature.type == features and feature.location is not None:
            number += 1
            text = _protein(feature, record) if translate else str(feature.extract(record.seq))
            names = [feature.qualifiers[key][0] for key in _NAMES if key in feature.qualifiers]
            name = names[0] if names else f"{record.id}_{features}_{number}"
            if not text:
                log.warning("%s %r of %s has no whole codon and is left out", features, name, record.id)
                continue
            product = feature.qualifiers.get("product", [""])[0]
            yield name.replace(" ", "_"), f"{product} {record.id}:{feature.location}".strip(), text


def _protein(feature: Any, record: Any) -> str:
    known = feature.qualifiers.get("translation")
    # The database's own translation knows of selenocysteine and of edited codons.
    if known:
        return str(known[0])
    first = int(feature.qualifiers.get("codon_start", ["1"])[0]) - 1
    bases = feature.extract(record.seq)[first:]
    whole = bases[: len(bases) - len(bases) % 3]
    table = feature.qualifiers.get("transl_table", ["1"])[0]
    try:
        return str(whole.translate(table=int(table))).removesuffix("*")
    except (KeyError, ValueError) as error:
        raise InputError(
            f"the feature {feature.location} of {record.id} cannot be translated by table {table} ({error}); "
            "correct it, or read the file without translating"
        ) from error


def _block(features: list[tuple[str, str, str]], start: int) -> SequenceBlock:
    names, descriptions, letters = (list(column) for column in zip(*features, strict=True))
    block = SequenceBlock.of(letters, names, start)
    return SequenceBlock(block.names, descriptions, block.letters, block.offsets, start)
