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
from biolm.adapters.sequences.file import SequenceFile
from biolm.adapters.sequences.spectrum import kmer_table, window_table
from biolm.core import CoreConfig, Transformer
from biolm.errors import BiolmError, CheckpointError, ConfigError, InputError
from biolm.io.digests import SEAL
from biolm.io.sequences import SequenceBlock
from biolm.io.table import side_car
from biolm.models.native import Saved, save
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.tasks.annotate.labelling import SequencePrediction
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
    preprocessor = SequencePreprocessor(name="tiny", tokenizer=tokenizer, max_length=34)
    (folder / "model").mkdir()
    saved = Saved(preprocessor=preprocessor, vocabulary=dict(tokenizer.vocabulary), core=config)
    save(folder / "model", saved, Transformer(config).state_dict())
    return folder


def predict_file(path: Path, output: Path, annotator: Any, **options: Any) -> Path:
    biolm.annotate.predict_file(path, output, annotator, PredictSettings(device="cpu", **options))
    return output


def opened(path: Path) -> SequenceFile:
    return SequenceFile(path=path, label=str(path))


def fit(place: Path, **options: Any) -> Any:
    given = {"label": "kind", "labels": "labels.tsv", "device": "cpu", **options}
    labels = place / given.pop("labels")
    if given.get("method", "linear") in ("linear", "knn"):
        given = {name: value for name, value in given.items() if name not in ("rate", "epochs")}
    return biolm.annotate.fit(place / "p.fasta", labels=labels, model=place / "model", **given)


@pytest.mark.parametrize("method", ["linear", "knn", "head"])
def test_classes_of_sequences(place: Path, tmp_path: Path, method: str) -> None:
    annotator = fit(place, method=method, output=tmp_path / "made", rate=0.02, epochs=6)
    report = annotator.heads[0].report
    assert report["held_out"]["macro_f1"] > 0.8
    assert report["groups"] == 60
    assert report["test_sequences"] == 24
    assert [row["name"] for row in report["baselines"]][1] == "k-mers + logistic regression"
    before = biolm.annotate.predict(place / "p.fasta", annotator, device="cpu")
    after = biolm.annotate.predict(place / "p.fasta", tmp_path / "made", device="cpu")
    scores = [each.obsm["biolm_kind_probabilities"] for each in (before, after)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert (after.obs["biolm_kind"] == np.repeat(["poor", "rich"] * 30, 2)).mean() > 0.8
    import anndata

    made = anndata.read_h5ad(predict_file(place / "p.fasta", tmp_path / "found.h5ad", tmp_path / "made"))
    assert made.obs_names[:2].tolist() == ["p0a", "p0b"]
    assert made.obsm["biolm_kind_probabilities"].shape == (120, 2)
    assert set(made.obs["biolm_kind"]) <= {"poor", "rich", "unknown"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label": "share", "numbers": True},
        {"label": "labels", "labels": "letters.fasta", "per_residue": True},
    ],
)
def test_fine_tuning_starts_from_the_linear_solution(
    place: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sequences that fit the model; of longer ones windows overlap, and pieces do not."""
    from biolm.tasks.annotate import tune
    from biolm.tasks.annotate.steps import Choice

    compared = []

    def forced(make: Any, solutions: Any, folds: Any, rates: Any, epochs: int) -> Choice:
        (solution,) = solutions
        linear = solution.whole.logits(solution.points.vectors, solution.points.table)
        name = solution.column.name
        tuner = make({name: solution.target(solution.whole, solution.offsets(solution.whole))},
                     solution.rows, rates[0])  # fmt: skip
        short = np.flatnonzero(lengths(options.get("per_residue", False)) <= 32)
        rows = np.intersect1d(solution.rows, short)
        np.testing.assert_allclose(tuner.logits(rows)[name], linear[rows], atol=1e-4)
        weights, _ = tuner.maps()[name]
        np.testing.assert_array_equal(weights, solution.whole.vectors)
        tuner.run(2)
        assert not np.array_equal(tuner.maps()[name][0], weights)
        assert np.isfinite(tuner.logits(solution.rows)[name]).all()
        compared.append(len(rows))
        return Choice(rate=rates[0], looks=0, facts={"folds": 3})

    def lengths(per_residue: bool) -> Any:
        records = (place / "p.fasta").read_text().split(">")[1:]
        sizes = np.array([len(record.split("\n")[1]) for record in records])
        return np.repeat(sizes, sizes) if per_residue else sizes

    monkeypatch.setattr(tune, "choose", forced)
    fit(place, method="full", **options)
    assert compared[0] > 3


def test_near_copies_stay_on_one_side_unless_asked(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    from biolm.models.registry import load
    from biolm.tasks.annotate.samples import read_samples
    from biolm.tasks.annotate.settings import FitSettings

    model: Any = load(place / "model")
    for split, shared in (("clusters", False), ("random", True)):
        settings = FitSettings(split=split)
        samples = read_samples(opened(place / "p.fasta"), place / "labels.tsv", "kind", model, settings)
        sides = samples.split(settings)
        families = [set(rows // 2) for rows in (sides.train, sides.test)]
        assert bool(families[0] & families[1]) == shared
    report = fit(place, split="random", method="knn").heads[0].report
    assert report["split"] == "random"
    assert "near-copies" in caplog.text


@pytest.mark.parametrize("method", ["linear", "lora"])
def test_numbers_of_sequences(place: Path, tmp_path: Path, method: str) -> None:
    annotator = fit(
        place, label="share", numbers=True, method=method, output=tmp_path / "made", rate=0.02, epochs=8
    )
    report = annotator.heads[0].report
    mean, kmers = report["baselines"]
    assert mean["name"] == "mean"
    assert kmers["name"] == "k-mers + ridge regression"
    assert report["held_out"]["r2"] > max(0.3, mean["r2"])
    found = biolm.annotate.predict(place / "p.fasta", tmp_path / "made", device="cpu")
    assert found.obs["biolm_share"].dtype == np.float32
    assert np.corrcoef(found.obs["biolm_share"], [n // 2 % 2 for n in range(120)])[0, 1] > 0.5


@pytest.mark.parametrize("method", ["linear", "full"])
def test_classes_of_letters(place: Path, tmp_path: Path, method: str) -> None:
    annotator = fit(
        place, labels="letters.fasta", label="labels", per_residue=True, method=method,
        output=tmp_path / "made", rate=0.01, epochs=6,
    )  # fmt: skip
    assert annotator.heads[0].report["held_out"]["macro_f1"] > 0.9
    found = biolm.annotate.predict(
        place / "p.fasta", biolm.annotate.load_annotator(tmp_path / "made"), device="cpu"
    )
    assert found.obs_names[:2].tolist() == ["p0a:1", "p0a:2"]
    lines = (
        predict_file(place / "p.fasta", tmp_path / "found.tsv", tmp_path / "made").read_text().splitlines()
    )
    assert len(lines) == found.n_obs + 1
    rows = [line.split("\t") for line in lines[1:]]
    assert rows[0][:2] == ["p0a", "1"]
    right = [row[3] == ("h" if row[2] in "LK" else "c") for row in rows]
    assert np.mean(right) > 0.85
    with pytest.raises(ConfigError, match=r"of letters not as \.h5ad"):
        predict_file(place / "p.fasta", tmp_path / "found.h5ad", tmp_path / "made")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label": "knd"}, InputError, "no column 'knd'"),
        ({"label": "bad"}, InputError, "holds only 'one'"),
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
        biolm.annotate.fit(place / "p.fasta", labels=place / "labels.tsv", label="kind", model="genetext")
    with pytest.raises(CheckpointError, match="holds no annotator"):
        biolm.annotate.load_annotator(place / "model")
    cells = "data/cells/pbmc68k_reduced_counts_700.h5ad"
    annotator = fit(place, method="knn")
    with pytest.raises(CheckpointError, match="no annotator of cells: it names sequences"):
        biolm.annotate.predict(cells, annotator)
    with pytest.raises(ConfigError, match="labels of cells are columns of the data; leave `labels` out"):
        biolm.annotate.fit(cells, label="cell_type", labels=place / "labels.tsv")


def test_an_annotator_of_before_with_a_class_called_unknown_is_refused(place: Path, tmp_path: Path) -> None:
    fit(place, method="knn", output=tmp_path / "old")
    file = tmp_path / "old" / "annotation.json"
    facts = json.loads(file.read_text())
    facts["classes"][0] = "unknown"
    # Files from before there were digests hold none.
    del facts[SEAL]
    file.write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"label 'kind' of the annotator .* a class called 'unknown'"):
        biolm.annotate.predict(place / "p.fasta", tmp_path / "old", device="cpu")


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
        return predict_file(path, tmp_path / name, tmp_path / "made", block_rows=16, **more)

    whole = job(f"whole.{ending}")
    parts = [job(f"s{n}", shard=f"{n}/3") for n in (1, 2, 3)]
    compute, calls = SequencePrediction.compute, []

    def dying(self: Any, block: SequenceBlock) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(block)
        return compute(self, block)

    monkeypatch.setattr(SequencePrediction, "compute", dying)
    with pytest.raises(KeyboardInterrupt):
        job(f"part.{ending}")
    monkeypatch.setattr(SequencePrediction, "compute", compute)
    job(f"part.{ending}", resume=True)
    # Merging reads neither the sequences nor the annotator.
    path.rename(tmp_path / "moved.fasta")
    (tmp_path / "made").rename(tmp_path / "gone")
    merged = biolm.merge(parts[::-1], tmp_path / f"merged.{ending}")
    for other in (merged, tmp_path / f"part.{ending}"):
        assert other.read_bytes() == whole.read_bytes()
        if ending in ("tsv", "csv"):
            assert side_car(other).read_bytes() == side_car(whole).read_bytes()
    with pytest.raises(ConfigError, match="leave the input out"):
        biolm.merge(parts, tmp_path / f"more.{ending}", data=path)


def test_what_a_prediction_does_not_use_is_refused(place: Path, tmp_path: Path) -> None:
    annotator = fit(place, method="knn")
    for option in ({"shard": "1/2"}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ConfigError, match=f"`{next(iter(option))}` is for jobs that write a file"):
            biolm.annotate.predict(place / "p.fasta", annotator, **option)
    with pytest.raises(ConfigError, match="a shard is a folder"):
        predict_file(place / "p.fasta", tmp_path / "x.tsv", annotator, shard="1/2")
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
    from biolm.tasks.annotate.samples import read_samples
    from biolm.tasks.annotate.settings import FitSettings

    awkward = shared / "data/awkward/sequences"
    model: Any = load(place / "model")
    settings, tally = FitSettings(per_residue=True), Tally()
    fasta = opened(awkward / "an.fasta")
    samples = read_samples(fasta, awkward / "an_res.fasta", "labels", model, settings, tally)
    written = (awkward / "an_res.fasta").read_text().splitlines()[1]
    assert len(written) == 41
    assert samples.block.lengths[0] == 40
    assert "".join(np.array(samples.classes)[samples.values[:40]]) == written[:40]
    assert tally.stops > 0
    with pytest.raises(InputError, match=r"'sp.P00000.X_0' has 40 residues or bases but 39 labels"):
        read_samples(fasta, awkward / "an_res_short.fasta", "labels", model, settings)
    with pytest.raises(InputError, match=r"a string of letters, not a class; .*\(`per_residue=True`\)"):
        read_samples(fasta, awkward / "an.fasta", "kind", model, FitSettings())


def test_blanks_around_a_label_are_no_part_of_it(place: Path, tmp_path: Path) -> None:
    rows = (place / "labels.tsv").read_text().replace("rich", "rich ", 7).splitlines()
    for number in (3, 4, 9):
        cells = rows[number].split("\t")
        rows[number] = "\t".join([cells[0], " ", *cells[2:]])
    (tmp_path / "blanks.tsv").write_text("\n".join(rows) + "\n")
    annotator = biolm.annotate.fit(
        place / "p.fasta",
        labels=tmp_path / "blanks.tsv",
        label="kind",
        model=place / "model",
        method="knn",
        device="cpu",
    )
    assert annotator.heads[0].classes == ("poor", "rich")


def test_unknown_letters_follow_the_policy(place: Path, tmp_path: Path) -> None:
    annotator = fit(place, method="knn")
    path = tmp_path / "odd.fasta"
    path.write_text(">a\nMKLLLLLLLL*\n>b\nMKJLLLLLLL\n")
    found = biolm.annotate.predict(path, annotator, device="cpu")
    assert found.uns["biolm"]["biolm_kind"]["final_stops"] == 1
    skipped = biolm.annotate.predict(path, annotator, device="cpu", letters="skip")
    assert skipped.obs_names.tolist() == ["a"]
    with pytest.raises(InputError, match="letter 'J' at place 3 of record 'b'"):
        biolm.annotate.predict(path, annotator, device="cpu", letters="error")
    predict_file(path, tmp_path / "found.csv", annotator)
    assert '"final_stops": 1' in (tmp_path / "found.csv.json").read_text()
