"""Sequence files as people have them: what each is read as, or the sentence that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.adapters.sequences import Tally, admitted, cleaned, make_tokenizer
from biolm.errors import BiolmError, InputError
from biolm.io.intervals import read_bed
from biolm.io.sequences import SequenceBlock, SequenceStore, build_store, concatenate_blocks, open_sequences
from biolm.io.sequences.open import opened
from biolm.io.structures import read_chain
from biolm.training.config.read import read_config
from biolm.training.data.sources import expand


@pytest.fixture(scope="module")
def awkward(shared: Path) -> Path:
    return shared / "data/awkward/sequences"


def read(path: Path, **options: object) -> SequenceBlock:
    with open_sequences(path, **options) as source:  # type: ignore[arg-type]
        return concatenate_blocks(list(source.blocks()))


SIRT = "MPTTSRPALDV"
READ = {
    "a10_emptyname.fasta": {"1": SIRT, "2": "MKTAY"},
    "a12_bom.fasta": {"a": SIRT, "b": "MKLV"},
    "a4_crlf.fasta": {"a": f"{SIRT}MKT", "b": "MKLV"},
    "a5_cr_only.fasta": {"a": f"{SIRT}MKT", "b": "MKLV"},
    "a6_semicolon.fasta": {"a": SIRT},
    "a7_spaces.fasta": {"a": SIRT, "b": "MKTAY"},
    "a8_digits.fasta": {"a": "1MPTTSRPALD1011VMKT14", "b": "MKLV"},
    "a2_headers.fasta": {
        "sp|Q99966|CITE1_HUMAN": SIRT,
        "leading": SIRT,
        'tr|A0A/B\\C:D*?|"quoted"': SIRT,
        "naïve_µ": SIRT,
    },
    "latin.fasta": {"protéine": "MKTAYIAKQR"},
    "multi.fasta.gz": {"a": "MKTAYIAKQR", "b": "MKLV"},
    "notgz.fasta.gz": {"a": "MKTAYIAKQR"},
    "x.fasta.bz2": {"a": "MKTAYIAKQR"},
    "one.fasta": {"m": "M"},
    "q.fastq": {"r1": "ACGTACGT", "r2": "ACGT"},
    "stopcds.fa": {"x": "ATGAAATAA"},
    "k1.fasta": {"linker": "GGGGG"},
    "k2.fasta": {"pep": "MKTAYVAKR"},
    "k3.fasta": {"p1": "GATTACA", "p2": "AAGTA"},
    "k4.fasta": {"d1": "ACGTRYKMSWBDHVNACGTT"},
    "k5.fasta": {"rna": "AUGGCUAACGGAUUC"},
}


@pytest.mark.parametrize("name", READ)
def test_what_files_are_read_as(awkward: Path, name: str) -> None:
    block = read(awkward / name)
    assert {name: block.text(row) for row, name in enumerate(block.names)} == READ[name]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a11_emptyrec.fasta", "record 2 of .*, 'empty', has no letters"),
        ("a9_noheader.fasta", "is none of FASTA, .* it begins with 'MPTTSRPALDV'"),
        ("empty.fasta", "is empty"),
        ("hdr.fasta", "record 1 of .*, 'x', has no letters"),
        ("trunc.fasta.gz", "ends in the middle of its compressed data"),
        ("utf16.fasta", "is UTF-16 text; save it as UTF-8"),
    ],
)
def test_what_files_are_refused_with(awkward: Path, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read(awkward / name)


# What a model of residues reads of them, and how often something is taken out or unknown.
LETTERS = {
    ("a1_letters.fasta", "stop"): ("MKTAYIAKQR", {"stops": 1}),
    ("a1_letters.fasta", "clean"): ("MKTAYIAKQR", {}),
    ("a1_letters.fasta", "inner"): ("MKTA*YIAKQR", {"*": 1}),
    ("a1_letters.fasta", "gap"): ("MKTAYIAKQR", {"gaps": 4}),
    ("a1_letters.fasta", "lower"): ("mktayiakqr", {}),
    ("a1_letters.fasta", "sec"): ("MKUZOBJXR", {"J": 1}),
    ("a8_digits.fasta", "a"): ("1MPTTSRPALD1011VMKT14", {"0": 1, "1": 5, "4": 1}),
    ("mask.fasta", "p2"): ("KALTARQQEVFDLIRD_ISQTGMPPTRAEIAQRLG", {"masked": 1}),
    ("w_unk.fasta", "w"): ("MK*AJIAKQR", {"*": 1, "J": 1}),
    ("ter.fasta", "oneTwo"): ("1MKTAYIAKQR2", {"1": 1, "2": 1}),
    ("an.fasta", "sp|P00000|X_0"): ("PLICFHTPTLPLGYLTLNHTELLELLLQNNGALDLLRVDL", {"stops": 1}),
    ("odd.fasta", "chainH"): ("TYTTWIHWVHFTMGEYDRTHAWEDDIKATPTIWKNVAETL", {}),
}


def counted(tally: Tally) -> dict[str, int]:
    found = {name: getattr(tally, name) for name in ("stops", "gaps", "marks", "masked")}
    return {name: count for name, count in found.items() if count} | dict(tally.letters)


@pytest.mark.parametrize(("file", "record"), LETTERS)
def test_one_letter_policy(awkward: Path, file: str, record: str) -> None:
    esm, tally = make_tokenizer("esm"), Tally()
    whole = read(awkward / file)
    block = whole.take([whole.names.index(record)])
    text, counts = LETTERS[file, record]
    assert admitted(block, esm, "unknown", tally).text(0) == text
    assert counted(tally) == counts
    strange = [name for name in counts if len(name) == 1]
    assert len(admitted(block, esm, "skip", Tally())) == (not strange)
    if strange:
        with pytest.raises(InputError, match="not of the model's alphabet"):
            admitted(block, esm, "error", Tally())


def test_marks_of_progen2_are_taken_out(awkward: Path) -> None:
    progen, tally = make_tokenizer("progen2"), Tally()
    block = admitted(read(awkward / "ter.fasta"), progen, "unknown", tally)
    assert [block.text(row) for row in range(3)] == ["MKTAYIAKQR", "MKTAYIAKQR", "0MKTAYIAKQR"]
    assert counted(tally) == {"marks": 3, "0": 1}
    tokens = progen.tokenize(block)
    assert tokens.ids[:12].tolist() == tokens.ids[12:24].tolist()
    assert tokens.ids[[0, 11]].tolist() == [3, 4]


def test_masks_that_are_spelled_out(awkward: Path) -> None:
    block = read(awkward / "mask.fasta")
    esm = make_tokenizer("esm")
    assert esm.tokenize(cleaned(block, esm)).ids[17] == esm.special.mask
    for name in ("progen2", "nt-v2"):
        with pytest.raises(InputError, match="'p2' masks a place, but the model has no mask for single"):
            cleaned(block, make_tokenizer(name))


@pytest.mark.parametrize("name", ["dna", "base", "nt-v1", "nt-v2", "dnabert-6"])
def test_dna_models_read_u_as_t_and_gaps_as_nothing(awkward: Path, name: str) -> None:
    tokenizer = make_tokenizer(name)
    block = read(awkward / "nrun.fa")
    texts = {label: block.text(row) for row, label in enumerate(block.names)}
    assert texts["u"] == "ACGUACGUUUGA"
    pairs = (texts["u"], "ACGTACGTTTGA"), (texts["gap"], "ACGTACGT"), (texts["soft"], texts["soft"].upper())
    for given_text, plain in pairs:
        one, other = (cleaned(SequenceBlock.of([text]), tokenizer) for text in (given_text, plain))
        assert tokenizer.tokenize(one).ids.tolist() == tokenizer.tokenize(other).ids.tolist()


ODD = st.text("ACDEMKXJ*-.12_", min_size=1, max_size=20)


@given(
    texts=st.lists(ODD, min_size=1, max_size=4), name=st.sampled_from(["esm", "protbert", "progen2", "dna"])
)
def test_cleaning_is_done_once_and_counts_what_it_takes(texts: list[str], name: str) -> None:
    tokenizer, tally = make_tokenizer(name), Tally()
    block = SequenceBlock.of(texts)
    try:
        once = cleaned(block, tokenizer, tally)
    except InputError as error:
        assert "nothing but gaps and stops" in str(error)  # noqa: PT017  # the text is what is tested
        return
    assert len(block.letters) - len(once.letters) == tally.gaps + tally.stops + tally.marks
    assert not set(once.letters.tobytes()) & set(b"-.")
    if name in ("esm", "protbert"):
        assert not any(once.text(row).endswith("*") for row in range(len(once)))
        again = cleaned(once, tokenizer)
        assert again.letters.tobytes() == once.letters.tobytes()
    if any(not set(once.text(row)) - set("12*") for row in range(len(once))):
        return  # marks that were doubled: a second look takes the rest, and there is nothing left to read
    # What is left is read letter by letter: gaps elsewhere change nothing.
    spread = SequenceBlock.of(["-".join(once.text(row)) for row in range(len(once))])
    both = [cleaned(block, tokenizer).text(0).replace("*", "") for block in (spread, once)]
    assert both[0] == both[1]


def test_coding_sequences_that_wrap_and_join(awkward: Path) -> None:
    from Bio.Seq import Seq

    whole = read(awkward / "joins.gbk").text(0)
    found = read(awkward / "joins.gbk", features="CDS", translate=True)
    texts = {name: found.text(row) for row, name in enumerate(found.names)}

    def protein(*parts: str) -> str:
        return str(Seq("".join(parts)).translate()).removesuffix("*")

    assert texts["plain"] == protein(whole[9:69])
    assert texts["join"] == protein(whole[99:129], whole[149:179])
    assert texts["cjoin"] == protein(str(Seq(whole[199:229] + whole[249:279]).reverse_complement()))
    assert texts["trans"] == protein(whole[299:329], str(Seq(whole[349:379]).reverse_complement()))
    assert texts["partial"] == protein(whole[2:32])
    assert texts["origin"] == protein(whole[570:600], whole[:30])
    assert texts["pseudo"] == protein(whole[399:459])
    assert texts["tt"] == "MKKKK"


def test_several_records_of_one_name(awkward: Path, tmp_path: Path) -> None:
    store = SequenceStore(build_store(opened([awkward / "dup1.fa"]), tmp_path / "one"), "dup1.fa")
    with pytest.raises(InputError, match=r"dup1.fa has several records named 'chr1'; rename them"):
        store.window("1", 0, 5)
    two = SequenceStore(build_store(opened([awkward / "dup2.fa"]), tmp_path / "two"))
    assert two.window("1", 0, 5).tobytes() == b"tggcc"
    assert two.window("chr1", 0, 5).tobytes() == b"TGGCC"
    for name in ("dup1.fa", "a3_dupnames.fasta"):
        with pytest.raises(InputError, match=r"several records are named .*\(`duplicates='keep'`\)"):
            build_store(opened([awkward / name]), tmp_path / "strict", repeats=False)
        assert not (tmp_path / "strict").exists()


def test_links_are_one_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = tmp_path / "a.fasta"
    first.write_text(">x\nMKV\n")
    (tmp_path / "b.fasta").symlink_to(first)
    (tmp_path / "c.fasta").hardlink_to(first)
    (tmp_path / "d.fasta").write_text(">x\nMKV\n")
    assert [path.name for path in expand([tmp_path])] == ["a.fasta", "d.fasta"]
    assert [path.name for path in expand([tmp_path / "c.fasta", first])] == ["c.fasta"]
    assert "b.fasta is" in caplog.text
    assert "is read once" in caplog.text


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("b1.bed", [("chr1", 10, 22, "-"), ("1", 30, 33, "."), ("chr2", 0, 30, ".")]),
        ("b2_beyond.bed", [("chr2", 20, 40, ".")]),
        ("b3_reversed.bed", "line 1 of .* is no interval"),
        ("b4_crlf.bed", [("chr1", 10, 13, ".")]),
        ("b5_empty.bed", [("chr1", 10, 10, ".")]),
        ("b6_onebased_float.bed", "line 1 of .* is no interval"),
        ("b7_header.bed", "line 1 of .* is no interval"),
    ],
)
def test_intervals(awkward: Path, name: str, wanted: str | list[tuple[object, ...]]) -> None:
    if isinstance(wanted, str):
        with pytest.raises(InputError, match=wanted):
            list(read_bed(awkward / name))
    else:
        found = [(each.contig, each.start, each.end, each.strand) for each in read_bed(awkward / name)]
        assert found == wanted


def test_a_structure_with_odd_residues(awkward: Path) -> None:
    # Negative numbers, insertion codes, alternate places and a modified residue; two residues are unresolved.
    whole = read(awkward / "odd.fasta").text(0)
    assert read_chain(str(awkward / "odd.pdb")).sequence == whole.replace("ED", "", 1)
    assert read(awkward / "odd_long.fasta").text(0).startswith("MGSSTYTTW")


CONFIGS = {
    "y_anchor": "", "y_bigbatch": "", "y_bom": "", "y_crlf": "", "y_env": "", "y_merge2": "", "y_null": "",
    "y_octal": "", "y_ok": "", "y_pathdup": "", "y_pathstr": "", "y_smallbatch": "", "y_underscore": "",
    "y_val0": "", "y_bool": "whole number, not True", "y_dupkey": "'trainer' stands twice",
    "y_dupnested": "'validation' stands twice", "y_empty": "no table of settings",
    "y_list": "no table of settings",
    "y_float_int": "whole number, not 6.0", "y_merge": "no setting 'x'", "y_multi": "not valid YAML",
    "y_name_number": "must be text, not 2024", "y_no": "must be text, not False",
    "y_python": "not valid YAML",
    "y_str_int": "whole number, not '6'", "y_tab": "not valid YAML", "y_unknown": "no setting 'optimizer'",
    "y_val1": r"lie in \[0, 1\)", "y_val10": r"lie in \[0, 1\)", "y_val_pct": "must be a number",
    "y_lr0": "", "y_lr_inf": "", "y_lr_nan": "", "y_lrneg": "", "y_lr_huge": "", "y_betas_str": "",
    "y_1e-3_string": "", "y_rate_sci": "", "ok": "",
}  # fmt: skip
REFUSED = ("y_lr0", "y_lr_inf", "y_lr_nan", "y_lrneg", "y_betas_str")


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_of_runs(awkward: Path, name: str) -> None:
    path = awkward / "train" / f"{name}.yaml"
    if CONFIGS[name] or name in REFUSED:
        with pytest.raises(BiolmError, match=CONFIGS[name] or "optimiser") as caught:
            read_config(path)
        assert "unicode string" not in str(caught.value)
    elif "rate:" not in path.read_text():
        assert read_config(path).name == "t"


NO_CELLS = ["x.fasta.bz2", "multi.fasta.gz", "joins.gbk", "q.fastq", "a6_semicolon.fasta"]


@pytest.mark.parametrize("name", NO_CELLS)
def test_sequences_are_no_cells_and_said_to_be_none(awkward: Path, name: str) -> None:
    from biolm.io.cells import open_cells

    with pytest.raises(BiolmError, match=r"holds sequences \(.*\), no cells; give a file of cells"):
        open_cells(awkward / name)


def test_every_file_has_a_test(awkward: Path, repository: Path) -> None:
    # The cell table and the scripts that make models and faults are no inputs of sequences.
    rest = {"faults.sh", "make_models.py"}
    names = {path.name for path in awkward.iterdir() if path.is_file()} - rest
    texts = "".join(path.read_text(encoding="utf-8") for path in (repository / "tests").rglob("test_*.py"))
    assert sorted(name for name in names if name not in texts) == []
    trains = {path.stem for path in (awkward / "train").glob("*.yaml")}
    assert trains == CONFIGS.keys()
