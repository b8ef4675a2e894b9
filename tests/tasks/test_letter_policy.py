"""One letter policy: a final stop, gaps and marks change no result of any command, and all of it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import biolm
from biolm.adapters.sequences import Tally, make_tokenizer
from biolm.core import CoreConfig, Transformer
from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceModel
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.tasks.attention.contacts import contacts
from biolm.tasks.generate.prompts import read_prompts, usable_prompts
from biolm.tasks.generate.run import generate_file
from biolm.tasks.generate.settings import GenerateSettings
from biolm.tasks.tokens.tokenize import TokenizeSettings, tokenize_file
from biolm.training.data.sequences import SequenceExamples

TEXTS = {"clean": "MKTAYIAKQR", "stop": "MKTAYIAKQR*", "gap": "MK--TAYI..AKQR*", "lower": "mktayiakqr"}


def small(alphabet: str, *, causal: bool = False) -> SequenceModel:
    torch.manual_seed(0)
    tokenizer = make_tokenizer(alphabet)
    core = Transformer(
        CoreConfig(
            vocab_size=tokenizer.size, d_model=16, n_layers=2, n_heads=2, d_ff=24, position="rope",
            head="linear", tied=False, causal=causal,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return SequenceModel(SequencePreprocessor(name="small", tokenizer=tokenizer, max_length=50), core)


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    return small("esm")


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "p.fasta"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in TEXTS.items()))
    return path


def test_embeddings(model: SequenceModel, fasta: Path, tmp_path: Path) -> None:
    for per_residue in (False, True):
        made = biolm.embed(fasta, model=model, per_residue=per_residue)
        vectors = made.obsm["X_small"].reshape(4, -1)
        assert vectors.shape == (4, 160 if per_residue else 16)
        np.testing.assert_allclose(vectors, np.tile(vectors[0], (4, 1)), atol=1e-5)
        record = made.uns["biolm"]["X_small"]
        assert (record["final_stops"], record["gaps"], record["with_unknown_letters"]) == (2, 4, 0)
    (tmp_path / "gone.fasta").write_text(">a\nMK\n>b\n-*\n")
    with pytest.raises(InputError, match="record 'b' holds nothing but gaps and stops"):
        biolm.embed(tmp_path / "gone.fasta", model=model)


def test_standard_input_is_named_so(
    model: SequenceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    class Input:
        buffer = io.BytesIO(b">a\nMK\n>b\n")

    monkeypatch.setattr(sys, "stdin", Input())
    with pytest.raises(InputError, match=r"^record 2 of the standard input, 'b', has no letters"):
        biolm.embed("-", model=model, output=tmp_path / "o.npy")


def test_contacts(model: SequenceModel, fasta: Path) -> None:
    weights, tally = np.linspace(-1, 1, 5, dtype=np.float32), Tally()
    maps = list(contacts(fasta, model=model, weights=weights, tally=tally))
    assert [found.sequence.upper() for found in maps] == [TEXTS["clean"]] * 4
    for found in maps[1:]:
        np.testing.assert_allclose(found.probabilities, maps[0].probabilities, atol=1e-6)
    assert (tally.stops, tally.gaps) == (2, 4)
    fasta.write_text(">a\nMKJLA\n>b\nMKLA\n")
    skipped = contacts(fasta, model=model, weights=weights, letters="skip")
    assert [found.name for found in skipped] == ["b"]
    with pytest.raises(InputError, match="letter 'J' at place 3 of record 'a'"):
        next(contacts(fasta, model=model, weights=weights, letters="error"))


def test_prompts(model: SequenceModel) -> None:
    decoder = small("progen2", causal=True)
    prompts = usable_prompts(read_prompts(["1MKT", "MK-T"]), decoder)
    assert [prompt.letters for prompt in prompts] == ["MKT", "MKT"]
    with pytest.raises(InputError, match="does not know \\('1'\\)"):
        usable_prompts(read_prompts(["M1T"]), decoder)
    met = Tally()
    kept = usable_prompts(read_prompts(["M1T", "1MK-T", "MKT"]), decoder, "skip", met)
    assert [prompt.name for prompt in kept] == ["prompt2", "prompt3"]
    assert (met.skipped, met.gaps, met.marks, dict(met.letters)) == (1, 1, 1, {"1": 1})
    with pytest.raises(InputError, match="every prompt was left out"):
        usable_prompts(read_prompts(["M1T"]), decoder, "skip")
    open_places = usable_prompts(read_prompts(["MK<mask>T"]), model)
    assert open_places[0].places == [2]
    made = biolm.generate(model, "MK<mask>T", temperature=0)
    assert (made[0].sequence[:2], made[0].sequence[3:]) == ("MK", "T")
    with pytest.raises(InputError, match="masks a place, but the model has no mask"):
        usable_prompts(read_prompts(["MK<mask>T"]), decoder)


def test_generated_files_tell_what_was_met(tmp_path: Path) -> None:
    decoder, told = small("progen2", causal=True), {}
    for policy in ("error", "skip"):
        settings = GenerateSettings(letters=policy, max_length=8, device="cpu")
        prompts = ["MK-T"] if policy == "error" else ["MK-T", "M1T"]
        told[policy] = generate_file(decoder, tmp_path / f"{policy}.fasta", prompts, settings).plain()[
            "letters"
        ]
    assert (told["error"]["gaps"], told["error"]["skipped"]) == (1, 0)
    assert (told["skip"]["gaps"], told["skip"]["skipped"]) == (1, 1)
    with pytest.raises(ConfigError, match="`letters` must be one of error, skip"):
        GenerateSettings(letters="unknown")


def test_tokens_tell_what_was_met(model: SequenceModel, fasta: Path, tmp_path: Path) -> None:
    found = tokenize_file(fasta, tmp_path / "t.parquet", model, TokenizeSettings()).provenance
    assert (found["letters"], found["final_stops"], found["gaps"]) == ("unknown", 2, 4)
    fasta.write_text(fasta.read_text() + ">odd\nMKJ\n")
    settings = TokenizeSettings(letters="skip")
    found = tokenize_file(fasta, tmp_path / "s.parquet", model, settings).provenance
    assert (found["letters"], found["skipped"], found["unknown_letters"]) == ("skip", 1, {"J": 1})


def test_training(model: SequenceModel, fasta: Path, caplog: pytest.LogCaptureFixture) -> None:
    examples = SequenceExamples([fasta], model.preprocessor, None, seed=0, long="crop")
    (tokens,) = list(examples.blocks())
    wanted = model.tokenize(SequenceBlock.of([TEXTS["clean"]] * 4))
    np.testing.assert_array_equal(tokens.ids, wanted.ids)
    assert (examples.tally.stops, examples.tally.gaps) == (2, 4)
    assert "taken out: 2 final stops (*), 4 gaps (- and .)" in caplog.text


@pytest.mark.parametrize("long", ["crop", "window"])
def test_stops_of_long_proteins_are_counted_and_never_trained_on(
    model: SequenceModel, tmp_path: Path, long: Literal["crop", "window"]
) -> None:
    # 48 letters fit the model: the third record has a stop inside, where a piece may end.
    texts = ["MKTAYIAKQR" * 20 + "*", "M" * 48 + "**-", "A" * 47 + "*" + "A" * 80 + "*", "MKV*"]
    path = tmp_path / "long.fasta"
    path.write_text("".join(f">r{n}\n{text}\n" for n, text in enumerate(texts)))
    examples = SequenceExamples([path], model.preprocessor, None, seed=0, long=long)
    for epoch in range(3):
        seen = examples.at(epoch)
        for tokens in seen.blocks():
            unknown = int((tokens.ids == model.tokenizer.special.unknown).sum())
            assert unknown == 1 if long == "window" else unknown <= 1
        assert (seen.tally.stops, seen.tally.gaps) == (5, 1)
    kept = SequenceExamples([path], model.preprocessor, None, seed=0, long=long, letters="skip")
    assert set(kept.record.tolist()) == {0, 1, 3}
    list(kept.blocks())
    assert (kept.tally.skipped, kept.tally.records, dict(kept.tally.letters)) == (1, 1, {"*": 1})
    with pytest.raises(InputError, match=r"letter '\*' at place 48 of record 'r2'"):
        SequenceExamples([path], model.preprocessor, None, seed=0, long=long, letters="error")


def test_rna_is_read_as_dna_by_byte_pairs() -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    from biolm.adapters.sequences import BpeTokenizer

    words = {token: number for number, token in enumerate(["[UNK]", "A", "C", "G", "T", "AC"])}
    content = Tokenizer(BPE(words, [("A", "C")], unk_token="[UNK]")).to_str()  # no secret
    tokenizer, tally = BpeTokenizer(content), Tally()
    tokens = tokenizer.tokenize(SequenceBlock.of(["ACGU", "acgt"]), tally=tally)
    assert tokens.ids.tolist() == [5, 3, 4, 5, 3, 4]
    assert not tally.letters
