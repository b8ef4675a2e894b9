"""Sequences written on by decoders: as transformers writes them, scored by a full pass, for any batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sequences import RESIDUES, in_memory, write_iglm
from typer.testing import CliRunner

import biolm
from biolm.batch import Batch
from biolm.cli.main import app
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.sequences import SequenceBlock, open_sequences
from biolm.models.registry import load_tokenizer
from biolm.models.sequence_model import SequenceModel
from biolm.tasks.generate.run import generate_file
from biolm.tasks.generate.settings import GenerateSettings

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def iglm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("iglm")
    return folder, write_iglm(folder)


@pytest.fixture(scope="module")
def both_ways() -> SequenceModel:
    return in_memory("progen2", both_ways=True)


@pytest.fixture(scope="module")
def dna() -> SequenceModel:
    return in_memory("dna")


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_is_that_of_transformers(penalty: float, iglm: tuple[Path, Any]) -> None:
    folder, reference = iglm
    model = biolm.load(folder)
    prompts = ["MKT", "A", "EVQLVESGGGLV"]
    made = biolm.generate(
        model, prompts, temperature=0, max_length=30, repetition_penalty=penalty, batch_size=2, device="cpu"
    )
    words = model.tokenizer.vocabulary
    outside = [number for token, number in words.items() if token not in RESIDUES and token != "[SEP]"]
    for prompt, found in zip(prompts, made, strict=True):
        ids = model.tokenize(SequenceBlock.of([prompt])).ids[:-1].astype(np.int64)
        wanted = reference.generate(
            torch.from_numpy(ids)[None], attention_mask=torch.ones(1, len(ids)), do_sample=False,
            max_length=32, suppress_tokens=outside, repetition_penalty=penalty, pad_token_id=0,
            eos_token_id=words["[SEP]"],
        )[0]  # fmt: skip
        ended = int(wanted[-1]) == words["[SEP]"]
        letters = "".join(list(words)[token] for token in wanted[2 : -1 if ended else None])
        assert found.sequence == letters
        assert found.end == ("terminator" if ended else "length")
        with torch.no_grad():
            shares = reference(wanted[None]).logits[0].double().log_softmax(-1)
        steps = [float(shares[place - 1, wanted[place]]) for place in range(len(ids), len(wanted))]
        np.testing.assert_allclose(found.log_probabilities, steps, atol=1e-5)
        assert found.log_likelihood == pytest.approx(sum(steps), abs=1e-4)
        assert found.per_residue == pytest.approx(sum(steps) / found.generated, abs=1e-5)


def test_the_same_draws_for_every_batch_size(dna: SequenceModel, tmp_path: Path) -> None:
    texts = []
    for size in (1, 3, 32):
        settings = GenerateSettings(
            number=6, max_length=25, seed=5, batch_size=size, top_p=0.95, device="cpu"
        )
        generate_file(dna, tmp_path / f"{size}.fa", ["ACG", "T"], settings)
        texts.append((tmp_path / f"{size}.fa").read_bytes())
    assert texts[0] == texts[1] == texts[2]
    other = GenerateSettings(number=6, max_length=25, seed=6, top_p=0.95, device="cpu")
    generate_file(dna, tmp_path / "other.fa", ["ACG", "T"], other)
    assert (tmp_path / "other.fa").read_bytes() != texts[0]


def test_more_of_a_prompt_begin_with_the_same(dna: SequenceModel) -> None:
    few, many = (biolm.generate(dna, "ACG", number=n, max_length=20) for n in (2, 5))
    assert [each.sequence for each in few] == [each.sequence for each in many[:2]]
    assert len({each.sequence for each in many}) > 1


def test_only_plain_letters_are_written_unless_others_are_allowed(both_ways: SequenceModel) -> None:
    plain = biolm.generate(both_ways, number=8, max_length=40, temperature=3.0)
    assert set("".join(each.sequence for each in plain)) <= set(RESIDUES)
    free = biolm.generate(both_ways, number=8, max_length=40, temperature=3.0, ambiguous=True)
    letters = set("".join(each.sequence for each in free))
    assert letters - set(RESIDUES)
    assert letters <= set("ABCDEFGHIKLMNOPQRSTUVWXYZ")


def test_backward_is_put_back_in_reading_order(both_ways: SequenceModel) -> None:
    made = biolm.generate(both_ways, "MKT", number=3, max_length=20, direction="both", device="cpu")
    assert [each.name for each in made] == [f"prompt1_{way}{n}" for way in "fr" for n in (1, 2, 3)]
    assert all(each.sequence.startswith("MKT") for each in made[:3])
    table = both_ways.tokenizer.vocabulary
    for each in made[3:]:
        assert each.direction == "backward"
        assert each.sequence.endswith("MKT")
        ended = ["1"] if each.end == "terminator" else []
        ids = torch.tensor([[table[token] for token in ["2", *each.sequence[::-1], *ended]]])
        shares = both_ways(Batch.from_padded(ids)).logits.double().log_softmax(-1)
        steps = [float(shares[place - 1, ids[0, place]]) for place in range(4, ids.shape[1])]
        np.testing.assert_allclose(each.log_probabilities, steps, atol=1e-5)


def test_progen2_is_known_to_write_both_ways(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "progen", "n_positions": 40}))
    assert load_tokenizer(tmp_path).both_ways


def test_a_terminator_ends_a_sequence(both_ways: SequenceModel) -> None:
    made = biolm.generate(both_ways, "M", number=30, max_length=60)
    ended = [each for each in made if each.end == "terminator"]
    assert ended
    for each in made:
        assert len(each.log_probabilities) == each.generated + (each.end == "terminator")
        assert len(each.sequence) == 1 + each.generated <= 60
        assert each.end == "terminator" or len(each.sequence) == 60


def test_fasta_holds_prompts_marks_and_numbers(dna: SequenceModel, tmp_path: Path) -> None:
    (tmp_path / "p.fa").write_text(">one\nacgt\n>two\nGATTACA\n")
    settings = GenerateSettings(number=2, max_length=90, temperature=0, device="cpu")
    summary = generate_file(dna, tmp_path / "o.fa", tmp_path / "p.fa", settings)
    assert (summary.sequences, summary.duplicates, summary.copies) == (4, 2, None)
    with open_sequences(tmp_path / "o.fa") as source:
        (block,) = source.blocks()
    assert block.names == ["one_1", "one_2", "two_1", "two_2"]
    assert block.text(0).startswith("ACGT")
    assert block.text(2).startswith("GATTACA")
    entries = dict(word.split("=") for word in block.descriptions[1].split())
    made = biolm.generate(dna, tmp_path / "p.fa", number=2, max_length=90, temperature=0, device="cpu")
    assert entries["duplicate_of"] == "one_1" == made[1].duplicate_of
    assert entries["log_likelihood"] == f"{made[1].log_likelihood:.4f}"
    assert float(entries["per_residue"]) == pytest.approx(made[1].per_residue, abs=1e-4)
    assert int(entries["length"]) == len(block.text(1)) == 4 + int(entries["made"])
    with pytest.raises(OutputError, match="exists already"):
        generate_file(dna, tmp_path / "o.fa", "ACG", settings)


def test_what_cannot_be_written_on_is_named(
    dna: SequenceModel, both_ways: SequenceModel, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match="holds residues or bases that model tiny, which reads DNA, does not know"
    ):
        biolm.generate(dna, "MKTL")
    with pytest.raises(InputError, match=r"prompt 'prompt1' holds protein sequences but the model reads DNA"):
        biolm.generate(dna, "MKTLLILAVVAAALAAPHWEQRSDNNPFYKLMIWQEHHDA")
    with pytest.raises(InputError, match=r"does not know \('J'\)"):
        biolm.generate(both_ways, "MKJ")
    with pytest.raises(InputError, match="prompt 'prompt1' has 70 tokens, but a sequence may have 63"):
        biolm.generate(dna, "ACGTACGTAC" * 7)
    with pytest.raises(InputError, match="has open places"):
        biolm.generate(dna, "ACG___")
    with pytest.raises(ConfigError, match="was trained to write forward only"):
        biolm.generate(dna, "ACG", direction="backward")
    with pytest.raises(ConfigError, match="steps and sweeps are for encoders"):
        biolm.generate(dna, "ACG", sweeps=2)
    with pytest.raises(ConfigError, match="`direction` must be one of"):
        biolm.generate(dna, "ACG", direction="up")
    with pytest.raises(ConfigError, match="temperature must be 0 or more"):
        biolm.generate(dna, "ACG", temperature=-1.0)
    with pytest.raises(InputError, match="two prompts are named 'a'"):
        biolm.generate(dna, SequenceBlock.of(["A", "C"], ["a", "a"]))
    with pytest.raises(ConfigError, match="reads no sequences"):
        biolm.generate("genetext", "ACG")
    bare = in_memory("dna", head="none")
    with pytest.raises(ConfigError, match="has no head for tokens"):
        biolm.generate(bare, "ACG")
    with pytest.raises(InputError, match="has no token that begins a sequence"):
        biolm.generate(in_memory("base"))


def test_a_model_of_words_in_a_row_refuses_overlapping_ones() -> None:
    with pytest.raises(ConfigError, match="k-mers that overlap"):
        biolm.generate(in_memory("dnabert-3"), "ACGT")
    made = biolm.generate(in_memory("nt-v2"), "ACGTAC", max_length=5)
    assert len(made[0].sequence) == 30
    assert made[0].per_residue == pytest.approx(made[0].log_likelihood / 24)


def test_the_command_writes_and_says_what(iglm: tuple[Path, Any], tmp_path: Path) -> None:
    arguments = ["generate", "-m", str(iglm[0]), "-o", str(tmp_path / "o.fa"), "-p", "EVQ", "-n", "3"]
    result = CliRunner().invoke(app, [*arguments, "--max-length", "12", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sequences"] == 3
    assert (tmp_path / "o.fa").read_text().count(">prompt1_") == 3
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    both = CliRunner().invoke(app, [*arguments, "--prompts", "x.fa"])
    assert both.exit_code == 2
    assert "choose one" in both.stderr


def test_iglm_is_told_chain_and_species(iglm: tuple[Path, Any], tmp_path: Path) -> None:

    folder = str(iglm[0])
    (tmp_path / "p.fa").write_text(">a\nEVQLVE\n")
    made = {}
    for chain in ("heavy", "light"):
        model = biolm.load(folder, chain=chain)
        vectors = biolm.embed(tmp_path / "p.fa", model=model)
        made[chain] = vectors.obsm["X_iglm"]
        record = vectors.uns["biolm"]["X_iglm"]["checkpoint"]
        assert (record["chain"], record["species"]) == (chain, "human")
        out = tmp_path / f"{chain}.npy"
        arguments = ["embed", str(tmp_path / "p.fa"), "-m", folder, "-o", str(out), "--chain", chain]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        np.testing.assert_allclose(np.load(out), made[chain], atol=1e-6)
    assert np.abs(made["heavy"] - made["light"]).max() > 1e-3
    result = CliRunner().invoke(app, [*arguments, "--species", "camel", "--overwrite"])
    assert (result.exit_code, "this IgLM knows no 'camel'" in result.stderr) == (2, True)
    with pytest.raises(ConfigError, match="model genetext has no option chain"):
        biolm.load("genetext", chain="light")


def test_shards_merge_to_the_bytes_of_the_whole_and_jobs_resume(both_ways, tmp_path, monkeypatch):
    from biolm.tasks.generate import run

    monkeypatch.setattr(run, "_BATCHES", 1)
    prompts, reference = ["MKT", "AG"], tmp_path / "reference.fasta"
    reference.write_text(">r\nMKTLLALWAG\n")
    asked = {"number": 3, "max_length": 12, "direction": "both", "batch_size": 2, "device": "cpu"}

    def job(output: Path, **more: Any) -> Path:
        generate_file(both_ways, output, prompts, GenerateSettings(**asked, **more), reference)
        return output

    whole = job(tmp_path / "whole.fasta")
    parts = [job(tmp_path / f"s{n}", shard=f"{n}/3") for n in (1, 2, 3)]
    assert biolm.merge(parts[::-1], tmp_path / "made.fasta").read_bytes() == whole.read_bytes()
    made, calls = run._Work.generated, []

    def dying(self, units):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(units)
        return made(self, units)

    monkeypatch.setattr(run._Work, "generated", dying)
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "part.fasta")
    monkeypatch.setattr(run._Work, "generated", made)
    assert job(tmp_path / "part.fasta", resume=True).read_bytes() == whole.read_bytes()
