"""Tables of mutations and VCFs as people have them: the right score, none, or the sentence that refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_model

import biolm
from biolm.errors import InputError
from biolm.models.sequence_model import SequenceModel
from biolm.tasks.variants.mutations import (
    Mutation,
    apply_mutations,
    fitting_offset,
    parse_mutations,
)

NAMES = [
    "Ala",
    "Cys",
    "Asp",
    "Glu",
    "Phe",
    "Gly",
    "His",
    "Ile",
    "Lys",
    "Leu",
    "Met",
    "Asn",
    "Pro",
    "Gln",
    "Arg",
    "Ser",
    "Thr",
    "Val",
    "Trp",
    "Tyr",
]
THREE = dict(zip("ACDEFGHIKLMNPQRSTVWY", NAMES, strict=True))


@pytest.fixture(scope="module")
def awkward(shared: Path) -> Path:
    return shared / "data/awkward/sequences"


@pytest.fixture(scope="module")
def protein() -> SequenceModel:
    return small_model(max_length=80)


@pytest.fixture(scope="module")
def dna() -> SequenceModel:
    return small_model("dna", max_length=60)


def scores(file: Path | list[str], model: SequenceModel, wild: Path, **options: object) -> np.ndarray:
    found = biolm.score_variants(file, model=model, sequence=wild, **options)  # type: ignore[arg-type]
    return np.asarray(found.columns[found.names[0]], np.float64)


# What each table means, as single mutations of the protein; None where there is no score.
TABLES: dict[str, list[str | None]] = {
    "v1_syn.csv": ["wt", "wt", "wt", "A5G:R6A"],
    "v2_comma.csv": ["A5G:R6A"],
    "v3_stop.csv": ["A5G", None],
    "v3b_del.csv": ["A5G", None],
    "v4_hgvs.csv": ["A5G"],
    "v6_bom_crlf.csv": ["A5G", "R6A", "I7A"],
    "v7_semicolon.csv": ["A5G", "R6A"],
    "v8_indels.csv": [None, None, "Q21A"],
    "v8b_indels_mutseq.csv": [None, None, "Q21A"],
    "v10_X.csv": ["A5X", "A5B", None],
    "v11_space.csv": ["A5G", "R6A", "I7A", "C8A"],
    "v12_case.csv": ["A5G"],
    "v13_lower.csv": ["A5G"],
}


@pytest.mark.parametrize("name", TABLES)
def test_what_tables_mean(awkward: Path, protein: SequenceModel, name: str) -> None:
    wild = awkward / "v_wild.fasta"
    wanted = np.full(len(TABLES[name]), np.nan)
    known = [row for row, text in enumerate(TABLES[name]) if text is not None]
    wanted[known] = scores([str(TABLES[name][row]) for row in known], protein, wild)
    np.testing.assert_allclose(scores(awkward / name, protein, wild), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("v5_offset.csv", r"line 2 .* expects Y at place 24 .*; all of them fit with `offset=23`"),
        ("v9_stopseq.csv", r"line 2 .* needs mutations such as A24G, .*; use pseudo-perplexity or one-pass"),
        ("v14_twice.csv", r"line 2 .* 'A5G:A5Y' changes one place twice"),
        ("v15_dupcol.csv", r"has a column biolm_masked_marginal already; choose another `key`"),
        ("long_mut.csv", r"line 2 .*mutation I1A expects I at place 1 but the protein has Y"),
    ],
)
def test_what_tables_are_refused_with(
    awkward: Path, protein: SequenceModel, name: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        scores(awkward / name, protein, awkward / "v_wild.fasta")


def test_places_of_another_numbering(awkward: Path, protein: SequenceModel) -> None:
    wild = awkward / "v_wild.fasta"
    found = scores(awkward / "v5_offset.csv", protein, wild, offset=23)
    own = ["Y1A", "K2A", "N3A", "T4A", "A5G"]
    np.testing.assert_allclose(found[:5], scores(own, protein, wild), rtol=1e-5, atol=1e-6)


def test_a_stop_that_cuts_a_sequence_has_no_score(awkward: Path, protein: SequenceModel) -> None:
    found = scores(awkward / "v9_stopseq.csv", protein, awkward / "v_wild.fasta", method="one-pass")
    assert np.isnan(found).tolist() == [False, True]


def test_a_final_stop_and_lower_case_change_nothing(awkward: Path, protein: SequenceModel) -> None:
    found = [
        biolm.score_variants(["A5G"], model=protein, sequence=awkward / name)
        for name in ("v_wild.fasta", "v_wild_stop.fasta", "v_wild_lower.fasta")
    ]
    values = [float(each.columns[each.names[0]][0]) for each in found]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)
    assert [each.provenance["final_stops"] for each in found] == [0, 1, 0]
    scan = biolm.score_variants(awkward / "v_wild_stop.fasta", model=protein, scan=True)
    assert len(scan) == 60 * 19


def test_letters_of_the_protein_follow_the_policy(awkward: Path, protein: SequenceModel) -> None:
    wild = awkward / "w_unk.fasta"
    found = biolm.score_variants(["M1A", "A4G", "J5A"], model=protein, sequence=wild)
    assert np.isnan(found.columns[found.names[0]]).tolist() == [False, False, True]
    assert found.provenance["unknown_letters"] == {"*": 1, "J": 1}
    for letters, sentence in (("error", "letter '\\*' at place 3"), ("skip", r"does not know \('\*', 'J'\)")):
        with pytest.raises(InputError, match=sentence):
            biolm.score_variants(["M1A"], model=protein, sequence=wild, letters=letters)
    with pytest.raises(InputError, match=r"variant 1: .* no token for the letter 'J'"):
        biolm.score_variants(["A5J"], model=protein, sequence=awkward / "v_wild.fasta", letters="error")


def test_a_long_protein_is_read_in_windows(awkward: Path) -> None:
    model = small_model(max_length=1026)
    for name in ("long.fasta", "long_one.fasta"):
        found = scores(awkward / "long_mut.csv", model, awkward / name, method="wt-marginal")
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[6], found[0] + found[5], rtol=1e-5, atol=1e-5)


WORDS = st.lists(
    st.tuples(st.integers(1, 400), st.sampled_from(sorted(THREE)), st.sampled_from(sorted(THREE))),
    min_size=1,
    max_size=4,
    unique_by=lambda word: word[0],
)


@given(words=WORDS, separator=st.sampled_from([":", ",", ";", " ", ", "]), offset=st.integers(-5, 50))
def test_mutations_mean_the_same_however_they_are_written(
    words: list[tuple[int, str, str]], separator: str, offset: int
) -> None:
    wanted = tuple(Mutation(old, place - 1 - offset, new) for place, old, new in words)
    short = separator.join(f"{old}{place}{new}" for place, old, new in words)
    long = ";".join(f"{THREE[old]}{place}{THREE[new]}" for place, old, new in words)
    for text in (short, short.lower(), f"p.[{long}]", f"NP_1.2:p.[{long}]"):
        assert parse_mutations(text, offset=offset) == wanted


@given(st.text("ACDEFGHIKLMNPQRSTVWY", min_size=8, max_size=30), st.integers(-40, 900), st.data())
def test_offsets_are_found(sequence: str, shift: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(sequence) - 1), min_size=1, max_size=5, unique=True))
    variants = [(Mutation(sequence[place], place + shift, "A"),) for place in places]
    assert fitting_offset(variants, sequence) in (shift, None)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("R6*", ["R6*"]),
        ("p.Arg6Ter", ["R6*"]),
        ("p.(Arg6del)", ["R6-"]),
        ("R6-", ["R6-"]),
        ("p.Arg6_Cys8del", ["R6-", "?7-", "C8-"]),
        ("p.Arg6fs", ["R6?"]),
        ("p.Arg6ProfsTer23", ["R6?"]),
        ("p.Arg6dup", ["R6?"]),
        ("p.Arg6=", ["R6R"]),
        ("p.=", []),
    ],
)
def test_what_is_no_substitution(text: str, changes: list[str]) -> None:
    assert [str(each) for each in parse_mutations(text)] == changes
    if changes and all(change.endswith("-") for change in changes):
        assert apply_mutations("MKTAIRICGE", parse_mutations(text)).startswith("MKTAI")


# POS to INFO keys that are added, as (number of values, number of '.'), of lines that get any.
VCFS = {
    "w1_mixed.vcf": {"200": "3/0", "230": "2/1", "234": "1/0", "235": "2/0", "1": "1/0", "400": "1/0",
                     "60": "1/0",
                     "15": "1/0", "98": "1/0", "240": "2/1", "241": "1/0"},
    "w2_crlf.vcf": {"200": "1/0"},
    "w5_pos0.vcf": {},
    "w9_long_del.vcf": {},
    "w10_empty.vcf": {},
    "w12_nonl.vcf": {"200": "1/0"},
    "w15_iupacref.vcf": {"200": "1/0"},
    "w19_sv_only.vcf": {},
    "w20_ref_eq_alt.vcf": {"500": "1/0"},
}  # fmt: skip


@pytest.mark.parametrize("name", VCFS)
def test_lines_pass_through_with_what_scores_there_are(
    awkward: Path, dna: SequenceModel, tmp_path: Path, name: str
) -> None:
    reference = awkward / ("g6k.fa" if name in ("w19_sv_only.vcf", "w20_ref_eq_alt.vcf") else "g.fa")
    out = tmp_path / "o.vcf"
    biolm.score_variants(awkward / name, model=dna, reference=reference, output=out, window=40)
    before = (awkward / name).read_bytes().split(b"\n")
    after = [
        line
        for line in out.read_bytes().split(b"\n")
        if not line.startswith((b"##INFO=<ID=BIOLM", b"##BIOLM"))
    ]
    assert len(before) == len(after)
    found = {}
    for old, new in zip(before, after, strict=True):
        one, other = old.split(b"\t"), new.split(b"\t")
        assert one[:7] + one[8:] == other[:7] + other[8:]
        parts = [part for part in (other + [b""] * 8)[7].split(b";") if part.startswith(b"BIOLM_LLR=")]
        if parts:
            values = parts[0].decode().strip().removeprefix("BIOLM_LLR=").split(",")
            found[other[1].decode()] = f"{len(values)}/{values.count('.')}"
    assert found == VCFS[name]


def test_no_change_scores_nothing(awkward: Path, dna: SequenceModel) -> None:
    for method in ("masked-marginal", "wt-marginal", "one-pass"):
        found = biolm.score_variants(
            awkward / "w20_ref_eq_alt.vcf", model=dna, reference=awkward / "g6k.fa", window=40, method=method
        )
        assert found.columns["biolm_llr"].tolist() == [0]


def test_a_deletion_longer_than_the_window_costs_no_other_score(awkward: Path, dna: SequenceModel) -> None:
    options = {"model": dna, "reference": awkward / "g6k.fa", "window": 40, "strands": "forward"}
    values = [
        biolm.score_variants(awkward / name, **options).columns["biolm_llr"]
        for name in ("w16_longdel_last.vcf", "w17_snv_only.vcf", "w18.vcf.gz")
    ]
    assert np.isnan(values[0][-1])
    np.testing.assert_array_equal(values[0][:-1], values[1])
    np.testing.assert_array_equal(values[1], values[2])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("w3_mismatch.vcf", r"line 4 .* has reference C at 1:200 but the genome holds A"),
        ("w4_beyond.vcf", r"line 4 .* lies at 1:401 but the contig has 400 bases"),
        ("w6_unknowncontig.vcf", r"no contig 'GL000207.1' in .*g.fa, whose contigs are .* and others"),
        ("w7_noheader.vcf", r"is no VCF: it has no line '#CHROM"),
        ("w8_spaces.vcf", r"line 4 .* has no INFO column; a VCF line has at least eight columns"),
        ("w11_noinfo.vcf", r"line 3 .* has no INFO column"),
        ("w13_existing.vcf", r"line 3 .* holds BIOLM scores already; choose another `key`"),
        ("w14_hdrkey.vcf", r"line 4 .* has BIOLM scores in INFO already; choose another `key`"),
    ],
)
def test_what_vcfs_are_refused_with(awkward: Path, dna: SequenceModel, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        biolm.score_variants(awkward / name, model=dna, reference=awkward / "g.fa", window=40)
    assert "/tmp/biolm" not in str(caught.value)


def test_a_contig_that_is_there_twice_is_refused(awkward: Path, dna: SequenceModel) -> None:
    with pytest.raises(InputError, match=r"line 4 .*dup1.fa has several records named 'chr1'"):
        biolm.score_variants(awkward / "w2_crlf.vcf", model=dna, reference=awkward / "dup1.fa", window=40)


def test_letters_of_a_genome_follow_the_policy(tmp_path: Path, dna: SequenceModel) -> None:
    genome = tmp_path / "g.fa"
    genome.write_text(">chr1\n" + "ACGTTGCAAGCT" * 10 + "R" + "ACGTTGCAAGCT" * 10 + "\n")
    path = tmp_path / "v.vcf"
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    path.write_text(head + "".join(f"1\t{place}\t.\tA\tC\t.\t.\t.\n" for place in (13, 109)))
    for letters, without in (("unknown", [False, False]), ("skip", [False, True])):
        found = biolm.score_variants(path, model=dna, reference=genome, window=40, letters=letters)
        assert np.isnan(found.columns["biolm_llr"]).tolist() == without
        assert found.provenance["unknown_letters"] == {"R": 1}
    with pytest.raises(InputError, match="letter 'R' at place"):
        biolm.score_variants(path, model=dna, reference=genome, window=40, letters="error")


ALTERNATIVES = st.lists(
    st.sampled_from(["A", "C", "G", "T", "a", "AC", "GTTA", "<DEL>", "*", ".", "N", "R", "A[2:5["]),
    min_size=1,
    max_size=3,
)
INFO = st.sampled_from([".", "AF=1", "DB;AF=0.5"])
LINES = st.lists(st.tuples(st.integers(1, 60), ALTERNATIVES, INFO), max_size=6)


@settings(max_examples=15, deadline=None)
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_no_line_of_a_vcf_is_lost(
    lines: list[tuple[int, list[str], str]], end: str, last: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("vcf")
    genome = "ACGTTGCAAGCTTACG" * 5
    (folder / "g.fa").write_text(f">chr1\n{genome}\n")
    head = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts"]
    body = [
        f"1\t{place}\t.\t{genome[place - 1]}\t{','.join(alleles)}\t.\tPASS\t{info}\tGT\t0/1"
        for place, alleles, info in lines
    ]
    text = end.join([*head, *body]) + (end if last else "")
    (folder / "i.vcf").write_bytes(text.encode())
    model = small_model("dna", max_length=60)
    out = folder / "o.vcf"
    biolm.score_variants(folder / "i.vcf", model=model, reference=folder / "g.fa", output=out, window=20)
    found = out.read_bytes().decode().split(end)
    found = [line for line in found if not line.startswith(("##INFO=<ID=BIOLM", "##BIOLM"))]
    assert len(found) == len(text.split(end))
    for old, new, (_, alleles, info) in zip(body, found[2:], lines, strict=False):
        one, other = old.split("\t"), new.split("\t")
        assert one[:7] + one[8:] == other[:7] + other[8:]
        added = dict(part.split("=") for part in other[7].split(";") if part.startswith("BIOLM_"))
        assert all(len(values.split(",")) == len(alleles) for values in added.values())
        assert info == "." or other[7].startswith(info)
