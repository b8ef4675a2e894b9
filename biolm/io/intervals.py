"""BED and VCF: intervals and variants, line by line, and the windows of a genome around them.

Positions are counted from 0 and intervals are half-open, as in BED; a VCF's positions are turned into that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from biolm.errors import InputError
from biolm.io.damage import damage_named
from biolm.io.sequences.stream import open_stream

if TYPE_CHECKING:
    from biolm.io.sequences.store import SequenceStore

__all__ = [
    "Interval",
    "Variant",
    "Window",
    "check_reference",
    "line_variants",
    "read_bed",
    "read_vcf",
    "variant_window",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One line of a BED file.

    Parameters
    ----------
    contig, start, end
        Where, half-open from 0.
    name
        Fourth column; '' where there is none.
    strand
        ``+``, ``-`` or ``.``.
    """

    contig: str
    start: int
    end: int
    name: str = ""
    strand: Literal["+", "-", "."] = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One alternative allele of a line of a VCF.

    Parameters
    ----------
    contig, start
        Where the reference allele begins, from 0.
    reference, alternative
        Letters of both alleles, in upper case.
    name
        Third column; '' where it is a dot.
    line
        Number of the line in the file, from 1.
    """

    contig: str
    start: int
    reference: str
    alternative: str
    name: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Letters around a variant, with either allele.

    Parameters
    ----------
    reference, alternative
        Letters of the window with each allele; N beyond the ends of the contig. Without an insertion or
        deletion both have the width that was asked for.
    place
        Where the alleles begin in the windows.
    """

    reference: bytes = field(repr=False)
    alternative: bytes = field(repr=False)
    place: int


@damage_named()
def read_bed(path: str | Path) -> Iterator[Interval]:
    """Intervals of a BED file, plain or gzip, in order; comments and track lines are passed over.

    Raises
    ------
    InputError
        If a line is no interval; it is named.
    """
    with open_stream(path) as stream:
        for number, line in enumerate(stream.lines(), start=1):
            text = line.decode("utf-8", "replace").strip()
            # Lines for genome browsers.
            if not text or text.startswith(("#", "track ", "browser ")):
                continue
            parts = text.split("\t") if "\t" in text else text.split()
            numbers = parts[1:3]
            if (
                len(numbers) < 2
                or not all(each.isdigit() for each in numbers)
                or int(parts[1]) > int(parts[2])
            ):
                raise InputError(
                    f"line {number} of {stream.name} is no interval: a BED line begins with contig, start "
                    "and end; correct it"
                )
            strand = parts[5] if len(parts) > 5 and parts[5] in ("+", "-") else "."
            yield Interval(
                contig=parts[0],
                start=int(parts[1]),
                end=int(parts[2]),
                name=parts[3] if len(parts) > 3 else "",
                strand=strand,  # type: ignore[arg-type]  # one of the three, by the line above
            )


@damage_named()
def read_vcf(path: str | Path) -> Iterator[Variant]:
    """Variants of a VCF, plain or gzip, in order, one for each alternative allele.

    Symbolic alleles (``<DEL>``), breakends, ``*`` and ``.`` have no letters and are passed over, as are lines
    whose reference is ``.``.

    Raises
    ------
    InputError
        If there is no header, or a line is no variant; it is named.
    """
    with open_stream(path) as stream:
        seen = False
        for number, line in enumerate(stream.lines(), start=1):
            if line.startswith(b"#"):
                seen = seen or line.startswith(b"#CHROM")
                continue
            if not line.strip():
                continue
            if not seen:
                raise InputError(f"{stream.name} is no VCF: it has no line '#CHROM ...' before its variants")
            yield from line_variants(line, number, stream.name)


def line_variants(line: bytes, number: int, name: str) -> Iterator[Variant]:
    """Variants of one line of a VCF, one for each alternative allele that is written in letters.

    Parameters
    ----------
    line
        The line, with or without its end.
    number, name
        Of the line and of the file, for messages.

    Raises
    ------
    InputError
        If the line is no variant.
    """
    parts = line.decode("utf-8", "replace").rstrip("\r\n").split("\t")
    # No reference allele: such lines hold markers, not variants.
    if len(parts) > 4 and parts[3] == ".":
        return
    if len(parts) < 5 or not parts[1].isdigit() or not parts[3].isalpha():
        raise InputError(
            f"line {number} of {name} is no variant: it needs contig, position, id, reference and "
            "alternative, tab-separated; correct it"
        )
    for allele in parts[4].split(","):
        # Symbols (<DEL>), breakends and * say no letters that a model could read.
        if allele.isalpha():
            yield Variant(
                contig=parts[0],
                # VCF counts from 1, BED and all code here from 0.
                start=int(parts[1]) - 1,
                reference=parts[3].upper(),
                alternative=allele.upper(),
                name="" if parts[2] == "." else parts[2],
                line=number,
            )


def check_reference(store: SequenceStore, variant: Variant, file: str) -> None:
    """Refuse a variant whose reference allele is not what the genome holds there.

    Parameters
    ----------
    store
        The genome; ``1`` and ``chr1`` are the same.
    variant
        One of :func:`read_vcf`.
    file
        The VCF, for the message.

    Raises
    ------
    InputError
        If there is no such contig, or other letters.
    """
    end = variant.start + len(variant.reference)
    length = int(store.lengths[store.row(variant.contig)])
    if variant.start >= length:
        raise InputError(
            f"line {variant.line} of {file} lies at {variant.contig}:{variant.start + 1} but the contig has "
            f"{length:,} bases; use the genome that the variants were called on"
        )
    bases = store.window(variant.contig, variant.start, end).tobytes().decode("ascii", "replace").upper()
    if bases != variant.reference:
        raise InputError(
            f"line {variant.line} of {file} has reference {variant.reference} at {variant.contig}:"
            f"{variant.start + 1} but the genome holds {bases}; use the genome that the variants "
            "were called on"
        )


def variant_window(store: SequenceStore, variant: Variant, width: int) -> Window:
    """Letters around a variant, with either allele in the middle.

    Parameters
    ----------
    store
        The genome.
    variant
        Of :func:`read_vcf`.
    width
        Letters of a window; insertions push letters out at its end, deletions draw some in.

    Raises
    ------
    InputError
        If there is no such contig, or the window is shorter than an allele.
    """
    longest = max(len(variant.reference), len(variant.alternative))
    if width < longest:
        raise InputError(
            f"a window of {width} bases cannot hold the variant of line {variant.line}, which has "
            f"{longest}; use wider windows"
        )
    before = (width - longest) // 2
    first = store.window(variant.contig, variant.start - before, variant.start).tobytes()
    sides = []
    for allele in (variant.reference, variant.alternative):
        end = variant.start + len(variant.reference)
        rest = store.window(variant.contig, end, end + width - before - len(allele)).tobytes()
        sides.append((first + allele.encode("ascii") + rest).upper())
    return Window(reference=sides[0], alternative=sides[1], place=before)
