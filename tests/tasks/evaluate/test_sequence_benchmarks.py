"""Folders of published benchmarks, small ones made of real sequences: read, scored, refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from perturb import perturb
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score
from typer.testing import CliRunner

import biolm
from biolm.adapters.sequences import make_tokenizer
from biolm.core import CoreConfig, Transformer
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.sequences import open_sequences
from biolm.models.sequence_model import SequenceModel
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.scoring.baselines import Fitted
from biolm.tasks.evaluate.benchmarks.layouts import find_assays, find_sets
from biolm.tasks.evaluate.benchmarks.score import score_predictor
from biolm.tasks.variants.assay import read_assay
from biolm.tasks.variants.assay_run import score_assay
from biolm.tasks.variants.settings import VariantSettings

WIDTH, TRAIN, TEST = 240, 60, 24


def tiny(alphabet: str, name: str) -> SequenceModel:
    tokenizer = make_tokenizer(alphabet)
    torch.manual_seed(0)
    sizes = {"d_model": 32, "n_layers": 1, "n_heads": 4, "d_ff": 32, "position": "rope", "head": "mlm"}
    core = perturb(Transformer(CoreConfig(**sizes, vocab_size=tokenizer.size)), std=0.3)
    assert isinstance(core, Transformer)
    return SequenceModel(SequencePreprocessor(name=name, tokenizer=tokenizer, max_length=300), core)


@pytest.fixture(scope="module")
def dna() -> SequenceModel:
    return tiny("dna", "tiny-dna")


@pytest.fixture(scope="module")
def windows(shared: Path) -> dict[str, list[str]]:
    """Windows of two bacteria of unlike composition, none twice."""
    found = {}
    for name, file in (("coli", "ecoli_536.fna.gz"), ("aureus", "saureus_NCTC8325.fna.gz")):
        with open_sequences(shared / "data/sequences/dna" / file, case="upper") as source:
            text = next(source.blocks(records=1)).text(0)
        pieces = [text[start : start + WIDTH] for start in range(0, len(text) - WIDTH, WIDTH)]
        found[name] = [piece for piece in pieces if set(piece) <= set("ACGT")][: TRAIN + TEST]
        assert len(found[name]) == TRAIN + TEST
    return found


@pytest.fixture(scope="module")
def folder(windows: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of each layout, all with the same sequences."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    top = tmp_path_factory.mktemp("benchmarks")
    for side, span in (("train", slice(0, TRAIN)), ("test", slice(TRAIN, None))):
        rows = [(text, str(label)) for label, name in enumerate(windows) for text in windows[name][span]]
        for name in windows:
            place = top / "coli_or_aureus" / side / name
            place.mkdir(parents=True)
            for number, text in enumerate(windows[name][span]):
                (place / f"{number:04}.txt").write_text(text)
        place = top / "GUE" / "virus" / "covid_like"
        place.mkdir(parents=True, exist_ok=True)
        lines = [f"{text},{label}" for text, label in rows]
        (place / f"{side}.csv").write_text("\n".join(["sequence,label", *lines, ""]))
        (place / "dev.csv").write_text("sequence,label\nACGT,0\n")
        place = top / "NT" / "H3"
        place.mkdir(parents=True, exist_ok=True)
        lines = [f">chr{n}|{label}\n{text}\n" for n, (text, label) in enumerate(rows)]
        (place / f"{side}.fna").write_text("".join(lines))
        place = top / "NT_revised" / "data"
        place.mkdir(parents=True, exist_ok=True)
        both = [*rows, *((text, str(1 - int(label))) for text, label in rows)]
        table = {"sequence": [r[0] for r in both], "label": [int(r[1]) for r in both]}
        table |= {"name": ["x"] * len(both), "task": ["one"] * len(rows) + ["two"] * len(rows)}
        pq.write_table(pa.table(table), place / f"{side}-00000-of-00001.parquet")
    return top


def test_every_layout_is_found_and_read(folder: Path, windows: dict[str, list[str]]) -> None:
    found = {each.name: each for each in find_sets(folder)}
    assert {name: each.layout for name, each in found.items()} == {
        "coli_or_aureus": "genomic",
        "GUE/virus/covid_like": "gue",
        "NT/H3": "nt",
        "NT_revised/one": "nt",
        "NT_revised/two": "nt",
    }
    wanted = {(text, str(label)) for label, name in enumerate(windows) for text in windows[name][TRAIN:]}
    for name, each in found.items():
        test = each.read("test")
        texts = [test.block.text(row) for row in range(len(test.block))]
        assert len(texts) == 2 * TEST
        own = set(zip(texts, test.labels.tolist(), strict=True))
        if name == "coli_or_aureus":
            own = {(text, str(list(windows).index(label))) for text, label in own}
        if name.endswith("two"):
            own = {(text, str(1 - int(label))) for text, label in own}
        assert own == wanted
        assert len(each.read("train").labels) == 2 * TRAIN
    (alone,) = find_sets(folder / "NT" / "H3")
    assert alone.name == "H3"


def test_scores_stand_beside_their_baselines(folder: Path, dna: SequenceModel, tmp_path: Path) -> None:
    scores = biolm.evaluate_sequences(folder, dna, output=tmp_path / "out", device="cpu")
    methods = ["tiny-dna + logistic regression", "6-mers + logistic regression", "majority class"]
    assert [score.method for score in scores] == methods * 5
    by_set = {score.dataset: score.metric for score in scores}
    assert by_set == {
        "coli_or_aureus": "accuracy",
        "GUE/virus/covid_like": "macro_f1",
        "NT/H3": "mcc",
        "NT_revised/one": "mcc",
        "NT_revised/two": "mcc",
    }
    for score in scores:
        assert (score.train, score.test, score.classes) == (2 * TRAIN, 2 * TEST, 2)
        if score.method == "majority class":
            assert (score.numbers["accuracy"], score.numbers["mcc"]) == (0.5, 0.0)
            assert score.numbers["auc"] == 0.5
        else:
            assert score.numbers["accuracy"] > 0.6
            assert score.low <= score.value <= score.high
    # The same sequences in any layout give the same numbers.
    kmers = [score.numbers for score in scores if score.method.startswith("6-mers")]
    assert all(numbers == kmers[0] for numbers in kmers[1:])
    facts = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert facts["model"]["kind"] == "tiny-dna"
    with (tmp_path / "out" / "scores.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row, score, plain in zip(rows, scores, facts["scores"], strict=True):
        assert float(row["value"]) == plain["value"] == pytest.approx(score.value, abs=1e-6)
        assert (row["spearman"], plain["spearman"]) == ("", None)
    table = (tmp_path / "out" / "scores.md").read_text()
    assert table.count("\n| ") == 15
    assert "**" in table
    with pytest.raises(OutputError, match="exists already"):
        biolm.evaluate_sequences(folder, dna, output=tmp_path / "out")


def test_letters_follow_the_policy_and_are_told(
    windows: dict[str, list[str]], dna: SequenceModel, tmp_path: Path
) -> None:
    for side, span in (("train", slice(0, 20)), ("test", slice(20, 32))):
        (tmp_path / "set" / side).mkdir(parents=True)
        for name in windows:
            place = tmp_path / "set" / side / name
            place.mkdir()
            for number, text in enumerate(windows[name][span]):
                # One record of each class and side has a letter that no base is called by.
                (place / f"{number:04}.txt").write_text(f"{text[:9]}Z{text[10:]}" if number == 3 else text)
    told = {}
    for policy in ("unknown", "skip"):
        out = tmp_path / policy
        scores = biolm.evaluate_sequences(tmp_path / "set", dna, output=out, device="cpu", letters=policy)
        facts = json.loads((out / "scores.json").read_text())
        assert facts["settings"]["letters"] == policy
        told[policy] = (scores[0].train, scores[0].test, *facts["letters"].values())
    train, test, counts = told["unknown"]
    assert (train, test, counts["with_unknown_letters"], counts["skipped"]) == (40, 24, 4, 0)
    train, test, counts = told["skip"]
    assert (train, test, counts["with_unknown_letters"], counts["skipped"]) == (38, 22, 4, 4)
    with pytest.raises(InputError, match="letter 'Z' at place 10"):
        biolm.evaluate_sequences(tmp_path / "set", dna, device="cpu", letters="error")


def test_a_set_can_be_chosen_and_made_smaller(folder: Path, dna: SequenceModel) -> None:
    few = biolm.evaluate_sequences(folder, dna, datasets=("NT/H3",), most=30, device="cpu")
    assert {(score.dataset, score.train, score.test) for score in few} == {("NT/H3", 30, 30)}
    again = biolm.evaluate_sequences(folder, dna, datasets=("NT/H3",), most=30, device="cpu")
    assert few == again
    with pytest.raises(ConfigError, match=r"holds no data set H9; it has GUE/virus/covid_like, "):
        biolm.evaluate_sequences(folder, dna, datasets=("H9",))


@pytest.mark.parametrize("classes", [2, 4])
def test_numbers_are_those_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    names = np.array([f"c{n}" for n in range(classes)])
    truth = rng.choice(names, 200)
    shares = rng.random((200, classes)) + 0.7 * (truth[:, None] == names)
    shares /= shares.sum(1, keepdims=True)
    called = names[shares.argmax(1)]
    predictor = Fitted(names, lambda table: shares)
    wanted = {
        "accuracy": accuracy_score(truth, called),
        "macro_f1": f1_score(truth, called, average="macro"),
        "mcc": matthews_corrcoef(truth, called),
        "auc": roc_auc_score(truth, shares[:, 1])
        if classes == 2
        else roc_auc_score(truth, shares, multi_class="ovr", average="macro"),
    }
    for metric in ("accuracy", "macro_f1", "mcc"):
        numbers, low, high = score_predictor(predictor, None, truth, metric, 0)
        assert numbers == pytest.approx(wanted)
        assert low < numbers[metric] < high
        assert high - low < 0.4


def test_classes_that_a_side_lacks_do_no_harm() -> None:
    names = np.array(["a", "b", "c"])
    predictor = Fitted(names, lambda table: np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2]]))
    numbers, _, _ = score_predictor(predictor, None, np.array(["a", "b", "d"]), "mcc", 0)
    assert numbers["accuracy"] == pytest.approx(2 / 3)
    assert numbers["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert numbers["auc"] == 1.0
    alone, _, _ = score_predictor(predictor, None, np.array(["a", "a", "a"]), "mcc", 0)
    assert alone["mcc"] == 0.0
    assert np.isnan(alone["auc"])


@pytest.fixture(scope="module")
def gym(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three assays of two real proteins in the layout of ProteinGym; measurements are drawn."""
    top = tmp_path_factory.mktemp("gym")
    with open_sequences(shared / "data/sequences/proteins/prokka_escherichia.fasta.gz") as source:
        block = next(source.blocks(records=200))
    rows = np.flatnonzero((block.lengths > 60) & (block.lengths < 120))[:2]
    proteins = [block.text(int(row)) for row in rows]
    rng = np.random.default_rng(0)
    (top / "DMS_ProteinGym_substitutions").mkdir()
    (top / "reference_files").mkdir()
    lines = ["DMS_id,DMS_filename,UniProt_ID,target_seq,coarse_selection_type"]
    for number, function in enumerate(["Stability", "Binding", "Stability"]):
        wild = proteins[number // 2]
        name = f"P{number // 2}_ECOLI_Author_202{number}"
        table = ["mutant,mutated_sequence,DMS_score,DMS_score_bin"]
        for place in range(5, 35):
            new = str(rng.choice([letter for letter in "ACDEFGHIKLMNPQRSTVWY" if letter != wild[place]]))
            score = rng.normal()
            mutated = wild[:place] + new + wild[place + 1 :]
            table.append(f"{wild[place]}{place + 1}{new},{mutated},{score:.4f},{int(score > 0)}")
        (top / "DMS_ProteinGym_substitutions" / f"{name}.csv").write_text("\n".join([*table, ""]))
        lines.append(f"{name},{name}.csv,P{number // 2}_ECOLI,{wild},{function}")
    lines.append(f"gone,gone.csv,X,{proteins[0]},Binding")
    (top / "reference_files" / "DMS_substitutions.csv").write_text("\n".join([*lines, ""]))
    return top


def test_assays_are_scored_as_score_variants_does(gym: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biolm.tasks.variants.baseline._SAMPLES", 20)
    model = tiny("esm", "tiny-protein")
    scores = biolm.evaluate_sequences(gym, model, device="cpu")
    found = {(score.dataset, score.method): score for score in scores}
    assays = find_assays(gym)
    assert assays is not None
    assert len(assays.rows) == 3
    values = []
    for path, _ in assays.rows:
        settings = VariantSettings(device="cpu")
        wanted = score_assay(read_assay(path, reference=assays.reference), model, settings)
        numbers = [each["spearman"] for each in wanted.correlations.values()]
        own = [score for score in scores if score.dataset == path.stem]
        assert [score.value for score in own] == numbers
        assert own[-1].method == "blosum62"
        assert own[0].method.startswith("tiny-protein ")
        assert own[0].test == 30
        values.append(own[0].value)
    # Both assays of stability are of different proteins, the one of binding stands for itself.
    mean = found["mean of assays", next(score.method for score in scores)]
    assert mean.value == pytest.approx(((values[0] + values[2]) / 2 + values[1]) / 2, abs=1e-6)
    assert np.isnan(mean.low)


def test_what_is_no_benchmark_is_named(folder: Path, dna: SequenceModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        biolm.evaluate_sequences(tmp_path / "gone", dna)
    with pytest.raises(InputError, match="holds no benchmark that biolm knows"):
        biolm.evaluate_sequences(tmp_path, dna)
    with pytest.raises(InputError, match="holds DNA sequences but the model reads protein"):
        biolm.evaluate_sequences(folder, tiny("esm", "tiny-protein"))
    place = tmp_path / "set"
    place.mkdir()
    for side in ("train", "test"):
        (place / f"{side}.csv").write_text("seq,label\nACGT,0\n")
    with pytest.raises(InputError, match=r"has no column sequence; it has seq, label"):
        biolm.evaluate_sequences(tmp_path, dna)
    for side in ("train", "test"):
        (place / f"{side}.csv").write_text("sequence,label\nACGT,0\nACGG,0\n")
    with pytest.raises(InputError, match="holds one class alone"):
        biolm.evaluate_sequences(tmp_path, dna)
    (place / "train.csv").write_text("sequence,label\nACGT,0\nACGG,\n")
    with pytest.raises(InputError, match=r"line 3 of .* lacks its sequence or label"):
        biolm.evaluate_sequences(tmp_path, dna)
    for side in ("train", "test"):
        (place / f"{side}.csv").unlink()
        (place / f"{side}.fna").write_text(">one\nACGT\n")
    with pytest.raises(InputError, match=r"record 'one' of .* names no class"):
        biolm.evaluate_sequences(tmp_path, dna)
    (tmp_path / "DMS_substitutions.csv").write_text("DMS_filename,target_seq\nx.csv,MK\n")
    with pytest.raises(InputError, match="none of its 1 assays"):
        biolm.evaluate_sequences(tmp_path, dna)


def test_the_command_fails_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    from biolm.cli.main import app

    arguments = ["benchmark", str(folder), "-m", "genetext", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "reads no sequences" in result.stderr
    assert not (tmp_path / "out").exists()


def test_sets_of_the_other_kind_are_left_out(
    folder: Path, dna: SequenceModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    shutil.copytree(folder / "coli_or_aureus", tmp_path / "dna_set")
    draws = np.random.default_rng(0)
    for side in ("train", "test"):
        for name in ("greasy", "basic"):
            place = tmp_path / "a_proteins" / side / name
            place.mkdir(parents=True)
            for number in range(12):
                text = "".join(draws.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60))
                (place / f"{number}.txt").write_text(text)
    scores = biolm.evaluate_sequences(tmp_path, dna, most=20)
    assert {score.dataset for score in scores} == {"dna_set"}
    assert "a_proteins is left out: a_proteins holds protein sequences but the model reads DNA" in caplog.text
    with pytest.raises(InputError, match="a_proteins holds protein sequences"):
        biolm.evaluate_sequences(tmp_path, dna, datasets=("a_proteins",))
    shutil.rmtree(tmp_path / "dna_set")
    with pytest.raises(InputError, match="holds no data set that model tiny-dna reads"):
        biolm.evaluate_sequences(tmp_path, dna)
