"""Score a VCF: every line goes out as it came in, with fields added to INFO.

Dimensions: ``m`` variants · ``k`` columns of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.intervals import Variant, line_variants
from biolm.io.sequences import SequenceStore
from biolm.io.sequences.stream import open_stream
from biolm.tasks.variants.genome import check_variant

__all__ = ["DESCRIPTIONS", "checked_variants", "scorable", "write_vcf"]

DESCRIPTIONS = {
    "LLR": "Log-likelihood of the alternative minus that of the reference",
    "REF_LL": "Log-likelihood of the reference",
    "ALT_LL": "Log-likelihood of the alternative",
    "COS": "One minus the cosine of the embeddings of reference and alternative",
    "L2": "Euclidean distance of the embeddings of reference and alternative",
}
"""What the fields mean, by name."""

_BASES = frozenset("ACGT")


def scorable(variant: Variant, width: int) -> bool:
    """Whether both alleles are written in A, C, G and T and fit a window of ``width`` bases.

    Parameters
    ----------
    variant
        Place and alleles.
    width
        Bases of a window.
    """
    if max(len(variant.reference), len(variant.alternative)) > width:
        return False
    return _BASES.issuperset(variant.reference) and _BASES.issuperset(variant.alternative)


def checked_variants(store: SequenceStore, path: str | Path, key: str) -> Iterator[Variant]:
    """The variants of a VCF, while lines are refused that cannot take the fields or are of another genome.

    Parameters
    ----------
    store
        The genome.
    path
        The VCF.
    key
        Begins the names of the fields.

    Raises
    ------
    InputError
        If there is no header, a line has no INFO column, the fields are there already, a contig is missing or
        holds other letters; the line is named.
    """
    header = False
    for number, line in _lines(path):
        if line.startswith(b"#"):
            if line.startswith(f"##INFO=<ID={key}_".encode()):
                raise InputError(
                    f"line {number} of {path} says that it holds {key} scores already; choose another `key`"
                )
            header = header or line.startswith(b"#CHROM")
        elif line.strip():
            if not header:
                break
            fields = line.split(b"\t")
            if len(fields) < 8:
                raise InputError(
                    f"line {number} of {path} has no INFO column; a VCF line has at least eight columns"
                )
            if any(entry.startswith(f"{key}_".encode()) for entry in fields[7].split(b";")):
                raise InputError(
                    f"line {number} of {path} has {key} scores in INFO already; choose another `key`"
                )
            for each in line_variants(line, number, str(path)):
                check_variant(store, each, str(path))
                yield each
    if not header:
        raise InputError(f"{path} is no VCF: it has no line '#CHROM ...' before its variants")


def write_vcf(
    source: str | Path,
    target: Path,
    scores: NDArray[np.floating[Any]],
    names: Sequence[str],
    provenance: Mapping[str, Any],
    key: str,
) -> None:
    """Write the lines of a VCF with scores in INFO; header lines are added before ``#CHROM``.

    Parameters
    ----------
    source
        The VCF.
    target
        Where to write; bgzip for an ending in ``.gz``.
    scores
        ``(m, k)`` of the variants that :func:`~biolm.io.intervals.read_vcf` gives, in its order; NaN for
        none.
    names
        ``k`` names of :data:`DESCRIPTIONS`.
    provenance
        Provenance, for a header line.
    key
        Begins the names of the fields.
    """
    row, ending = 0, "\n"
    with _writer(target) as write:
        for number, line in _lines(source):
            # Lines that are added end as those of the file do.
            if line.endswith(b"\n"):
                ending = "\r\n" if line.endswith(b"\r\n") else "\n"
            if line.startswith(b"#CHROM"):
                write(_header(names, provenance, key, ending))
            count = 0
            if line.strip() and not line.startswith(b"#"):
                count = sum(1 for _ in line_variants(line, number, str(source)))
            write(_scored(line, scores[row : row + count], names, key) if count else line)
            row += count


def _scored(line: bytes, scores: NDArray[np.floating[Any]], names: Sequence[str], key: str) -> bytes:
    # A line without a score goes out byte for byte.
    if not np.isfinite(scores).any():
        return line
    fields = line.split(b"\t")
    # Number=A in the header promises a value an allele, so one without (<DEL>, *) gets ".".
    alleles = [allele.isalpha() for allele in fields[4].split(b",")]
    parts = []
    for column, name in enumerate(names):
        values = iter(scores[:, column].tolist())
        texts = [_number(next(values)) if has else "." for has in alleles]
        if any(text != "." for text in texts):
            parts.append(f"{key}_{name}={','.join(texts)}".encode())
    last = fields[7]
    body = last.rstrip(b"\r\n")
    fields[7] = b";".join(([] if body in (b".", b"") else [body]) + parts) + last[len(body) :]
    return b"\t".join(fields)


def _number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else "."


def _header(names: Sequence[str], metadata: Mapping[str, Any], key: str, ending: str) -> bytes:
    lines = [
        f'##INFO=<ID={key}_{name},Number=A,Type=Float,Description="{DESCRIPTIONS[name]}">' for name in names
    ]
    about = ",".join(f'{name}="{value}"' for name, value in metadata.items())
    lines.append(f"##{key}_scores=<{about}>")
    return "".join(line + ending for line in lines).encode()


def _lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line, its end included."""
    number, rest = 0, b""
    with open_stream(path) as stream:
        for piece in stream.pieces():
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            for line in lines:
                number += 1
                yield number, line + b"\n"
    if rest:
        yield number + 1, rest


@contextmanager
def _writer(target: Path) -> Iterator[Callable[[bytes], Any]]:
    if target.suffix != ".gz":
        with target.open("wb") as file:
            yield file.write
        return
    from Bio import bgzf

    tools: Any = bgzf
    with target.open("wb") as raw:
        packed = tools.BgzfWriter(fileobj=raw)
        yield packed.write
        packed.close()
