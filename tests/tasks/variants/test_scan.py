"""Saturation scans and the command."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from small_models import small_model
from typer.testing import CliRunner

import biolm
from biolm.errors import ConfigError, InputError
from biolm.tasks.variants.scan import RESIDUES, Scan, draw_scan

WILD = "MKTAYIAKQRQISFVKXA"


@pytest.fixture
def protein(tmp_path):
    path = tmp_path / "wild.fasta"
    path.write_text(f">wild one\n{WILD.lower()}\n>second\nMKV\n")
    return path


def test_every_residue_is_changed_to_every_other(protein, tmp_path):
    model, picture = small_model(), tmp_path / "scan.svg"
    found = biolm.score_variants(
        protein, model=model, scan=True, method="wt-marginal", output=tmp_path / "scan.tsv", picture=picture
    )
    table = pd.read_csv(tmp_path / "scan.tsv", sep="\t")
    assert len(table) == 17 * 19 + 20
    assert table["mutant"].iloc[:3].tolist() == ["M1A", "M1C", "M1D"]
    some = ["M1A", "K16W", "X17A", "A18Y"]
    listed = biolm.score_variants(some, model=model, sequence=WILD, method="wt-marginal")
    held = table.set_index("mutant").loc[some, "biolm_wt_marginal"]
    np.testing.assert_allclose(held, listed.columns["biolm_wt_marginal"], rtol=1e-5)
    first = picture.read_bytes()
    assert b"<svg" in first[:500]
    assert found.names[0] == "biolm_wt_marginal"


def test_pictures_are_the_same_bytes_again(tmp_path):
    rng = np.random.default_rng(0)
    scan = Scan("p", "MK" * 55, 1, RESIDUES, rng.normal(size=(20, 110)).astype(np.float32))
    for kind in ("png", "svg"):
        one, other = tmp_path / f"one.{kind}", tmp_path / f"two.{kind}"
        draw_scan([scan], one)
        draw_scan([scan], other)
        assert one.read_bytes() == other.read_bytes()
    long = Scan("p", "M" * 2001, 1, RESIDUES, np.zeros((20, 2001), np.float32))
    with pytest.raises(InputError, match="at most 2000 places"):
        draw_scan([long], tmp_path / "long.png")
    (tmp_path / "long.fasta").write_text(f">long\n{'MKV' * 700}\n")
    with pytest.raises(InputError, match="at most 2000 places, not 2100"):
        biolm.score_variants(
            tmp_path / "long.fasta", model=small_model(), scan=True, picture=tmp_path / "long.png"
        )


def test_every_base_of_an_interval_is_changed(tmp_path):
    genome = "".join(np.random.default_rng(3).choice(list("ACGT"), 90))
    (tmp_path / "genome.fa").write_text(f">chr1\n{genome[:40]}N{genome[41:]}\n")
    (tmp_path / "in.bed").write_text("1\t35\t45\tfirst\nchr1\t88\t90\n")
    model = small_model("dna", causal=True, max_length=40)
    found = biolm.score_variants(
        tmp_path / "in.bed", model=model, scan=True, reference=tmp_path / "genome.fa", window=24,
        picture=tmp_path / "scan.png", output=tmp_path / "scan.csv",
    )  # fmt: skip
    table = found.frame()
    assert len(table) == 3 * 9 + 3 * 2
    assert table["position"].tolist()[::3] == [*range(36, 41), *range(42, 46), 89, 90]
    assert 41 not in set(table["position"])
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    lines = [
        f"chr1\t{row.position}\t.\t{row.reference}\t{row.alternative}\t.\t.\t.\n"
        for row in table.itertuples()
    ]
    (tmp_path / "same.vcf").write_text(header + "".join(lines))
    same = biolm.score_variants(
        tmp_path / "same.vcf", model=model, reference=tmp_path / "genome.fa", window=24
    )
    np.testing.assert_allclose(table["biolm_llr"], same.columns["biolm_llr"], rtol=1e-4, atol=1e-4)
    assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "in.bed").write_text("1\t85\t95\n")
    with pytest.raises(InputError, match="ends at 1:95 but the contig has 90"):
        biolm.score_variants(tmp_path / "in.bed", model=model, scan=True, reference=tmp_path / "genome.fa")


def test_what_cannot_be_scanned_is_named(protein, tmp_path):
    model = small_model()
    with pytest.raises(ConfigError, match="one method at a time"):
        biolm.score_variants(protein, model=model, scan=True, method=["one-pass", "wt-marginal"])
    with pytest.raises(ConfigError, match=r"use an ending among .png"):
        biolm.score_variants(protein, model=model, scan=True, picture=tmp_path / "scan.gif")
    with pytest.raises(ConfigError, match="a scan of a protein needs a model of proteins"):
        biolm.score_variants(protein, model=small_model("dna"), scan=True)
    with pytest.raises(ConfigError, match="a scan reads a protein as FASTA"):
        biolm.score_variants(tmp_path / "table.csv", model=model, scan=True)


def test_the_command_scores_mutations_and_fails_in_one_sentence(protein, tmp_path, monkeypatch):
    from biolm.cli.main import app
    from biolm.jobs import bind

    model = small_model()
    monkeypatch.setattr(bind, "sequence_model", lambda name: model)
    out = tmp_path / "out.csv"
    arguments = [
        "score-variants",
        str(protein),
        "-m",
        "small",
        "-o",
        str(out),
        "--mutation",
        "M1K:K2R",
        "--json",
    ]
    result = CliRunner().invoke(app, [*arguments, "--mutation", "A4G"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["variants"] == 2
    assert summary["scores"] == ["biolm_masked_marginal", "biolm_blosum62"]
    assert out.read_text().splitlines()[0] == "mutant,biolm_masked_marginal,biolm_blosum62"
    result = CliRunner().invoke(app, [*arguments, "--mutation", "W4G", "--overwrite"])
    assert result.exit_code == 1
    assert result.stderr.strip() == (
        "Error: variant 2: mutation W4G expects W at place 4 but the protein has A there; give the sequence "
        "that the mutations belong to"
    )
