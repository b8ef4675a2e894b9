"""Annotators of sequences: classes and numbers, of sequences and of letters, frozen and trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import biolm
from biolm.adapters.sequences import Tally, make_tokenizer
from biolm.adapters.sequences.spectrum import kmer_table, window_table
from biolm.core import CoreConfig, Transformer
from biolm.errors import BiolmError, CheckpointError, ConfigError, InputError
from biolm.io.digests import SEAL
from biolm.io.sequences import SequenceBlock
from biolm.models.native import Saved, save
from biolm.models.sequence_language import SequenceLanguage
from biolm.tasks.annotate import predict_sequences as predict_module
from biolm.tasks.annotate.fit_sequences import fit_sequences
from biolm.tasks.annotate.predict_sequences import predict_sequence_file, predict_sequences, write_found
from biolm.tasks.annotate.sequence_annotator import load_sequence_annotator
from biolm.tasks.annotate.settings import PredictSettings

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 families of two proteins that differ in one letter, their labels, and an untrained model."""
    folder = tmp_path_factory.mktemp("labelled")
    draws = np.random.default_rng(0)
    fasta, table, strings = [], ["id\tkind\tshare\tbad\n"], []
    for family in range(60):
        rich = family % 2
        text = draws.choice(LETTERS, draws.integers(30, 60))
        text[draws.random(len(text)) < 0.3] = "L" if rich else "K"
        for copy in "ab":
            text[draws.integers(len(text))] = "A"
            word, name = "".join(text), f"p{family}{copy}"
            fasta.append(f">{name}\n{word}\n")
            table.append(f"{name}\t{'rich' if rich else 'poor'}\t{(text == 'L').mean():.4f}\tone\n")
            strings.append(f">{name}\n{''.join('h' if letter in 'LK' else 'c' for letter in word)}\n")
    (folder / "p.fasta").write_text("".join(fasta))
    (folder / "labels.tsv").write_text("".join(table))
    (folder / "letters.fasta").write_text("".join(strings))
    tokenizer = make_tokenizer({"family": "letters", "alphabet": "esm"})
    torch.manual_seed(0)
    config = CoreConfig(
        vocab_size=tokenizer.size, d_model=16, n_layers=1, n_heads=2, d_ff=16, position="rope", head="mlm"
    )
    language = SequenceLanguage(name="tiny", tokenizer=tokenizer, max_length=34)
    (folder / "model").mkdir()
    saved = Saved(language=language, vocabulary=dict(tokenizer.vocabulary), core=config)
    save(folder / "model", saved, Transformer(config).state_dict())
    return folder


def fit(place: Path, **options: Any) -> Any:
    given = {"label": "kind", "labels": "labels.tsv", "device": "cpu", **options}
    labels = place / given.pop("labels")
    if given.get("method", "linear") in ("linear", "knn"):
        given = {name: value for name, value in given.items() if name not in ("rate", "epochs")}
    return fit_sequences(place / "p.fasta", labels, model=place / "model", **given)


@pytest.mark.parametrize("method", ["linear", "knn", "head"])
def test_classes_of_sequences(place: Path, tmp_path: Path, method: str) -> None:
    annotator = fit(place, method=method, output=tmp_path / "made", rate=0.02, epochs=6)
    report = annotator.report
    assert report["held_out"]["macro_f1"] > 0.8
    assert report["groups"] == 60
    assert report["test_sequences"] == 24
    assert [row["name"] for row in report["baselines"]][1] == "k-mers + logistic regression"
    before = predict_sequences(place / "p.fasta", annotator, device="cpu")
    after = predict_sequences(place / "p.fasta", tmp_path / "made", device="cpu")
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-5)
    assert (after.labels == np.repeat(["poor", "rich"] * 30, 2)).mean() > 0.8
    write_found(after, tmp_path / "found.h5ad")
    import anndata

    made = anndata.read_h5ad(tmp_path / "found.h5ad")
    assert made.obs_names[:2].tolist() == ["p0a", "p0b"]
    assert made.obsm["biolm_kind_probabilities"].shape == (120, 2)
    assert set(made.obs["biolm_kind"]) <= {"poor", "rich", "unknown"}


def test_near_copies_stay_on_one_side_unless_asked(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    from biolm.models.registry import load
    from biolm.tasks.annotate.sequences import read_samples
    from biolm.tasks.annotate.settings import FitSettings

    model: Any = load(place / "model")
    for split, shared in (("clusters", False), ("random", True)):
        settings = FitSettings(split=split)
        samples = read_samples(place / "p.fasta", place / "labels.tsv", "kind", model, settings)
        sides = samples.split(settings)
        families = [set(rows // 2) for rows in (sides.train, sides.test)]
        assert bool(families[0] & families[1]) == shared
    report = fit(place, split="random", method="knn").report
    assert report["split"] == "random"
    assert "near-copies" in caplog.text


@pytest.mark.parametrize("method", ["linear", "lora"])
def test_numbers_of_sequences(place: Path, tmp_path: Path, method: str) -> None:
    annotator = fit(
        place, label="share", numbers=True, method=method, output=tmp_path / "made", rate=0.02, epochs=8
    )
    report = annotator.report
    mean, kmers = report["baselines"]
    assert mean["name"] == "mean"
    assert kmers["name"] == "k-mers + ridge regression"
    assert report["held_out"]["r2"] > max(0.3, mean["r2"])
    found = predict_sequences(place / "p.fasta", tmp_path / "made", device="cpu")
    assert found.labels.shape == (120,)
    assert np.corrcoef(found.labels, [n // 2 % 2 for n in range(120)])[0, 1] > 0.5


@pytest.mark.parametrize("method", ["linear", "full"])
def test_classes_of_letters(place: Path, tmp_path: Path, method: str) -> None:
    annotator = fit(
        place, labels="letters.fasta", label="labels", per_residue=True, method=method,
        output=tmp_path / "made", rate=0.01, epochs=6,
    )  # fmt: skip
    assert annotator.report["held_out"]["macro_f1"] > 0.9
    found = predict_sequences(place / "p.fasta", load_sequence_annotator(tmp_path / "made"), device="cpu")
    write_found(found, tmp_path / "found.tsv")
    lines = (tmp_path / "found.tsv").read_text().splitlines()
    assert len(lines) == len(found.block.letters) + 1
    rows = [line.split("\t") for line in lines[1:]]
    assert rows[0][:2] == ["p0a", "1"]
    right = [row[3] == ("h" if row[2] in "LK" else "c") for row in rows]
    assert np.mean(right) > 0.85
    with pytest.raises(ConfigError, match=r"of letters not as \.h5ad"):
        write_found(found, tmp_path / "found.h5ad")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label": "knd"}, InputError, "no column 'knd'"),
        ({"label": "bad"}, InputError, "one class alone"),
        ({"label": "share"}, InputError, "classes of one sequence"),
        ({"numbers": True}, InputError, "hold text"),
        ({"numbers": True, "method": "knn"}, ConfigError, "knn votes"),
        ({"split": "even"}, ConfigError, "clusters, random"),
        ({"per_residue": True}, InputError, "give one character for each letter"),
        ({"batch": "bad"}, InputError, "all labelled sequences are of one group"),
        ({"leave_out": ("rich", "poor")}, InputError, "no record"),
    ],
)
def test_what_cannot_be_learned(
    place: Path, options: dict[str, Any], error: type[BiolmError], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(place, **options)


def test_other_models_and_folders_are_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reads no sequences"):
        fit_sequences(place / "p.fasta", place / "labels.tsv", label="kind", model="genetext")
    with pytest.raises(CheckpointError, match="no annotator of sequences"):
        load_sequence_annotator(place / "model")


def test_an_annotator_of_before_with_a_class_called_unknown_is_refused(place: Path, tmp_path: Path) -> None:
    fit(place, method="knn", output=tmp_path / "old")
    file = tmp_path / "old" / "annotation.json"
    facts = json.loads(file.read_text())
    facts["classes"][0] = "unknown"
    # Files from before there were digests hold none.
    del facts[SEAL]
    file.write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"label 'kind' of the annotator .* a class called 'unknown'"):
        predict_sequences(place / "p.fasta", tmp_path / "old", device="cpu")


def test_the_command(place: Path, tmp_path: Path) -> None:
    from biolm.cli.main import app

    def run(*words: object) -> Any:
        return CliRunner().invoke(app, ["annotate", *map(str, words)])

    fitted = ["fit", place / "p.fasta", "--label", "kind", "-m", place / "model", "-o", tmp_path / "made"]
    assert run(*fitted, "--method", "knn").exit_code == 2
    done = run(*fitted, "--labels", place / "labels.tsv", "--method", "knn", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "whole clusters at 50% identity" in done.output
    predicted = ["predict", place / "p.fasta", "-a", tmp_path / "made", "-o", tmp_path / "found.tsv"]
    assert run(*predicted).exit_code == 0
    assert (tmp_path / "found.tsv").read_text().startswith("name\tbiolm_kind\tbiolm_kind_confidence")
    assert run(*predicted).exit_code == 1


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        ({}, "h5ad"),
        ({}, "parquet"),
        ({"label": "share", "numbers": True}, "csv"),
        ({"labels": "letters.fasta", "label": "labels", "per_residue": True}, "tsv"),
        ({"method": "head", "rate": 0.02, "epochs": 1}, "tsv"),
    ],
)
def test_shards_merge_to_the_bytes_of_the_whole_and_jobs_resume(
    place: Path, tmp_path: Path, options: dict[str, Any], ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(place, output=tmp_path / "made", **options)
    path = tmp_path / "some.fasta"
    path.write_text((place / "p.fasta").read_text() + ">odd\nMKJLLLLLLL*\n")

    def job(name: str, **more: Any) -> Path:
        settings = PredictSettings(device="cpu", block_rows=16, **more)
        assert predict_sequence_file(path, tmp_path / name, tmp_path / "made", settings) > 0
        return tmp_path / name

    whole = job(f"whole.{ending}")
    parts = [job(f"s{n}", shard=f"{n}/3") for n in (1, 2, 3)]
    compute, calls = predict_module._Work.compute, []

    def dying(self: Any, block: SequenceBlock) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(block)
        return compute(self, block)

    monkeypatch.setattr(predict_module._Work, "compute", dying)
    with pytest.raises(KeyboardInterrupt):
        job(f"part.{ending}")
    monkeypatch.setattr(predict_module._Work, "compute", compute)
    job(f"part.{ending}", resume=True)
    # Merging reads neither the sequences nor the annotator.
    path.rename(tmp_path / "moved.fasta")
    (tmp_path / "made").rename(tmp_path / "gone")
    merged = biolm.merge(parts[::-1], tmp_path / f"merged.{ending}")
    for other in (merged, tmp_path / f"part.{ending}"):
        assert other.read_bytes() == whole.read_bytes()
        if ending in ("tsv", "csv"):
            assert other.with_suffix(".json").read_bytes() == whole.with_suffix(".json").read_bytes()
    with pytest.raises(ConfigError, match="leave the input out"):
        biolm.merge(parts, tmp_path / f"more.{ending}", data=path)


def test_what_a_prediction_does_not_use_is_refused(place: Path, tmp_path: Path) -> None:
    annotator = fit(place, method="knn")
    for option in ({"shard": "1/2"}, {"resume": True}):
        with pytest.raises(ConfigError, match=f"`{next(iter(option))}` is for jobs that write a file"):
            predict_sequences(place / "p.fasta", annotator, **option)
    with pytest.raises(ConfigError, match="a shard is a folder"):
        predict_sequence_file(place / "p.fasta", tmp_path / "x.tsv", annotator, PredictSettings(shard="1/2"))
    assert not list(tmp_path.iterdir())


def test_tables_of_letters() -> None:
    block = SequenceBlock.of(["MKVMKV", "MK", "xx"])
    table = kmer_table(block, protein=True, k=2)
    np.testing.assert_allclose(table.multiply(table).sum(1).ravel(), [[1, 1, 0]], atol=1e-6)
    assert table[0].nnz == 3
    window = window_table(block, reach=2).toarray().reshape(10, 5, 27)
    assert window[:, 2].argmax(1).tolist() == [ord(c) - 65 for c in "MKVMKVMKXX"]
    assert window[6, :2].sum() == 0
    assert window[6, 3].argmax() == ord("K") - 65


def test_labels_of_letters_lose_those_of_a_final_stop(place: Path, shared: Path) -> None:
    from biolm.models.registry import load
    from biolm.tasks.annotate.sequences import read_samples
    from biolm.tasks.annotate.settings import FitSettings

    awkward = shared / "data/awkward/sequences"
    model: Any = load(place / "model")
    settings, tally = FitSettings(per_residue=True), Tally()
    samples = read_samples(awkward / "an.fasta", awkward / "an_res.fasta", "labels", model, settings, tally)
    written = (awkward / "an_res.fasta").read_text().splitlines()[1]
    assert len(written) == 41
    assert samples.block.lengths[0] == 40
    assert "".join(np.array(samples.classes)[samples.values[:40]]) == written[:40]
    assert tally.stops > 0
    with pytest.raises(InputError, match=r"'sp.P00000.X_0' has 40 letters but 39 labels"):
        read_samples(awkward / "an.fasta", awkward / "an_res_short.fasta", "labels", model, settings)
    with pytest.raises(InputError, match=r"a string of letters, not a class; .*\(`per_residue=True`\)"):
        read_samples(awkward / "an.fasta", awkward / "an.fasta", "kind", model, FitSettings())


def test_blanks_around_a_label_are_no_part_of_it(place: Path, tmp_path: Path) -> None:
    rows = (place / "labels.tsv").read_text().replace("rich", "rich ", 7).splitlines()
    for number in (3, 4, 9):
        cells = rows[number].split("\t")
        rows[number] = "\t".join([cells[0], " ", *cells[2:]])
    (tmp_path / "blanks.tsv").write_text("\n".join(rows) + "\n")
    annotator = fit_sequences(
        place / "p.fasta",
        tmp_path / "blanks.tsv",
        label="kind",
        model=place / "model",
        method="knn",
        device="cpu",
    )
    assert annotator.classes == ("poor", "rich")


def test_unknown_letters_follow_the_policy(place: Path, tmp_path: Path) -> None:
    annotator = fit(place, method="knn")
    path = tmp_path / "odd.fasta"
    path.write_text(">a\nMKLLLLLLLL*\n>b\nMKJLLLLLLL\n")
    found = predict_sequences(path, annotator, device="cpu")
    assert found.block.text(0) == "MKLLLLLLLL"
    assert (found.tally.stops, dict(found.tally.letters)) == (1, {"J": 1})
    assert predict_sequences(path, annotator, device="cpu", letters="skip").block.names == ["a"]
    with pytest.raises(InputError, match="letter 'J' at place 3 of record 'b'"):
        predict_sequences(path, annotator, device="cpu", letters="error")
    write_found(found, tmp_path / "found.csv")
    assert '"final_stops": 1' in (tmp_path / "found.json").read_text()
