"""Commands on sequences as people have them; what each is to do stands in ``faults.sh`` beside them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from biolm.cli.main import app


@pytest.fixture(scope="module")
def awkward(shared: Path) -> Path:
    return shared / "data/awkward/sequences"


@pytest.fixture(scope="module")
def models(awkward: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    before = sys.argv
    sys.argv = ["make_models.py", str(folder)]
    try:
        runpy.run_path(str(awkward / "make_models.py"))
    finally:
        sys.argv = before
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_a_vcf_goes_through(awkward: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.vcf"
    command = ("-m", models / "ntv1", "--reference", awkward / "g6k.fa", "-o", out, "--overwrite")
    for name, scored in (("w16_longdel_last.vcf", 200), ("w19_sv_only.vcf", 0), ("w20_ref_eq_alt.vcf", 1)):
        text = (awkward / name).read_text().splitlines()
        text = [line for line in text if not line.startswith("1\t") or int(line.split("\t")[1]) % 400 == 100
                or len(line.split("\t")[3]) > 1]  # fmt: skip
        (tmp_path / name).write_text("\n".join(text) + "\n")
        result = run("score-variants", tmp_path / name, *command)
        assert result.exit_code == 0, result.stderr
        lines = [line for line in out.read_text().splitlines() if not line.startswith("#")]
        assert len(lines) == sum(line.startswith("1\t") for line in text)
        assert sum("BIOLM_LLR=" in line for line in lines) == min(scored, sum(
            len(line.split("\t")[3]) == 1 and line.split("\t")[4].isalpha() for line in lines
        ))  # fmt: skip
    assert "BIOLM_LLR=0" in out.read_text()


def test_a_final_stop_changes_no_score(awkward: Path, models: Path, tmp_path: Path) -> None:
    values = []
    for name in ("v_wild_stop.fasta", "v_wild.fasta"):
        out = tmp_path / "o.csv"
        command = ("score-variants", awkward / name, "-m", models / "esm2", "-o", out, "--overwrite")
        result = run(*command, "--mutation", "A5G")
        assert result.exit_code == 0, result.stderr
        assert ("taken out: 1 final stops (*)" in result.stderr) == ("stop" in name)
        values.append(pd.read_csv(out)["biolm_masked_marginal"][0])
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    result = run(*command, "--scan", "--letters", "error")
    assert result.exit_code == 0, result.stderr


def test_a_mask_is_a_mask(awkward: Path, models: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    out = tmp_path / "o.npy"
    assert run("embed", awkward / "mask.fasta", "-m", models / "esm2", "-o", out).exit_code == 0
    tokenizer = transformers.EsmTokenizer(str(models / "esm2/vocab.txt"))
    text = (awkward / "mask.fasta").read_text().splitlines()[1]
    reference = transformers.EsmModel.from_pretrained(models / "esm2", add_pooling_layer=False).eval()
    with torch.inference_mode():
        states = reference(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
    np.testing.assert_allclose(np.load(out)[0], states.mean(0).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reference", "sentence"),
    [
        ("w2_crlf.vcf", "dup1.fa", "dup1.fa has several records named 'chr1'"),
        ("w4_beyond.vcf", "g.fa", "lies at 1:401 but the contig has 400 bases"),
        ("w6_unknowncontig.vcf", "g.fa", "there is no contig 'GL000207.1' in"),
    ],
)
def test_sentences_name_what_the_user_gave(
    awkward: Path, models: Path, tmp_path: Path, name: str, reference: str, sentence: str
) -> None:
    command = ("-m", models / "ntv1", "--reference", awkward / reference, "-o", tmp_path / "o.vcf")
    result = run("score-variants", awkward / name, *command)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "biolm-genome" not in result.stderr


def test_options_of_sequences_are_refused_for_cells(repository: Path, tmp_path: Path) -> None:
    cells = repository / "data/cells/pbmc68k_reduced_counts_700.h5ad"
    result = run("embed", cells, "-o", tmp_path / "o.npy", "--chain", "light")
    assert (result.exit_code, "--chain is for sequences" in result.stderr) == (2, True)
    result = run("annotate", "fit", cells, "--label", "x", "-o", tmp_path / "a", "--identity", "0.6")
    assert (result.exit_code, "--identity is for sequences" in result.stderr) == (2, True)
