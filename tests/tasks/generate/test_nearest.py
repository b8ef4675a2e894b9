"""The nearest record of a reference: copies, near copies, fragments, strands, and strangers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_sequences import in_memory
from typer.testing import CliRunner

import biolm
from biolm.errors import InputError
from biolm.io.sequences import SequenceBlock
from biolm.tasks.generate import nearest
from biolm.tasks.generate.nearest import Reference
from biolm.tasks.generate.run import generate_file
from biolm.tasks.generate.settings import GenerateSettings

RESIDUES = list("ACDEFGHIKLMNPQRSTVWY")


def drawn(rng: np.random.Generator, letters: str, length: int) -> str:
    return "".join(rng.choice(list(letters), length))


def changed(rng: np.random.Generator, text: str, places: int, letters: str) -> str:
    """The text with other letters at some places."""
    found = list(text)
    for place in rng.choice(len(text), places, replace=False):
        found[place] = rng.choice([letter for letter in letters if letter != found[place]])
    return "".join(found)


@pytest.fixture(scope="module")
def proteins() -> SequenceBlock:
    rng = np.random.default_rng(0)
    texts = [drawn(rng, "ACDEFGHIKLMNPQRSTVWY", 120) for _ in range(50)]
    return SequenceBlock.of(texts, [f"p{n}" for n in range(50)])


@pytest.mark.parametrize("places", [0, 12, 36])
def test_identity_is_the_share_that_was_kept(proteins: SequenceBlock, places: int) -> None:
    rng = np.random.default_rng(places)
    reference = Reference(proteins, protein=True)
    for row in (3, 30):
        query = changed(rng, proteins.text(row), places, "".join(RESIDUES))
        name, identity = reference.nearest(query)
        assert name == f"p{row}"
        # An alignment may find a few more by shifting.
        assert 1 - places / 120 <= identity <= 1 - places / 120 + 0.03


def test_parts_insertions_and_strangers(proteins: SequenceBlock) -> None:
    reference = Reference(proteins, protein=True)
    assert reference.nearest(proteins.text(7)[20:70]) == ("p7", 1.0)
    whole = proteins.text(9)
    name, identity = reference.nearest(whole[:60] + "GGGGSGGGGS" + whole[60:])
    assert (name, identity) == ("p9", pytest.approx(120 / 130, abs=0.02))
    assert reference.nearest("W" * 50) == ("", 0.0)
    assert reference.nearest("MK") == ("", 0.0)
    assert reference.nearest(whole[:40].lower() + "U" + whole[41:])[0] == "p9"


def test_dna_on_both_strands_and_in_long_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_PIECE", 1000)
    monkeypatch.setattr(nearest, "_STEP", 500)
    rng = np.random.default_rng(1)
    genome, plasmid = drawn(rng, "ACGT", 5230), drawn(rng, "ACGT", 300)
    reference = Reference(SequenceBlock.of([genome, plasmid], ["genome", "plasmid"]), protein=False)
    pairs = str.maketrans("ACGT", "TGCA")
    for start in (0, 730, 4990, 4830):
        piece = genome[start : start + 240 if start < 4900 else None]
        assert reference.nearest(piece) == ("genome", 1.0)
        assert reference.nearest(piece.translate(pairs)[::-1]) == ("genome", 1.0)
    assert reference.nearest(changed(rng, plasmid, 30, "ACGT")) == ("plasmid", pytest.approx(0.9, abs=0.01))


def test_too_large_a_reference_is_refused(proteins: SequenceBlock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_MOST", 1000)
    with pytest.raises(InputError, match="has 6,000 residues or bases, but at most 1,000 are searched"):
        Reference(proteins, protein=True)


def test_copies_are_flagged_in_the_file(tmp_path: Path) -> None:
    model = in_memory("progen2")
    hot = {"number": 12, "max_length": 60, "temperature": 4.0, "seed": 2, "device": "cpu"}
    made = biolm.generate(model, "MKT", **hot)
    place = int(np.argmax([each.generated for each in made]))
    assert made[place].generated > 11
    held = tmp_path / "train.fa"
    held.write_text(f">seen\n{made[place].sequence}\n>other\n{'WHWHC' * 9}\n")
    settings = GenerateSettings(**hot)
    summary = generate_file(model, tmp_path / "o.fa", "MKT", settings, held)
    headers = [line for line in (tmp_path / "o.fa").read_text().splitlines() if line.startswith(">")]
    assert "nearest=seen identity=1.000 copy=yes" in headers[place]
    assert summary.copies == sum("copy=yes" in header for header in headers) >= 1
    found = biolm.generate(model, "MKT", reference=held, **hot)
    assert (found[place].nearest, found[place].identity) == ("seen", 1.0)
    other = next(each for each in found if each.identity is not None and each.identity < 0.9)
    assert "copy=yes" in other.description(near=0.0)
    assert "copy=yes" not in other.description()
    with pytest.raises(InputError, match="the reference holds protein sequences"):
        biolm.generate(
            in_memory("dna"), "ACG", reference=SequenceBlock.of(["MKTLLILAVVAAALAAPHWEQRSDNNPFYKLMIWQEHHDA"])
        )


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    from biolm.cli.main import app

    for arguments, status, said in (
        (["-m", "genetext"], 2, "reads no sequences"),
        (["-m", "nothing/here/at/all"], 2, "there is no model or folder"),
        (["-m", "genetext", "--near", "2"], 2, "--near must be above 0 and at most 1"),
    ):
        result = CliRunner().invoke(app, ["generate", "-o", str(tmp_path / "o.fa"), "-p", "ACG", *arguments])
        assert result.exit_code == status
        assert said in result.stderr
        assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"gone\.fa"):
        biolm.generate(in_memory("dna"), "ACG", reference=tmp_path / "gone.fa")
