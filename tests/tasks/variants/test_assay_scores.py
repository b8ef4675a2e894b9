"""Tables of mutations of proteins: read, scored, written beside BLOSUM62 and measurements."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from small_models import slow_pseudo, small_model

import biolm
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.table import side_car
from biolm.tasks.variants.assay import Assay
from biolm.tasks.variants.baseline import blosum_scores, rank_correlation
from biolm.tasks.variants.mutations import parse_mutations

WILD = "MKTAYIAKQRQISFVK"
TABLE = """mutant,mutated_sequence,DMS_score,DMS_score_bin,note
K2R,MRTAYIAKQRQISFVK,1.5,1,"a, quoted"
A4G:K16W,MKTGYIAKQRQISFVW,-0.25,0,
M1L,LKTAYIAKQRQISFVK,,0,no measurement
R10D,MKTAYIAKQDQISFVK,0.75,1,00012
"""


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "PROT_Somebody_2020.csv"
    path.write_text(TABLE)
    return path


def test_rows_go_out_as_they_came_with_scores_beside_them(model, table, tmp_path):
    out = tmp_path / "out.csv"
    methods = ("masked-marginal", "wt-marginal", "one-pass", "pseudo-perplexity")
    found = biolm.score_variants(table, model=model, method=methods, output=out)
    read = pd.read_csv(out, dtype=str, keep_default_na=False)
    before = pd.read_csv(table, dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(read[before.columns], before)
    assert read["note"].tolist() == ["a, quoted", "", "no measurement", "00012"]
    assert found.names == (
        "biolm_masked_marginal", "biolm_wt_marginal", "biolm_one_pass", "biolm_pseudo_perplexity",
        "biolm_blosum62",
    )  # fmt: skip
    for name in found.names:
        np.testing.assert_allclose(read[name].astype(float), found.columns[name], rtol=1e-6)
        assert found.correlations[name]["variants"] == 3
    slow = np.mean(slow_pseudo(model, "MRTAYIAKQRQISFVK")) - np.mean(slow_pseudo(model, WILD))
    np.testing.assert_allclose(found.columns["biolm_pseudo_perplexity"][0], slow, rtol=1e-4, atol=1e-5)
    facts = json.loads(side_car(out).read_text())["biolm"]
    assert facts["method"] == "masked-marginal, wt-marginal, one-pass, pseudo-perplexity"
    assert facts["spearman"]["biolm_blosum62"]["variants"] == 3
    assert found.frame().shape == (4, 10)
    again = tmp_path / "again.csv"
    biolm.score_variants(table, model=model, method=methods, output=again)
    assert again.read_bytes() == out.read_bytes()


def test_the_protein_may_come_from_fasta_reference_table_or_the_rows(model, table, tmp_path):
    (tmp_path / "wild.fasta").write_text(f">wild\n{WILD[:8]}\n{WILD[8:].lower()}\n")
    assays = tmp_path / "DMS_substitutions.csv"
    assays.write_text(f"DMS_id,DMS_filename,target_seq\nPROT,PROT_Somebody_2020.csv,{WILD}\n")
    wanted = biolm.score_variants(table, model=model).columns["biolm_masked_marginal"]
    for given in ({"sequence": WILD}, {"sequence": tmp_path / "wild.fasta"}, {"assays": assays}):
        found = biolm.score_variants(table, model=model, **given).columns["biolm_masked_marginal"]
        np.testing.assert_array_equal(found, wanted)
    listed = biolm.score_variants(["K2R", "A4G:K16W", "M1L", "R10D"], model=model, sequence=WILD)
    np.testing.assert_array_equal(listed.columns["biolm_masked_marginal"], wanted)
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(("\ufeff" + TABLE.replace("\n", "\r\n")).encode()))
    found = biolm.score_variants(packed, model=model)
    np.testing.assert_array_equal(found.columns["biolm_masked_marginal"], wanted)
    assert found.columns["note"].tolist() == ["a, quoted", "", "no measurement", "00012"]


def test_insertions_and_deletions_are_whole_sequences(model, tmp_path):
    path = tmp_path / "indels.csv"
    path.write_text("mutant,DMS_score\nMKTAYIAKQRQISFVKW,1\nMKTAYKQRQISFVK,0\nMKTAYIAKQRQISFVK,2\n")
    found = biolm.score_variants(path, model=model, method="one-pass", sequence=WILD)
    assert found.columns["biolm_one_pass"][2] == 0
    assert found.columns["biolm_blosum62"].tolist() == [-12.0, -4 - 4 - 13.0, 0.0]
    marginal = biolm.score_variants(path, model=model, method="masked-marginal", sequence=WILD)
    np.testing.assert_array_equal(marginal.columns["biolm_masked_marginal"], [np.nan, np.nan, 0])
    path.write_text("mutant\nMKTAYIAKQRQISFVKW\nMKTAYKQRQISFVK\n")
    with pytest.raises(InputError, match=r"line 2 of .*indels.csv: .*insertions and deletions"):
        biolm.score_variants(path, model=model, method="masked-marginal", sequence=WILD)


def test_blosum_is_the_sum_over_substitutions():
    found = blosum_scores(WILD, Assay.of(WILD, ["K2R", "A4G:K16W", "wt"]).variants)
    assert found.tolist() == [2 - 5, (0 - 4) + (-3 - 5), 0]


def test_rank_correlation_has_its_interval():
    rng = np.random.default_rng(0)
    measured = rng.normal(size=300)
    scores = measured + rng.normal(size=300)
    found = rank_correlation(scores, measured)
    from scipy.stats import spearmanr

    assert found["spearman"] == pytest.approx(spearmanr(scores, measured).statistic, abs=1e-6)
    assert found["low"] < found["spearman"] < found["high"]
    assert found["high"] - found["low"] < 0.2
    assert found == rank_correlation(scores, measured)
    assert np.isnan(rank_correlation(np.ones(10), np.arange(10.0))["spearman"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("K2R,MRT", "R2K,MRT"), r"line 2 of .*: mutation R2K expects R at place 2 but the protein has K"),
        (("A4G:K16W", "A4G:K99W"), r"line 3 of .*: mutation K99W lies outside the protein, .* 1 to 16"),
        (("A4G:K16W", "A4G:K0W"), r"line 3 of .*: mutation K0W lies outside"),
        (("A4G:K16W", "A4G/K16W"), r"line 3 of .*: 'A4G/K16W' is no mutation"),
        (("A4G:K16W", "A4G:A4W"), r"line 3 of .*: 'A4G:A4W' changes one place twice"),
        (("mutant,mutated_sequence", "change,sequence"), r"has no column mutant"),
        (("MKTAYIAKQDQISFVK", "MKTAYIAKQEQISFVK"), r"line 5 of .*: mutated_sequence is not what R10D makes"),
        (("0.75", "high"), r"line 5 of .*: DMS_score 'high' is not a number"),
        (("0,no measurement", "0,no,measurement"), r"line 4 of .* has 6 cells but the header 5"),
    ],
)
def test_bad_tables_are_named_with_their_line(change, words, model, table):
    table.write_text(TABLE.replace(*change))
    with pytest.raises(InputError, match=words):
        biolm.score_variants(table, model=model, sequence=WILD)


def test_what_cannot_be_done_is_named(model, table, tmp_path):
    with pytest.raises(ConfigError, match=r"needs a model of proteins, but small reads DNA"):
        biolm.score_variants(table, model=small_model("dna"))
    with pytest.raises(ConfigError, match="needs the protein; give `sequence`"):
        biolm.score_variants(["K2R"], model=model)
    with pytest.raises(ConfigError, match="`reference` means nothing for a table of mutations"):
        biolm.score_variants(table, model=model, reference="genome.fa")
    with pytest.raises(ConfigError, match="no method 'best'"):
        biolm.score_variants(table, model=model, method="best")
    fasta = tmp_path / "wild.fasta"
    fasta.write_text(f">wild\n{WILD}\n")
    with pytest.raises(ConfigError, match="holds sequences but no variants"):
        biolm.score_variants(fasta, model=model)
    table.write_text("mutant,DMS_score\nK2R,1\n")
    with pytest.raises(InputError, match=r"does not name the unchanged protein; .*`sequence`"):
        biolm.score_variants(table, model=model)
    table.write_text("mutant,DMS_score\n")
    with pytest.raises(InputError, match="holds no variants"):
        biolm.score_variants(table, model=model, sequence=WILD)
    table.write_text("mutant,biolm_masked_marginal\nK2R,1\n")
    with pytest.raises(InputError, match="has a column biolm_masked_marginal already"):
        biolm.score_variants(table, model=model, sequence=WILD)
    (tmp_path / "there.csv").write_text("x")
    with pytest.raises(OutputError, match="exists already"):
        biolm.score_variants(["K2R"], model=model, sequence=WILD, output=tmp_path / "there.csv")


def test_a_killed_job_goes_on(model, tmp_path, monkeypatch):
    from biolm.tasks.variants import proteins

    monkeypatch.setattr(proteins, "_HIDDEN", 40)
    mutants = [f"{WILD[place]}{place + 1}W" for place in range(16)]
    wanted = biolm.score_variants(mutants, model=model, sequence=WILD, method="pseudo-perplexity")
    calls = []
    from biolm.tasks.variants import likelihood

    real = likelihood.token_scores

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(likelihood, "token_scores", killed)
    out = tmp_path / "out.tsv"
    options = {"model": model, "sequence": WILD, "method": "pseudo-perplexity", "output": out}
    with pytest.raises(KeyboardInterrupt):
        biolm.score_variants(mutants, **options)
    assert not out.exists()
    with pytest.raises(OutputError, match="holds an unfinished run"):
        biolm.score_variants(mutants, **options)
    with pytest.raises(OutputError, match="belongs to another job"):
        biolm.score_variants(mutants[:-1], **options, resume=True)
    calls[:] = [None] * 9
    found = biolm.score_variants(mutants, **options, resume=True)
    # 16 variants in blocks of two, of which two were done; the wild type is measured again.
    assert len(calls) == 9 + 1 + 6
    np.testing.assert_array_equal(
        found.columns["biolm_pseudo_perplexity"], wanted.columns["biolm_pseudo_perplexity"]
    )
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_shards_merge_to_the_bytes_of_the_whole_and_jobs_resume(model, table, tmp_path, monkeypatch, ending):
    from biolm.tasks.variants import assay_work, likelihood, proteins

    monkeypatch.setattr(proteins, "_HIDDEN", 40)
    monkeypatch.setattr(likelihood, "_AHEAD", 1)
    methods = ("masked-marginal", "wt-marginal", "one-pass", "pseudo-perplexity")

    def job(name, **more):
        asked = {"model": model, "method": methods, "sequence": WILD, "batch_tokens": 40, "seed": 3}
        biolm.score_variants(table, output=tmp_path / name, **asked, **more)
        return tmp_path / name

    whole = job(f"whole.{ending}")
    parts = [job(f"s{n}", shard=f"{n}/3") for n in (1, 2, 3)]
    assert min(len(list(part.glob("*.block"))) for part in parts) > 1
    compute, calls = assay_work.AssayWork.compute, []

    def dying(self, item):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(item)
        return compute(self, item)

    monkeypatch.setattr(assay_work.AssayWork, "compute", dying)
    with pytest.raises(KeyboardInterrupt):
        job(f"part.{ending}")
    calls[:] = calls[:2]
    with pytest.raises(KeyboardInterrupt):
        job("s4", shard="2/2")
    monkeypatch.setattr(assay_work.AssayWork, "compute", compute)
    job(f"part.{ending}", resume=True)
    parts_of_two = [job("s5", shard="1/2"), job("s4", shard="2/2", resume=True)]
    table.unlink()
    made = [
        tmp_path / f"part.{ending}",
        biolm.merge(parts[::-1], tmp_path / f"three.{ending}"),
        biolm.merge(parts_of_two, tmp_path / f"two.{ending}"),
    ]
    for other in made:
        assert other.read_bytes() == whole.read_bytes()
        if ending == "csv":
            assert side_car(other).read_bytes() == side_car(whole).read_bytes()
    with pytest.raises(ConfigError, match="leave the input out"):
        biolm.merge(parts, tmp_path / f"more.{ending}", data=table)
    with pytest.raises(ConfigError, match="a shard is a folder"):
        biolm.score_variants(["K2R"], model=model, sequence=WILD, output=tmp_path / "x.csv", shard="1/2")
    for option in ({"shard": "1/2"}, {"resume": True}):
        with pytest.raises(ConfigError, match="is for jobs that write a file"):
            biolm.score_variants(["K2R"], model=model, sequence=WILD, **option)


def test_mutations_are_written_as_read():
    assert [str(each) for each in parse_mutations("A24G:k30r")] == ["A24G", "K30R"]
    assert parse_mutations("WT") == ()
