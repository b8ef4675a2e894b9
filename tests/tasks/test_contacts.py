"""Contacts from attention, against transformers and against structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import biolm
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.sequences import SequenceBlock
from biolm.io.structures import read_chain
from biolm.models.sequence_model import SequenceModel
from biolm.tasks.attention.contacts import ContactMap, contacts, fit_contacts, precision, read_chains
from biolm.tasks.attention.contacts_file import ContactSettings, contacts_file

pytest.importorskip("transformers")

RESIDUES = {"A": "ALA", "G": "GLY", "K": "LYS", "L": "LEU", "W": "TRP", "E": "GLU"}


@pytest.fixture(scope="module")
def esm(tmp_path_factory: pytest.TempPathFactory) -> tuple[SequenceModel, Any]:
    from transformers import EsmConfig, EsmForMaskedLM

    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        position_embedding_type="rotary", max_position_embeddings=90, token_dropout=True, mask_token_id=32,
        pad_token_id=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    config._attn_implementation = "eager"
    reference = EsmForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("esm")
    reference.save_pretrained(folder)
    return biolm.load(folder), reference


def helix(length: int, seed: int = 0) -> tuple[str, np.ndarray]:
    """Two antiparallel strands: residue i touches residue length - 1 - i."""
    rng = np.random.default_rng(seed)
    half = length // 2
    places = [(3.8 * i, 0.0, 0.0) for i in range(half)]
    places += [(3.8 * (length - 1 - i), 5.0, 0.0) for i in range(half, length)]
    return "".join(rng.choice(list(RESIDUES), length)), np.array(places)


def write_pdb(path: Path, sequence: str, places: np.ndarray, chain: str = "A", first: int = 1) -> Path:
    lines = []
    for number, (letter, (x, y, z)) in enumerate(zip(sequence, places, strict=True)):
        atom = "CA" if letter == "G" else "CB"
        lines.append(
            f"ATOM  {number + 1:>5}  {atom}  {RESIDUES[letter]} {chain}{first + number:>4}    "
            f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C"
        )
    path.write_text("\n".join([*lines, "TER", "END", ""]))
    return path


@pytest.mark.parametrize("length", [12, 57])
def test_contacts_are_those_of_transformers(length, esm):
    model, reference = esm
    sequence, _ = helix(length)
    found = next(contacts(SequenceBlock.of([sequence]), model=model, device="cpu"))
    ids = torch.from_numpy(model.tokenize(SequenceBlock.of([sequence])).ids.astype(np.int64))[None]
    with torch.no_grad():
        wanted = reference.esm.predict_contacts(ids, torch.ones_like(ids))[0].numpy()
    assert found.probabilities.shape == (length, length)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)
    np.testing.assert_allclose(found.probabilities, found.probabilities.T, atol=1e-6)
    assert wanted.std() > 1e-3


def test_pairs_are_in_order_of_probability(esm):
    found = next(contacts(SequenceBlock.of(["MKAL" * 5]), model=esm[0]))
    pairs = list(found.pairs())
    assert len(pairs) == 14 * 15 // 2
    assert all(second - first >= 6 for first, second, _ in pairs)
    values = [value for *_, value in pairs]
    assert values == sorted(values, reverse=True)
    assert len(list(found.pairs(least=values[3]))) == 4


def test_a_chain_knows_its_sequence_and_contacts(tmp_path):
    sequence, places = helix(40)
    chain = read_chain(write_pdb(tmp_path / "one.pdb", sequence, places))
    assert chain.sequence == sequence
    between = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.testing.assert_array_equal(chain.contacts, between < 8)
    assert chain.contacts[3, 36]


def test_mmcif_holds_the_same(tmp_path):
    from Bio.PDB import MMCIFIO, PDBParser

    sequence, places = helix(20)
    path = write_pdb(tmp_path / "one.pdb", sequence, places)
    writer = MMCIFIO()
    writer.set_structure(PDBParser(QUIET=True).get_structure("one", path))
    writer.save(str(tmp_path / "one.cif"))
    chain = read_chain(tmp_path / "one.cif", "A")
    assert chain.sequence == sequence
    np.testing.assert_array_equal(chain.contacts, read_chain(path).contacts)


def test_precision_counts_what_touches(tmp_path):
    """A map that is the truth is right wherever pairs touch; one of its opposite is wrong."""
    sequence, places = helix(60)
    chain = read_chain(write_pdb(tmp_path / "one.pdb", sequence, places))
    true = ContactMap("one", sequence, chain.contacts.astype(np.float32))
    shares = precision(true, chain)
    apart = np.subtract.outer(np.arange(60), np.arange(60)) * -1
    for name, (least, below) in {"short": (6, 12), "medium": (12, 24), "long": (24, 99)}.items():
        of_range = (apart >= least) & (apart < below)
        touching = int((chain.contacts & of_range).sum())
        assert shares[name] == pytest.approx(min(touching, 60) / min(60, int(of_range.sum())))
    wrong = precision(ContactMap("one", sequence, 1 - true.probabilities), chain)
    assert wrong["long"] == 0.0


def test_unresolved_residues_are_left_out(tmp_path):
    sequence, places = helix(60)
    whole = read_chain(write_pdb(tmp_path / "one.pdb", sequence, places))
    keep = np.r_[2:30, 35:60]
    part = "".join(sequence[i] for i in keep)
    chain = read_chain(write_pdb(tmp_path / "part.pdb", part, places[keep]))
    rng = np.random.default_rng(0)
    values = rng.random((60, 60)).astype(np.float32)
    found = ContactMap("one", sequence, values + values.T)
    first, second = np.triu_indices(60, 24)
    known = np.isin(first, keep) & np.isin(second, keep)
    first, second = first[known], second[known]
    best = np.argsort(-found.probabilities[first, second], kind="stable")[:60]
    assert precision(found, chain)["long"] == pytest.approx(whole.contacts[first[best], second[best]].mean())
    other, elsewhere = helix(60, seed=9)
    with pytest.raises(InputError, match="is not the structure of 'one'"):
        precision(found, read_chain(write_pdb(tmp_path / "other.pdb", other, elsewhere)))


def test_weights_fitted_on_structures_find_the_head_that_sees_contacts(esm, tmp_path, monkeypatch):
    """Head 5 of 12 is made to see them, dimly; all others see noise."""
    from biolm.core import contacts as core

    model, _ = esm
    paths = [write_pdb(tmp_path / f"{n}.pdb", *helix(40 + 2 * n, seed=n)) for n in range(3)]
    chains = read_chains([f"{paths[0]}:A", str(paths[1]), str(paths[2])])
    left = iter([*chains, *chains])
    features = core.contact_features

    def seeing(core_model, batch, pairs, skip):
        found = features(core_model, batch, pairs, skip)
        noise = torch.randn(found.shape, generator=torch.Generator().manual_seed(len(found)))
        touching = torch.from_numpy(next(left).contacts)[pairs]
        noise[:, 5] += 4 * touching
        return noise

    monkeypatch.setattr(core, "contact_features", seeing)
    weights = fit_contacts(chains, model=model, device="cpu")
    assert weights.shape == (13,)
    assert np.abs(weights[:-1]).argmax() == 5
    assert weights[5] > 5 * np.abs(np.delete(weights[:-1], 5)).max()
    np.testing.assert_array_equal(weights, fit_contacts(chains, model=model, device="cpu"))


def test_features_weighed_are_the_logits(esm):
    from biolm.core.contacts import contact_features, contact_logits

    model, _ = esm
    batch = biolm.Batch.from_tokens(model.tokenize(SequenceBlock.of(["MKALGEWKLA"])))
    pairs = torch.triu_indices(10, 10, 1)
    weights = torch.linspace(-3, 3, 13)
    features = contact_features(model.core, batch, (pairs[0], pairs[1]), (1, 1))
    logits = contact_logits(model.core, batch, weights, (1, 1))[0]
    torch.testing.assert_close(features @ weights[:-1] + weights[-1], logits[pairs[0], pairs[1]])


def test_what_cannot_be_done_is_named(esm, tmp_path):
    model, _ = esm
    with pytest.raises(InputError, match="longer than the 88 residues"):
        next(contacts(SequenceBlock.of(["MKAL" * 30]), model=model))
    bare = SequenceModel(model.preprocessor, model.core)
    with pytest.raises(ConfigError, match="holds no weights of contacts"):
        next(contacts(SequenceBlock.of(["MKAL"]), model=bare))
    with pytest.raises(ConfigError, match="has 3 weights but the model 12 heads"):
        next(contacts(SequenceBlock.of(["MKAL"]), model=model, weights=np.zeros(4, np.float32)))
    sequence, places = helix(20)
    path = write_pdb(tmp_path / "one.pdb", sequence, places, chain="B")
    with pytest.raises(InputError, match="has no chain 'A' but B"):
        read_chain(path, "A")
    (tmp_path / "empty.pdb").write_text("nothing\n")
    with pytest.raises(InputError, match="no PDB or mmCIF file"):
        read_chain(tmp_path / "empty.pdb")


def test_a_job_writes_pairs_maps_and_a_picture(esm, tmp_path):
    model, _ = esm
    sequence, places = helix(50)
    (tmp_path / "p.fasta").write_text(f">one\n{sequence}\n>two\n{sequence[:30]}\n")
    structure = write_pdb(tmp_path / "one.pdb", sequence, places)
    settings = ContactSettings(least=0.0, structure=f"{structure}:A", picture=tmp_path / "map.png")
    summary = contacts_file(tmp_path / "p.fasta", tmp_path / "pairs.tsv", model, settings)
    rows = (tmp_path / "pairs.tsv").read_text().splitlines()
    assert rows[0] == "sequence\tfirst\tsecond\tresidues\tprobability"
    assert summary.pairs == len(rows) - 1 == 44 * 45 // 2 + 24 * 25 // 2
    assert summary.sequences == 2
    found = next(contacts(tmp_path / "p.fasta", model=model))
    assert summary.precision == precision(found, read_chain(structure))
    name, first, second, residues, value = rows[1].split("\t")
    assert (name, residues) == ("one", sequence[int(first) - 1] + sequence[int(second) - 1])
    assert float(value) == pytest.approx(found.probabilities[int(first) - 1, int(second) - 1], abs=1e-4)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    contacts_file(tmp_path / "p.fasta", tmp_path / "maps.npz", model, ContactSettings())
    with np.load(tmp_path / "maps.npz") as held:
        assert held["names"].tolist() == ["one", "two"]
        np.testing.assert_array_equal(held["map_0"], found.probabilities)
    with pytest.raises(OutputError, match="exists already"):
        contacts_file(tmp_path / "p.fasta", tmp_path / "maps.npz", model, ContactSettings())
    with pytest.raises(ConfigError, match="use an ending among"):
        contacts_file(tmp_path / "p.fasta", tmp_path / "maps.csv", model, ContactSettings())


def test_the_command_reports_precision(esm, tmp_path):
    from typer.testing import CliRunner

    from biolm.cli.main import app

    sequence, places = helix(40)
    (tmp_path / "p.fasta").write_text(f">one\n{sequence}\n")
    structure = write_pdb(tmp_path / "one.pdb", sequence, places)
    folder = esm[0].preprocessor.files[0].parent if esm[0].preprocessor.files else esm[0]._files[0].parent
    arguments = ["contacts", str(tmp_path / "p.fasta"), "-m", str(folder), "-o", str(tmp_path / "o.tsv")]
    result = CliRunner().invoke(app, [*arguments, "--structure", str(structure), "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["precision"].keys() == {"short", "medium", "long"}


@pytest.mark.parametrize("form", ["tsv", "npz"])
def test_shards_merge_to_the_bytes_of_the_whole_and_jobs_resume(esm, tmp_path, monkeypatch, form):
    from biolm.tasks.attention import contacts_file as run

    monkeypatch.setattr(run, "_RECORDS", 2)
    model, _ = esm
    fasta = tmp_path / "p.fasta"
    fasta.write_text("".join(f">p{n}\n{'MKALGEWKLA' * 2}{'A' * n}\n" for n in range(7)))
    whole = contacts_file(fasta, tmp_path / f"whole.{form}", model, ContactSettings(least=0.0))
    parts = [tmp_path / f"s{n}" for n in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        contacts_file(fasta, part, model, ContactSettings(least=0.0, shard=f"{number}/3"))
    made = biolm.merge(parts[::-1], tmp_path / f"made.{form}")
    assert made.read_bytes() == whole.output.read_bytes()
    compute, calls = run._Work.compute, []

    def dying(self, block):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(block)
        return compute(self, block)

    monkeypatch.setattr(run._Work, "compute", dying)
    with pytest.raises(KeyboardInterrupt):
        contacts_file(fasta, tmp_path / f"part.{form}", model, ContactSettings(least=0.0))
    monkeypatch.setattr(run._Work, "compute", compute)
    resumed = contacts_file(fasta, tmp_path / f"part.{form}", model, ContactSettings(least=0.0, resume=True))
    assert resumed.pairs == whole.pairs
    assert resumed.output.read_bytes() == whole.output.read_bytes()
    with pytest.raises(ConfigError, match="of the whole job, not of a shard"):
        ContactSettings(shard="1/2", picture=tmp_path / "x.png")
