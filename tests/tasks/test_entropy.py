"""Entropy along a region: recorded values of Evo 2, bedGraph, picture, and what is refused; lineages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import biolm
from biolm.adapters.sequences import make_tokenizer
from biolm.core import CoreConfig, Transformer
from biolm.errors import BiolmError, ConfigError, InputError
from biolm.models.sequence_model import SequenceModel
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.tasks.variants.entropy import EntropySettings, entropy, entropy_file
from biolm.vocab.lineage import lineage_tag

SIZES: dict[str, Any] = {
    "vocab_size": 512, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 16, "position": "none",
    "causal": True, "head": "linear", "mixer": ("hyena_short", "hyena_long"),
}  # fmt: skip
COLI = (
    "Bacteria;Pseudomonadota;Gammaproteobacteria;Enterobacterales;Enterobacteriaceae;Escherichia;"
    "Escherichia coli"
)


def _model(**changes: Any) -> SequenceModel:
    torch.manual_seed(0)
    core = Transformer(CoreConfig(**{**SIZES, **changes})).eval()
    preprocessor = SequencePreprocessor(
        name="tiny", tokenizer=make_tokenizer("evo2"), max_length=2000, lineages=True
    )
    return SequenceModel(preprocessor, core)


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 500))
    path = tmp_path / "genome.fa"
    path.write_text(f">chr1 first\n{letters}\n>chr2\nACGTACGT\n")
    return path


def test_recorded_values(goldens: Path) -> None:
    held = json.loads((goldens / "evo2" / "scores.json").read_text())
    model = biolm.load(goldens / "evo2")
    assert isinstance(model, SequenceModel)
    found = entropy(model, held["sequences"][0])
    wanted = np.array(held["positional_entropy_of_first"])
    assert np.abs(found / wanted - 1).max() < 2e-5
    parts = entropy(model, held["sequences"][0], EntropySettings(batch_tokens=5))
    np.testing.assert_allclose(parts, wanted, rtol=5e-5)


def test_a_region_as_bedgraph_and_picture(genome: Path, tmp_path: Path) -> None:
    model, target = _model(), tmp_path / "x.bedgraph"
    settings = EntropySettings(region="chr1:101-350", picture=tmp_path / "x.svg", batch_tokens=64)
    summary = entropy_file(genome, target, model, settings)
    assert (summary.contig, summary.start, summary.end) == ("chr1", 100, 350)
    lines = target.read_text().splitlines()
    assert lines[0].startswith("track type=bedGraph")
    rows = [line.split("\t") for line in lines[1:]]
    assert [row[0] for row in rows] == ["chr1"] * 250
    assert [(int(row[1]), int(row[2])) for row in rows] == [(i, i + 1) for i in range(100, 350)]
    letters = genome.read_text().splitlines()[1][100:350]
    wanted = entropy(model, letters) / np.log(2)
    np.testing.assert_allclose([float(row[3]) for row in rows], wanted, atol=2e-5)
    assert summary.mean == pytest.approx(wanted.mean(), abs=1e-5)
    assert "<svg" in (tmp_path / "x.svg").read_text()
    with pytest.raises(BiolmError, match="exists"):
        entropy_file(genome, target, model, settings)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (None, "has 2 records; choose one"),
        ("chr1:0-10", "does not lie in chr1, which has 500 bases"),
        ("chr1:490-501", "does not lie in chr1"),
        ("chr1:20-10", "does not lie in chr1"),
        ("chr7", "chr7"),
    ],
)
def test_regions_that_are_none(region: str | None, message: str, genome: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        entropy_file(genome, tmp_path / "x.bg", _model(), EntropySettings(region=region))
    assert not (tmp_path / "x.bg").exists()


def test_models_and_inputs_that_do_not_fit(genome: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not predict the next base"):
        entropy(_model(head="none"), "ACGT")
    with pytest.raises(InputError, match=r"2,001 tokens but model tiny reads at most 2,000"):
        entropy(_model(), "A" * 2001)
    with pytest.raises(InputError, match="protein"):
        entropy(_model(), "MKVLAAGIVGLLLAGCSSNAKIDQLSSDVQTLNAKVDQLS")
    with pytest.raises(InputError, match="letter 'E' at place 3"):
        entropy(_model(), "ACEGT")
    with pytest.raises(ConfigError, match=r"use \.bedgraph"):
        entropy_file(genome, tmp_path / "x.txt", _model(), EntropySettings(region="chr1"))


def test_the_command(genome: Path, tmp_path: Path) -> None:
    from biolm.cli.main import app
    from biolm.models.systems.evo2 import save

    core = _model(
        norm="rmsnorm", norm_eps_outside=True, glu=True, mlp_bias=False, mlp_out_bias=False, qkv_bias=False,
        mixer_options={"hyena_short": {"groups": 2}},
    )  # fmt: skip
    save(core, tmp_path / "tiny")
    arguments = ["entropy", str(genome), "-m", str(tmp_path / "tiny"), "-o", str(tmp_path / "y.bg")]
    result = CliRunner().invoke(app, [*arguments, "--region", "chr2", "--json"])
    assert result.exit_code == 0, result.output
    assert '"contig": "chr2"' in result.output


def test_lineages() -> None:
    assert lineage_tag(COLI).endswith(";G__ESCHERICHIA;S__ESCHERICHIA COLI|")
    ranked = ";".join(f"{r}__{name}" for r, name in zip("dpcofgs", COLI.split(";"), strict=True))
    assert lineage_tag(ranked) == lineage_tag(f"|{ranked};|") == lineage_tag(COLI)
    for wrong, message in (
        ("Bacteria", "seven|7 names"),
        (COLI + ";K12", "has 8"),
        (COLI.replace("Bacteria", ""), "names no domain"),
        (COLI.replace("Bacteria", "p__Bacteria"), "rank 'p' .* where D belongs"),
        (COLI.replace("Escherichia coli", "Escherichia|coli"), "no name of a lineage"),
        (COLI.replace("Bacteria", "Bactéria"), "no name of a lineage"),
    ):
        with pytest.raises(InputError, match=message):
            lineage_tag(wrong)


def test_a_lineage_stands_before_the_prompt() -> None:
    model, options = _model(), {"max_length": 12, "temperature": 0.0}
    plain, tagged = (biolm.generate(model, "ACGT", **options, **more) for more in ({}, {"lineage": COLI}))
    assert all(re.fullmatch("ACGT[ACGT]{8}", each[0].sequence) for each in (plain, tagged))
    # The letters after a tag are those that the whole text would have after it.
    from biolm.core import SamplingOptions
    from biolm.core import generate as write

    ids = [*lineage_tag(COLI).encode(), *b"ACGT"]
    (whole,) = write(model.core, [ids], SamplingOptions(max_tokens=8, allowed=list(b"ACGT")))
    assert tagged[0].sequence == "ACGT" + bytes(whole.ids).decode()
    alone = biolm.generate(model, lineage=COLI, **options)
    assert len(alone[0].sequence) == 12
    other = SequenceModel(SequencePreprocessor(name="x", tokenizer=make_tokenizer("evo2")), model.core)
    with pytest.raises(ConfigError, match="trained on no lineages"):
        biolm.generate(other, "ACGT", lineage=COLI)
