"""The mapped store of sequences, and windows of a genome round intervals and variants."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import biolm
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.intervals import Interval, Variant, check_reference, read_bed, read_vcf, variant_window
from biolm.io.sequences import SequenceStore, build_store, holds_store, opened

CONTIGS = {"chr1": "ACGTACGTAA", "2": "ttttCCCC", "chrM": "GATTACA"}
VCF = (
    "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    "1\t3\trs1\tG\tA,<DEL>\t.\t.\t.\nchr2\t4\t.\tTC\tT\t.\t.\t.\nMT\t1\t.\tG\tGCC\t.\t.\t.\n"
)


@pytest.fixture
def store(tmp_path: Path) -> SequenceStore:
    fasta = tmp_path / "genome.fa"
    fasta.write_text("".join(f">{name} x\n{text[:5]}\n{text[5:]}\n" for name, text in CONTIGS.items()))
    return SequenceStore(build_store(opened([fasta]), tmp_path / "genome.store"))


def test_records_and_names(store: SequenceStore) -> None:
    assert holds_store(store.folder)
    assert store.names == list(CONTIGS)
    assert [store.record(row).tobytes().decode() for row in range(3)] == list(CONTIGS.values())
    assert [store.row(name) for name in ("1", "chr2", "MT", "M")] == [0, 1, 2, 2]
    with pytest.raises(InputError, match="no contig 'chr9'"):
        store.row("chr9")


@pytest.mark.parametrize(
    ("start", "end", "letters"),
    [(2, 6, "GTAC"), (-2, 3, "NNACG"), (8, 12, "AANN"), (20, 23, "NNN"), (-9, -6, "NNN"), (4, 4, "")],
)
def test_windows(store: SequenceStore, start: int, end: int, letters: str) -> None:
    assert store.window("chr1", start, end).tobytes().decode() == letters
    turned = store.window("chr1", start, end, reverse=True).tobytes().decode()
    assert turned == letters[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_a_store_goes_to_a_worker_without_its_map(store: SequenceStore) -> None:
    assert store.letters.shape == (25,)
    again = pickle.loads(pickle.dumps(store))
    assert again._letters is None
    assert np.array_equal(again.letters, store.letters)


def test_a_store_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    bad = tmp_path / "bad.fa"
    bad.write_text(">a\nACGT\n>b\n")
    with pytest.raises(InputError, match="has no letters"):
        build_store(opened([bad]), tmp_path / "bad.store")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.fa"]
    bad.write_text(">a\nACGT\n")
    build_store(opened([bad]), tmp_path / "bad.store")
    with pytest.raises(OutputError, match="exists already"):
        build_store(opened([bad]), tmp_path / "bad.store")


def test_pack_makes_a_store(tmp_path: Path, shared: Path) -> None:
    fasta = tmp_path / "a.fa"
    fasta.write_text(">a\nACGT\n")
    assert SequenceStore(biolm.pack([fasta], tmp_path / "out")).names == ["a"]
    with pytest.raises(ConfigError, match="mixes sequences"):
        biolm.pack([fasta, shared / "data" / "cells" / "hsmm_80.h5ad"], tmp_path / "two")


def test_bed(tmp_path: Path, store: SequenceStore) -> None:
    path = tmp_path / "some.bed"
    path.write_text("track name=x\n#c\nchr1\t2\t6\tpeak\t0\t-\n2 0 3\n")
    first, second = read_bed(path)
    assert first == Interval(contig="chr1", start=2, end=6, name="peak", strand="-")
    assert second == Interval(contig="2", start=0, end=3)
    piece = store.window(first.contig, first.start, first.end, reverse=first.strand == "-")
    assert piece.tobytes() == b"GTAC"
    path.write_text("chr1\t9\t6\n")
    with pytest.raises(InputError, match=r"line 1 of .* is no interval"):
        list(read_bed(path))


def test_vcf(tmp_path: Path, store: SequenceStore) -> None:
    path = tmp_path / "some.vcf"
    path.write_text(VCF)
    variants = list(read_vcf(path))
    assert [(v.contig, v.start, v.reference, v.alternative) for v in variants] == [
        ("1", 2, "G", "A"),
        ("chr2", 3, "TC", "T"),
        ("MT", 0, "G", "GCC"),
    ]
    for variant in variants:
        check_reference(store, variant, "some.vcf")
    windows = [variant_window(store, variant, 5) for variant in variants]
    assert (windows[0].reference, windows[0].alternative) == (b"ACGTA", b"ACATA")
    assert (windows[1].reference, windows[1].alternative) == (b"TTCCC", b"TTCCC")
    assert (windows[2].reference, windows[2].alternative) == (b"NGATT", b"NGCCA")
    for window, variant in zip(windows, variants, strict=True):
        assert window.alternative[window.place :].startswith(variant.alternative.encode())


def test_bad_variants(tmp_path: Path, store: SequenceStore) -> None:
    path = tmp_path / "some.vcf"
    path.write_text("chr1\t3\t.\tG\tA\n")
    with pytest.raises(InputError, match="is no VCF"):
        list(read_vcf(path))
    path.write_text(VCF + "chr1\tx\t.\tG\tA\n")
    with pytest.raises(InputError, match=r"line 6 of .* is no variant"):
        list(read_vcf(path))
    wrong = Variant(contig="chr1", start=2, reference="T", alternative="A", line=7)
    with pytest.raises(InputError, match=r"line 7 of a.vcf has reference T at chr1:3 but the genome holds G"):
        check_reference(store, wrong, "a.vcf")
    with pytest.raises(InputError, match="no contig 'HLA'"):
        check_reference(store, Variant(contig="HLA", start=2, reference="T", alternative="A"), "a.vcf")
