"""Files of sequences: what is read, in which blocks, and what is refused with which sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock, concatenate_blocks, open_sequences
from biolm.io.sequences.fasta import read_fasta
from biolm.io.sequences.letters import reverse_complement, without

FASTA = ">first a description\nMKVL\nAA-G*\n\n>second|x\nacgtn\n"
FASTQ = "@r1 lane\nACGT\n+\nIIII\n@r2\nAC\n+r2\n!~\n"


def read(path: Path | str, **options: object) -> SequenceBlock:
    with open_sequences(path, **options) as source:  # type: ignore[arg-type]
        return concatenate_blocks(list(source.blocks()))


def write(folder: Path, content: str | bytes, name: str = "some.fasta") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class Pieces:
    """A stream that hands out its bytes in pieces of any size."""

    name = "pieces"

    def __init__(self, content: bytes, size: int) -> None:
        self.content, self.size = content, size

    def pieces(self) -> list[bytes]:
        return [self.content[at : at + self.size] for at in range(0, len(self.content), self.size)]


def test_fasta_keeps_case_gaps_and_stars(tmp_path: Path) -> None:
    block = read(write(tmp_path, FASTA))
    assert block.names == ["first", "second|x"]
    assert block.descriptions == ["a description", ""]
    assert [block.text(0), block.text(1)] == ["MKVLAA-G*", "acgtn"]
    assert read(write(tmp_path, FASTA), case="upper").text(1) == "ACGTN"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("form", ["plain", "gzip", "members", "bzip2", "xz"])
def test_line_ends_and_compression(tmp_path: Path, end: str, form: str) -> None:
    raw = ("\ufeff" + FASTA.replace("\n", end)).encode()
    if form == "gzip":
        raw = gzip.compress(raw, mtime=0)
    elif form in ("bzip2", "xz"):
        raw = {"bzip2": bz2, "xz": lzma}[form].compress(raw)
    elif form == "members":
        raw = gzip.compress(raw[:9], mtime=0) + gzip.compress(raw[9:])
    block = read(write(tmp_path, raw))
    assert [block.text(row) for row in range(2)] == ["MKVLAA-G*", "acgtn"]


LINES = st.lists(st.text("ACGTacgtn-* \t", max_size=9), max_size=4)


@given(
    records=st.lists(st.tuples(st.sampled_from(["a", "b|c x >y", "d\tz"]), LINES), min_size=1, max_size=5),
    end=st.sampled_from(["\n", "\r\n"]),
    size=st.integers(1, 20),
    comment=st.sampled_from(["", "; a comment\n", ";>x\n;\n"]),
)
def test_fasta_is_read_alike_in_pieces_of_any_size(
    records: list[tuple[str, list[str]]], end: str, size: int, comment: str
) -> None:
    content = comment + "".join(
        f">{head}{end}{comment}" + "".join(line + end for line in lines) for head, lines in records
    )
    block = concatenate_blocks(list(read_fasta(Pieces(content.encode(), size))))  # type: ignore[arg-type]
    assert block.names == [head.split()[0] for head, _ in records]
    assert [block.text(row) for row in range(len(block))] == [
        "".join("".join(lines).split()) for _, lines in records
    ]


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BufferedReader(io.BytesIO(gzip.compress(FASTA.encode())))

    monkeypatch.setattr(sys, "stdin", Input())
    assert read("-").names == ["first", "second|x"]


def test_blocks_are_bounded_and_do_not_depend_on_the_file(tmp_path: Path) -> None:
    lengths = [3, 9, 1, 30, 2, 2]
    path = write(tmp_path, "".join(f">r{n}\n{'A' * n}\n" for n in lengths))
    with open_sequences(path) as source:
        blocks = list(source.blocks(records=2, residues=10))
    assert [block.lengths.tolist() for block in blocks] == [[3], [9, 1], [30], [2, 2]]
    assert [block.start for block in blocks] == [0, 1, 3, 4]


def test_fastq_with_qualities(tmp_path: Path) -> None:
    block = read(write(tmp_path, FASTQ))
    assert (block.names, block.text(1)) == (["r1", "r2"], "AC")
    assert block.qualities is not None
    assert block.qualities.tolist() == [40, 40, 40, 40, 0, 93]
    many = "@r1\nAC\nGT\n+\nII\nII\n@r2\nA\n+\n@\n"
    assert read(write(tmp_path, many)).lengths.tolist() == [4, 1]
    windows = read(write(tmp_path, FASTQ.replace("\n", "\r\n")))
    assert windows.lengths.tolist() == [4, 2]


def test_take_and_part() -> None:
    block = SequenceBlock.of(["MK", "V", "LLL"])
    assert [block.take([2, 0]).text(row) for row in range(2)] == ["LLL", "MK"]
    part = block.part(1, 3)
    assert (part.start, part.text(1), part.names) == (1, "LLL", ["2", "3"])


def test_a_feature_without_a_whole_codon_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["LOCUS       T 12 bp DNA linear UNK 01-JAN-1980", "FEATURES             Location/Qualifiers"]
    for place, name in (("1..9", "whole"), ("1..2", "short")):
        lines += [f"     CDS             {place}", f'                     /locus_tag="{name}"']
    lines += ["ORIGIN", "        1 atgaaataac gt", "//", ""]
    path = write(tmp_path, "\n".join(lines), "some.gbk")
    block = read(path, features="CDS", translate=True)
    assert (block.names, block.text(0)) == (["whole"], "MK")
    assert "'short' of T has no whole codon and is left out" in caplog.text


def test_features_of_genbank(shared: Path) -> None:
    path = shared / "data" / "sequences" / "dna" / "leptospira_kirschneri_H1.gbk.gz"
    with open_sequences(path, features="CDS", translate=True) as source:
        proteins = next(source.blocks(records=20))
    with open_sequences(path, features="CDS") as source:
        genes = next(source.blocks(records=20))
    assert proteins.names == genes.names
    # A whole gene is its protein's codons and a stop; pseudogenes have no protein of their own.
    whole = [
        row
        for row, (name, text) in enumerate(zip(genes.names, genes.descriptions, strict=True))
        if name.startswith("WP_") and "<" not in text and ">" not in text
    ]
    assert len(whole) > 5
    assert all(proteins.text(row).startswith("M") for row in whole)
    assert np.array_equal(genes.lengths[whole], 3 * proteins.lengths[whole] + 3)


def test_swissprot(shared: Path) -> None:
    block = read(shared / "data" / "sequences" / "proteins" / "swissprot_100.dat.gz")
    assert (len(block), block.names[0]) == (100, "P15455")


def test_strands_and_gaps() -> None:
    letters = np.frombuffer(b"AAcgTRyN", np.uint8)
    assert reverse_complement(letters).tobytes() == b"NrYAcgTT"
    assert np.array_equal(reverse_complement(reverse_complement(letters)), letters)
    assert without(SequenceBlock.of(["M-K.", "*"]), "-.*").lengths.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("MKV\n", "is none of FASTA"),
        (">a\nMK\n>b\n\n>c\nV\n", "record 2 of .* 'b', has no letters"),
        ("@r\nACG\n+\nII\n", "record 1 .* no FASTQ record"),
        ("@r\nACG\n+\nIII\n@s\nAC\n", "ends in the middle of a record"),
        (b"BZh91AY&SY", "ends in the middle of its compressed data"),
        (b"BZh91AYxxxxxxxxxxxx", "is damaged"),
        (b"PK\x03\x04xxxx", "compressed with zip"),
        (">a\nMK\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (gzip.compress(FASTA.encode() * 50, mtime=0)[:-20], "ends in the middle of its compressed data"),
        (gzip.compress(b"\x00\x01\x02", mtime=0), "is none of FASTA"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_wrong_use(tmp_path: Path) -> None:
    path = write(tmp_path, FASTA)
    with pytest.raises(ConfigError, match="no sequence format 'phylip'"):
        read(path, format="phylip")
    with pytest.raises(ConfigError, match="has no features"):
        read(path, features="CDS")
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / "absent.fa")
    with open_sequences(path) as source:
        list(source.blocks())
        with pytest.raises(InputError, match="was read already"):
            list(source.blocks())
