"""VCF in, VCF out: likelihoods of alleles on a genome."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from small_models import slow_causal, slow_pseudo, small_model

import biolm
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.intervals import Variant
from biolm.io.sequences import SequenceStore, build_store, opened
from biolm.tasks.variants.genome import inner_window

OTHER = dict(zip("ACGT", "CGTA", strict=True))
PAIRS = str.maketrans("ACGT", "TGCA")
WIDTH = 24
CLOSE = {"rtol": 3e-5, "atol": 3e-5}


@pytest.fixture(scope="module")
def genome() -> str:
    return "".join(np.random.default_rng(2).choice(list("ACGT"), 120))


@pytest.fixture(scope="module")
def fasta(genome, tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(f">chr1 one\n{genome[:70]}\n{genome[70:].lower()}\n>chrM\nACGTACGTACGTAA\n")
    return path


@pytest.fixture(scope="module")
def encoder():
    return small_model("dna", max_length=40)


@pytest.fixture(scope="module")
def decoder():
    return small_model("dna", causal=True, max_length=40)


def text_of(genome: str, *lines: str) -> str:
    header = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=1>",
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts",
    ]
    return "\n".join([*header, *lines]) + "\n"


def snv(genome: str, position: int, info: str = ".") -> str:
    letter = genome[position - 1]
    return f"1\t{position}\trs{position}\t{letter}\t{OTHER[letter]}\t50\tPASS\t{info}\tGT\t0/1"


def with_allele(genome: str, position: int, reference: str, alternative: str) -> tuple[str, str]:
    """Both windows, cut by hand."""
    before = (WIDTH - max(len(reference), len(alternative))) // 2
    begin = max(0, min(position - 1 - before, len(genome) - WIDTH))
    changed = genome[: position - 1] + alternative + genome[position - 1 + len(reference) :]
    return genome[begin : begin + WIDTH], changed[begin : begin + WIDTH]


def both(score, text: str) -> float:
    return (score(text) + score(text[::-1].translate(PAIRS))) / 2


@pytest.mark.parametrize("method", ["causal", "pseudo-perplexity"])
def test_likelihoods_are_means_of_both_strands(method, genome, fasta, tmp_path, encoder, decoder):
    path = tmp_path / "in.vcf"
    insertion = f"{genome[59]}ACG"
    deletion = genome[79:84]
    multi = f"1\t60\t.\t{genome[59]}\t{insertion},{OTHER[genome[59]]},<DEL>\t.\t.\tAF=1"
    lines = [snv(genome, 1), multi, f"1\t80\t.\t{deletion}\t{deletion[0]}\t.\t.\t.", snv(genome, 119)]
    path.write_text(text_of(genome, *lines))
    model, slow = (decoder, slow_causal) if method == "causal" else (encoder, slow_pseudo)
    found = biolm.score_variants(path, model=model, method=method, reference=fasta, window=WIDTH)
    alleles = [
        (1, genome[0], OTHER[genome[0]]),
        (60, genome[59], insertion),
        (60, genome[59], OTHER[genome[59]]),
        (80, deletion, deletion[0]),
        (119, genome[118], OTHER[genome[118]]),
    ]
    for row, allele in enumerate(alleles):
        first, second = with_allele(genome, *allele)
        assert len(first) == len(second) == WIDTH
        reference, alternative = (both(lambda text: sum(slow(model, text)), each) for each in (first, second))
        np.testing.assert_allclose(found.columns["biolm_ref_ll"][row], reference, **CLOSE)
        np.testing.assert_allclose(found.columns["biolm_alt_ll"][row], alternative, **CLOSE)
        np.testing.assert_allclose(
            found.columns["biolm_llr"][row], alternative - reference, rtol=1e-3, atol=2e-4
        )
    forward = biolm.score_variants(
        path, model=model, method=method, reference=fasta, window=WIDTH, strands="forward"
    )
    wanted = sum(slow(model, with_allele(genome, *alleles[0])[0]))
    np.testing.assert_allclose(forward.columns["biolm_ref_ll"][0], wanted, **CLOSE)


def test_the_marginal_hides_the_allele_alone(genome, fasta, tmp_path, encoder):
    path = tmp_path / "in.vcf"
    lines = [snv(genome, 30), f"1\t60\t.\t{genome[59]}\t{genome[59]}A\t.\t.\t."]
    path.write_text(text_of(genome, *lines))
    found = biolm.score_variants(path, model=encoder, reference=fasta, window=WIDTH)
    first, _ = with_allele(genome, 30, genome[29], OTHER[genome[29]])
    place = (WIDTH - 1) // 2

    def reference(text: str, at: int) -> float:
        return slow_pseudo(encoder, text)[at]

    wanted = (reference(first, place) + reference(first[::-1].translate(PAIRS), WIDTH - 1 - place)) / 2
    np.testing.assert_allclose(found.columns["biolm_ref_ll"][0], wanted, **CLOSE)
    assert np.isnan(found.columns["biolm_llr"][1])


def test_lines_go_out_as_they_came(genome, fasta, tmp_path, encoder):
    path = tmp_path / "in.vcf"
    symbolic = "1\t33\t.\tN\t<INS>\t.\t.\tSVTYPE=INS\tGT\t0/1"
    text = text_of(
        genome, snv(genome, 20), snv(genome, 21, "AF=0.5;DB"), symbolic.replace("\tN\t", f"\t{genome[32]}\t")
    )
    path.write_bytes(text.replace("\n", "\r\n").encode())
    out = tmp_path / "out.vcf.gz"
    found = biolm.score_variants(
        path, model=encoder, reference=fasta, window=WIDTH, output=out, distances=True
    )
    before, after = path.read_bytes().split(b"\n"), gzip.decompress(out.read_bytes()).split(b"\n")
    added = [line for line in after if line.startswith((b"##INFO=<ID=BIOLM_", b"##BIOLM_scores="))]
    assert len(added) == 6
    assert all(line.endswith(b"\r") for line in added)
    assert b'method="masked-marginal"' in added[-1]
    kept = [line for line in after if line not in added]
    assert kept[:3] == before[:3]
    assert kept[5:] == before[5:]
    for row, (old, new) in enumerate(zip(before[3:5], kept[3:5], strict=True)):
        one, other = old.split(b"\t"), new.split(b"\t")
        assert one[:7] + one[8:] == other[:7] + other[8:]
        info = dict(part.split(b"=") for part in other[7].split(b";") if b"=" in part)
        assert float(info[b"BIOLM_LLR"]) == pytest.approx(float(found.columns["biolm_llr"][row]), rel=1e-5)
        assert float(info[b"BIOLM_L2"]) > 0
    assert kept[4].split(b"\t")[7].startswith(b"AF=0.5;DB;BIOLM_LLR=")
    assert out.read_bytes()[12:14] == b"BC"
    with pytest.raises(InputError, match="holds BIOLM scores already; choose another `key`"):
        biolm.score_variants(out, model=encoder, reference=fasta)
    biolm.score_variants(out, model=encoder, reference=fasta, key="SECOND", output=tmp_path / "twice.vcf")
    assert b"BIOLM_LLR=" in (tmp_path / "twice.vcf").read_bytes()
    assert b";SECOND_LLR=" in (tmp_path / "twice.vcf").read_bytes()


def test_distances_are_those_of_embeddings(genome, fasta, tmp_path, encoder):
    from biolm.io.sequences import SequenceBlock
    from biolm.models.sequence_model import SequenceOptions

    path = tmp_path / "in.vcf"
    path.write_text(text_of(genome, snv(genome, 50)))
    found = biolm.score_variants(
        path, model=encoder, reference=fasta, window=WIDTH, distances=True, strands="forward"
    )
    texts = with_allele(genome, 50, genome[49], OTHER[genome[49]])
    first, second = encoder.embed(SequenceBlock.of(texts), SequenceOptions()).astype(float)
    cosine = 1 - first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    np.testing.assert_allclose(found.columns["biolm_cos"][0], cosine, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(found.columns["biolm_l2"][0], np.linalg.norm(first - second), rtol=1e-4)


def test_a_store_gives_what_its_fasta_gives(genome, fasta, tmp_path, encoder):
    path = tmp_path / "in.vcf"
    path.write_text(text_of(genome, snv(genome, 50), "MT\t5\t.\tA\tC\t.\t.\t."))
    store = build_store(opened([fasta]), tmp_path / "genome.store")
    one = biolm.score_variants(path, model=encoder, reference=fasta, window=WIDTH)
    other = biolm.score_variants(path, model=encoder, reference=store, window=WIDTH)
    np.testing.assert_array_equal(one.columns["biolm_llr"], other.columns["biolm_llr"])
    assert np.isfinite(one.columns["biolm_llr"]).all()


@pytest.mark.parametrize(
    ("start", "reference", "alternative"),
    [(0, 1, "C"), (119, 1, "C"), (110, 9, "T"), (5, 1, "GGGG"), (118, 1, "GGGG")],
)
def test_windows_stay_inside_the_contig(start, reference, alternative, genome, fasta, tmp_path):
    store = SequenceStore(build_store(opened([fasta]), tmp_path / "genome.store"))
    variant = Variant(
        contig="1", start=start, reference=genome[start : start + reference], alternative=alternative
    )
    window = inner_window(store, variant, WIDTH)
    assert b"N" not in window.reference + window.alternative
    assert len(window.reference) == len(window.alternative) == WIDTH
    assert window.reference.decode() in genome
    assert window.reference[window.place : window.place + reference].decode() == variant.reference
    changed = genome[:start] + alternative + genome[start + reference :]
    assert window.alternative.decode() in changed


def test_kmers_and_pairs_of_bytes_have_likelihoods_too(genome, fasta, tmp_path):
    path = tmp_path / "in.vcf"
    path.write_text(text_of(genome, snv(genome, 50), f"1\t60\t.\t{genome[59]}\t{genome[59]}A\t.\t.\t."))
    model = small_model("nt-v2", max_length=20)
    for method in ("masked-marginal", "one-pass", "wt-marginal", "pseudo-perplexity"):
        found = biolm.score_variants(path, model=model, method=method, reference=fasta, window=36)
        assert np.isfinite(found.columns["biolm_llr"]).tolist() == [True, "marginal" not in method]


def test_bad_input_is_named_with_its_line(genome, fasta, tmp_path, encoder, decoder):
    path = tmp_path / "in.vcf"
    wrong = OTHER[genome[49]]
    cases = (
        (f"1\t50\t.\t{wrong}\tA\t.\t.\t.", r"line 5 of .*in.vcf has reference .* but the genome holds"),
        ("7\t50\t.\tA\tC\t.\t.\t.", r"line 5 of .*in.vcf: there is no contig '7' in"),
        ("1\t50\t.\tA\tC", r"line 5 of .*in.vcf has no INFO column"),
        ("1\tx\t.\tA\tC\t.\t.\t.", r"line 5 of .*in.vcf is no variant"),
        ("1\t500\t.\tA\tC\t.\t.\t.", r"line 5 of .*in.vcf lies at 1:500 but the contig has 120 bases"),
    )
    for line, words in cases:
        path.write_text(text_of(genome, snv(genome, 20), line))
        with pytest.raises(InputError, match=words):
            biolm.score_variants(path, model=encoder, reference=fasta, window=WIDTH)
    out = tmp_path / "empty.vcf"
    for lines in ((), ("1\t33\t.\tN\t<INS>\t.\t.\tSVTYPE=INS",), ("1\t33\t.\t.\tA\t.\t.\t.",)):
        path.write_text(text_of(genome, *lines))
        assert not len(biolm.score_variants(path, model=encoder, reference=fasta, output=out, overwrite=True))
        assert [line for line in out.read_text().splitlines(keepends=True) if "BIOLM" not in line] == (
            path.read_text().splitlines(keepends=True)
        )
    path.write_text("1\t50\t.\tA\tC\t.\t.\t.\n")
    with pytest.raises(InputError, match="no line '#CHROM"):
        biolm.score_variants(path, model=encoder, reference=fasta)
    path.write_text(text_of(genome, snv(genome, 20)))
    with pytest.raises(ConfigError, match="a VCF needs a model of DNA, but small reads proteins"):
        biolm.score_variants(path, model=small_model(), reference=fasta)
    with pytest.raises(ConfigError, match="a VCF needs the genome"):
        biolm.score_variants(path, model=encoder)
    with pytest.raises(ConfigError, match="one method at a time"):
        biolm.score_variants(path, model=encoder, reference=fasta, method=["one-pass", "wt-marginal"])
    with pytest.raises(ConfigError, match=r"use .vcf or .vcf.gz"):
        biolm.score_variants(path, model=encoder, reference=fasta, output=tmp_path / "out.csv")
    with pytest.raises(ConfigError, match="left to right"):
        biolm.score_variants(path, model=decoder, reference=fasta, method="masked-marginal")
    long = f"1\t20\t.\t{genome[19]}\t{genome[19]}{'A' * 30}\t.\t.\t."
    path.write_text(text_of(genome, long))
    found = biolm.score_variants(path, model=encoder, reference=fasta, window=WIDTH, method="one-pass")
    assert np.isnan(found.columns["biolm_llr"]).tolist() == [True]


def test_a_killed_job_goes_on(genome, fasta, tmp_path, decoder, monkeypatch):
    from biolm.tasks.variants import vcf_run

    monkeypatch.setattr(vcf_run, "_READ", 3)
    path, out = tmp_path / "in.vcf", tmp_path / "out.vcf"
    path.write_text(text_of(genome, *(snv(genome, position) for position in range(20, 31))))
    whole = tmp_path / "whole.vcf"
    options = {"model": decoder, "reference": fasta, "window": WIDTH}
    biolm.score_variants(path, output=whole, **options)
    real, calls = vcf_run.score_windows, []

    def killed(*arguments, **more):
        calls.append(len(arguments[1]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(vcf_run, "score_windows", killed)
    with pytest.raises(KeyboardInterrupt):
        biolm.score_variants(path, output=out, **options)
    assert not out.exists()
    biolm.score_variants(path, output=out, resume=True, **options)
    assert calls == [3, 3, 3, 3, 2]
    assert out.read_bytes() == whole.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        biolm.score_variants(path, output=out, **options)


def test_shards_merge_to_the_bytes_of_the_whole_and_jobs_resume(
    genome, fasta, tmp_path, encoder, monkeypatch
):
    from biolm.io.sequences import stream
    from biolm.tasks.variants import vcf, vcf_run

    monkeypatch.setattr(vcf_run, "_READ", 2)
    monkeypatch.setattr(vcf_run, "_HIDDEN", 2)
    path = tmp_path / "in.vcf"
    path.write_text(text_of(genome, *(snv(genome, place) for place in range(20, 27))))
    opened = []

    def counting(name):
        opened.append(name)
        return stream.open_stream(name)

    def job(output, **more):
        asked = {"model": encoder, "reference": fasta, "window": WIDTH}
        biolm.score_variants(path, output=output, **asked, **more)
        return output

    monkeypatch.setattr(vcf, "open_stream", counting)
    monkeypatch.setattr("biolm.io.intervals.open_stream", counting)
    whole = job(tmp_path / "whole.vcf")
    assert opened.count(path) == 3  # looked at, scored, written
    parts = [job(tmp_path / f"s{n}", shard=f"{n}/3") for n in (1, 2, 3)]
    assert biolm.merge(parts[::-1], tmp_path / "made.vcf").read_bytes() == whole.read_bytes()
    compute, calls = vcf_run._Work.compute, []

    def dying(self, block):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(block)
        return compute(self, block)

    monkeypatch.setattr(vcf_run._Work, "compute", dying)
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "part.vcf")
    monkeypatch.setattr(vcf_run._Work, "compute", compute)
    assert job(tmp_path / "part.vcf", resume=True).read_bytes() == whole.read_bytes()
