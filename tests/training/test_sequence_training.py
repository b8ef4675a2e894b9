"""Pretraining on sequences: examples, held-out groups, a saved model that opens again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import biolm
from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock, build_store, opened
from biolm.models.sequence_model import SequenceModel
from biolm.tasks.pretrain import plan_pretraining
from biolm.training.config.read import build
from biolm.training.run.prepare import prepare

CORE = {"d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32}


@pytest.fixture(scope="module")
def proteins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draws = np.random.default_rng(0)
    letters = np.array(list("LAGVSERTIDPKQNFYMHWC"))
    lengths = draws.integers(5, 60, 120)
    lines = [f">p{n} x\n{''.join(draws.choice(letters, size))}\n" for n, size in enumerate(lengths)]
    path = tmp_path_factory.mktemp("sequences") / "proteins.fasta"
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draws = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(">1\n" + "".join(draws.choice(list("ACGT"), 2000)) + "\n>2\nACGTACGTAC\n")
    return path


def settings(path: Path, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "data": {"paths": [str(path)], "validation": 0.2, "batch_tokens": 600},
        "model": {"adapter": "protein", "max_length": 32, "core": CORE},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "validate_every": 4, "checkpoint_every": 4},
    }
    for section, entries in changes.items():
        values[section] = {**values.get(section, {}), **entries}
    return values


def test_every_record_is_an_example_and_long_ones_are_cropped_anew(proteins: Path) -> None:
    examples: Any = prepare(build(settings(proteins))).examples
    tokens = next(iter(examples.blocks()))
    assert len(tokens) == 120
    assert tokens.lengths.max() == 32
    rows = np.flatnonzero(tokens.lengths == 32)
    again, later = examples.at(0).read(rows), examples.at(1).read(rows)
    assert np.array_equal(again.ids, tokens.take(rows).ids)
    assert not np.array_equal(later.ids, again.ids)
    # Any order and company of reading gives the same.
    assert np.array_equal(examples.at(1).read(rows[3:4])[0].ids, later[3].ids)


def test_windows_cover_every_letter_once(genome: Path) -> None:
    model = {"adapter": "dna", "max_length": 102}
    examples: Any = prepare(build(settings(genome, model=model))).examples
    tokens = next(iter(examples.blocks()))
    tokenizer = examples.preprocessor.tokenizer
    read = "".join(tokenizer.decode(tokens[row].ids) for row in range(len(tokens)))
    assert read == "".join(examples.store.record(row).tobytes().decode() for row in range(2))
    assert tokens.lengths.tolist() == [102] * 20 + [12]


def test_files_of_proteins_and_of_dna_are_not_mixed(proteins: Path, genome: Path, tmp_path: Path) -> None:
    values = settings(proteins)
    values["data"]["paths"].append(str(genome))
    with pytest.raises(
        InputError, match=r"genome.fa holds nucleotide sequences, the files before it protein"
    ):
        prepare(build(values))
    with pytest.raises(InputError, match=r"proteins.fasta holds protein"):
        biolm.pack([genome, proteins], tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("adapter", ["protein", "dna", "kmers"])
def test_train_and_open(adapter: str, proteins: Path, genome: Path, tmp_path: Path) -> None:
    path = proteins if adapter == "protein" else genome
    result = biolm.pretrain(settings(path, model={"adapter": adapter}), tmp_path / "run")
    assert {"loss", "unigram"} <= set(result.scores)
    model = biolm.load(result.model)
    assert isinstance(model, SequenceModel)
    assert model.kind == ("protein" if adapter == "protein" else "dna")
    assert model.max_length == 32
    text = "MKVLAAG" if adapter == "protein" else "ACGTACG"
    tokens = model.tokenize(SequenceBlock.of([text]))
    assert model.tokenizer.decode(tokens.ids) == text


def test_next_token_and_workers_do_not_change_the_result(proteins: Path, tmp_path: Path) -> None:
    weights = []
    for workers in (0, 2):
        chosen = settings(
            proteins,
            data={"workers": workers},
            model={"core": {**CORE, "causal": True, "head": "linear"}},
            objectives={"next_token": {}},
        )
        result = biolm.pretrain(chosen, tmp_path / str(workers))
        weights.append(biolm.load(result.model).core.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_groups_are_held_out_whole(proteins: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.tsv"
    groups.write_text("".join(f"g{n // 10}\tp{n}\n" for n in range(120)))
    job = prepare(build(settings(proteins, data={"groups": str(groups)})))
    held = job.found.held_out.reshape(12, 10)
    assert (held.all(1) | ~held.any(1)).all()
    assert 0 < held.all(1).sum() < 12
    groups.write_text("g\tnobody\n")
    with pytest.raises(InputError, match="names none of the 120 records"):
        prepare(build(settings(proteins, data={"groups": str(groups)})))


def test_a_store_is_trained_on_as_it_is(proteins: Path, tmp_path: Path) -> None:
    store = build_store(opened([proteins]), tmp_path / "proteins.store")
    from_store, from_file = (plan_pretraining(settings(path)) for path in (store, proteins))
    assert from_store == from_file
    assert from_file["vocabulary"] == 33


def test_what_does_not_fit(proteins: Path, genome: Path, shared: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.adapter 'rank' does not read"):
        prepare(build(settings(proteins, model={"adapter": "rank"})))
    with pytest.raises(InputError, match="holds DNA sequences but the model reads protein"):
        prepare(build(settings(genome)))
    cells = shared / "data" / "cells" / "hsmm_80.h5ad"
    with pytest.raises(ConfigError, match="mixes sequences with cells"):
        prepare(build(settings(proteins, data={"paths": [str(proteins), str(cells)]})))


@pytest.fixture(scope="module")
def first(proteins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of proteins, hardly trained."""
    folder = tmp_path_factory.mktemp("first")
    return biolm.pretrain(settings(proteins, trainer={"max_steps": 2}), folder / "run").model


def test_a_model_of_sequences_is_fine_tuned_from_a_table(proteins: Path, first: Path, tmp_path: Path) -> None:
    records = [line.split()[0][1:] for line in proteins.read_text().splitlines() if line.startswith(">")]
    letters = [line for line in proteins.read_text().splitlines() if not line.startswith(">")]
    kinds = [
        "" if n % 10 == 9 else "rich" if text.count("L") > 1 else "poor" for n, text in enumerate(letters)
    ]
    rows = [
        f"{name}\t{kind}\t{len(text)}\n" for name, kind, text in zip(records, kinds, letters, strict=True)
    ]
    (tmp_path / "labels.tsv").write_text("id\tkind\tsize\n" + "".join(reversed(rows)))
    table = {"table": str(tmp_path / "labels.tsv")}
    config = settings(
        proteins,
        data={"labels": {"kind": table, "size": table}},
        model={"start": str(first), "core": {}, "tokenizer": {"max_length": 24}, "lora": {"rank": 2}},
        objectives={
            "kind": {"objective": "classify", "column": "kind", "pool": "mean"},
            "size": {"objective": "regress", "column": "size", "pool": "mean", "weight": 0.1},
        },
        trainer={"max_epochs": 2},
    )
    job = prepare(build(config))
    assert job.labels is not None
    assert job.labels.counts(np.arange(120))["kind"] == (kinds.count("poor"), kinds.count("rich"))
    made: Any = biolm.load(biolm.pretrain(config, tmp_path / "run").model)
    assert isinstance(made, SequenceModel)
    assert made.max_length == 24
    said = made.predict(made.tokenize(SequenceBlock.of(["MKVL", "AGLL"])))
    assert said["kind"].shape == (2, 2)
    assert said["size"].shape == (2,)
    with pytest.raises(ConfigError, match="trained on no label"):
        biolm.load(first).predict(made.tokenize(SequenceBlock.of(["MKVL"])))


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"model": {"tokenizer": {"k": 3}}}, ConfigError, "only max_length"),
        ({"model": {"tokenizer": {"max_length": 99}}}, ConfigError, "at most 32"),
        ({"objectives": {"classify": {"column": "kind"}}}, InputError, "data.labels.kind.table"),
    ],
)
def test_impossible_starts_of_sequences(
    proteins: Path, first: Path, sections: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = {"start": str(first), "core": {}, **sections.pop("model", {})}
    with pytest.raises(error, match=message):
        prepare(build(settings(proteins, model=model, **sections)))


def test_clusters_are_held_out_whole(proteins: Path, tmp_path: Path) -> None:
    twins = tmp_path / "twins.fasta"
    text = proteins.read_text()
    twins.write_text(text + text.replace(">p", ">q"))
    job: Any = prepare(build(settings(twins, data={"groups": "clusters"})))
    held = job.found.held_out
    long = job.found.lengths[:120] > 20
    assert (held[:120] == held[120:])[long].all()
    assert 0.1 < held.mean() < 0.3


def test_unrelated_dna_is_not_one_cluster(tmp_path: Path) -> None:
    draws = np.random.default_rng(5)
    texts = ["".join(draws.choice(list("ACGT"), 1000, p=[0.35, 0.15, 0.15, 0.35])) for _ in range(60)]
    path = tmp_path / "windows.fa"
    path.write_text("".join(f">w{number}\n{text}\n" for number, text in enumerate(texts)))
    model = {"adapter": "dna", "max_length": 102}
    for more in ({}, {"identity": 0.6}):
        job = prepare(build(settings(path, model=model, data={"groups": "clusters", **more})))
        assert job.valid is not None
        assert len(set(job.examples.record[job.valid.rows].tolist())) == 12
    with pytest.raises(ConfigError, match=r"data.identity .* goes with data.groups: clusters"):
        build(settings(path, model=model, data={"identity": 0.6}))


def test_what_was_taken_out_is_written_down(proteins: Path, tmp_path: Path) -> None:
    path = tmp_path / "stops.fasta"
    path.write_text("".join(
        line + ("" if line.startswith(">") else "*") + "\n" for line in proteins.read_text().splitlines()
    ))  # fmt: skip
    biolm.pretrain(settings(path, trainer={"max_steps": 2}), output=tmp_path / "run")
    held = json.loads((tmp_path / "run" / "data.json").read_text())["letters"]
    # Every record counts once, cropped or not.
    assert held["final_stops"] == proteins.read_text().count(">")
    assert held["unknown_letters"] == {}


def test_records_with_unknown_letters_follow_the_policy(proteins: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.fasta"
    path.write_text(proteins.read_text() + ">odd\nMKV" + "A" * 60 + "J\n")
    many = proteins.read_text().count(">")
    run = settings(path, data={"letters": "skip"}, trainer={"max_steps": 2})
    assert len(prepare(build(run)).examples) == many
    biolm.pretrain(run, output=tmp_path / "run")
    held = json.loads((tmp_path / "run" / "data.json").read_text())["letters"]
    assert (held["skipped"], held["unknown_letters"]) == (1, {"J": 1})
    with pytest.raises(InputError, match=r"'J' at place 64 of record 'odd' .*\(data.letters: unknown\)"):
        prepare(build(settings(path, data={"letters": "error"})))
    with pytest.raises(ConfigError, match="letters"):
        build(settings(path, data={"letters": "some"}))
