"""Evo 2 through the command line: every fault is one sentence and exit status 1, nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from biolm.adapters.sequences import make_tokenizer
from biolm.cli.main import app
from biolm.core import CoreConfig, Transformer
from biolm.models import memory
from biolm.models.sequence_model import SequenceModel
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.systems.evo2 import save

DNA = ">a\nACGTACGTACGTAACCGGTTACGATCGATTACG\n"
PROTEIN = ">a\nMKVLAAGIVGLLLAGCSSNAKIDQLSSDVQTLNAKVDQLSNDVNAMRSDV\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    mixers = ("hyena_short", "hyena_medium", "hyena_long", "attention_stored_rope")
    core = Transformer(
        CoreConfig(
            vocab_size=512, d_model=16, n_layers=4, n_heads=2, d_ff=16, max_length=40, position="none",
            causal=True, norm="rmsnorm", norm_eps=1e-6, norm_eps_outside=True, glu=True, mlp_bias=False,
            mlp_out_bias=False, activation="identity", first_activation="gelu", qkv_bias=False,
            head="linear", mixer=mixers,
            mixer_options={"hyena_short": {"groups": 4}, "hyena_medium": {"groups": 4}},
        )
    )  # fmt: skip
    preprocessor = SequencePreprocessor(name="evo2", tokenizer=make_tokenizer("evo2"))
    folder = tmp_path_factory.mktemp("evo") / "tiny"
    save(SequenceModel(preprocessor, core), folder)
    return folder


def _nothing(folder: Path) -> None:
    """The folder as it is."""


def _no_list(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "hcl_layer_idxs": []}))


def _part_missing(folder: Path) -> None:
    content = (folder / "tiny.pt").read_bytes()
    (folder / "tiny.pt").unlink()
    for number in (0, 2):
        (folder / f"tiny.pt.part{number}").write_bytes(content[: len(content) // 3])


def _fp8(folder: Path) -> None:
    held = torch.load(folder / "tiny.pt", weights_only=True)
    name = "blocks.0.projections.weight"
    torch.save({**held, name: held[name].to(torch.float8_e4m3fn)}, folder / "tiny.pt")


CASES: dict[str, tuple[str, Callable[[Path], None], list[str], str]] = {
    "protein": (PROTEIN, _nothing, ["embed", "x.fa"], "holds protein sequences but the model reads DNA"),
    "letter": (">a\nACGTEACGT\n", _nothing, ["embed", "x.fa"], "letter 'E' at place 5"),
    "no list": (DNA, _no_list, ["embed", "x.fa"], "layer 2 stands in no list"),
    "part": (DNA, _part_missing, ["embed", "x.fa"], "lacks tiny.pt.part1"),
    "FP8 alone": (DNA, _fp8, ["embed", "x.fa"], "stored in FP8 alone"),
    "prompt": (
        DNA,
        _nothing,
        ["generate", "--prompt", "ACGT" * 12],
        "has 48 tokens, but a sequence may have",
    ),
    "lineage": (
        DNA,
        _nothing,
        ["generate", "--prompt", "ACGT", "--lineage", "Bacteria;Escherichia"],
        "a lineage has 7 names",
    ),
    "region": (DNA, _nothing, ["entropy", "x.fa", "--region", "a:30-90"], "does not lie in a"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_status_1(
    name: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, change, command, message = CASES[name]
    monkeypatch.chdir(tmp_path)
    Path("x.fa").write_text(text)
    change(Path(shutil.copytree(saved, "tiny")))
    output = {"embed": "out.npy", "generate": "out.fa", "entropy": "out.bg"}[command[0]]
    result = CliRunner().invoke(app, [*command, "-m", "./tiny", "-o", output, "--quiet"])
    assert result.exit_code == 1, result.stderr
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not Path(output).exists()


def test_memory_that_is_not_there(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.fa").write_text(DNA)
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    result = CliRunner().invoke(app, ["embed", "x.fa", "-m", str(saved), "-o", "out.npy", "--quiet"])
    assert result.exit_code == 1
    assert "this machine has 0.0 GiB left" in result.stderr
