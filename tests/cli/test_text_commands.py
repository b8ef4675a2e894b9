"""The commands of text: help without torch, runs on small files, failures in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from biolm.cli.main import COMMANDS, app

PUBTATOR = (
    "1|t|Aspirin\n1|a|It causes ulcers in patients (PT). Ulcers hurt.\n1\t0\t7\tAspirin\tChemical\tD001241\n"
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pubtator").write_text(PUBTATOR)

    def invoked(*arguments, status=0):
        result = CliRunner().invoke(app, ["text", *map(str, arguments)])
        assert result.exit_code == status, f"{result.output}{result.exception}"
        return result.stdout if not status else result.output

    return invoked


def test_help_imports_no_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from biolm.cli.main import app;"
        "r = CliRunner().invoke(app, ['text', '--help']); assert r.exit_code == 0, r.output;"
        "r = CliRunner().invoke(app, ['text', 'ner', 'train', '--help']); assert r.exit_code == 0;"
        "print([n for n in ('torch', 'transformers', 'sklearn', 'gensim', 'spacy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_of_text_has_help():
    names = [name for name in COMMANDS if name.startswith("text ")]
    assert len(names) >= 18
    for name in names:
        result = CliRunner().invoke(app, [*name.split(), "--help"])
        assert result.exit_code == 0


def test_convert(run, tmp_path):
    run("convert", "a.pubtator", "-o", "b.xml")
    run("convert", "b.xml", "-o", "c.jsonl.gz")
    run("convert", "c.jsonl.gz", "-o", "d", "--format", "brat")
    assert (tmp_path / "d" / "1.ann").read_text().startswith("T1\tChemical 0 7\tAspirin\n")
    said = run("convert", "a.pubtator", "-o", "b.xml", status=1)
    assert "exists already" in said
    (tmp_path / "bad.pubtator").write_text(PUBTATOR.replace("0\t7", "2\t9"))
    said = run("convert", "bad.pubtator", "-o", "e.xml", status=1)
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "e.xml").exists()
    run("convert", "bad.pubtator", "-o", "e.xml", "--on-mismatch", "skip")
    assert "--on-mismatch must be one of error, skip, keep" in run(
        "convert", "a.pubtator", "-o", "f.xml", "--on-mismatch", "maybe", status=2
    )


def test_evaluate(run, tmp_path):
    said = run("evaluate", "a.pubtator", "--gold", "a.pubtator", "--other", "a.pubtator")
    assert "strict: TP 1 FP 0 FN 0" in said
    assert "no difference shown" in said
    assert "id: TP 1" in run("evaluate", "a.pubtator", "--gold", "a.pubtator", "--kind", "bc5cdr")
    (tmp_path / "x.txt").write_text("a b c d\n")
    assert "BLEU 100.00" in run("evaluate", "x.txt", "--gold", "x.txt", "--kind", "bleu")
    assert "rougeL 1.0000" in run("evaluate", "x.txt", "--gold", "x.txt", "--kind", "rouge")
    assert "--lenient does nothing for --kind bleu" in run(
        "evaluate", "x.txt", "--gold", "x.txt", "--kind", "bleu", "--lenient", status=2
    )
    assert "needs the right answers (--gold)" in run("evaluate", "x.txt", status=2)
    asked = {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": "abc",
                        "qas": [
                            {"id": "1", "question": "?", "answers": [{"text": "abc", "answer_start": 0}]}
                        ],
                    }
                ]
            }
        ]
    }
    (tmp_path / "gold.json").write_text(json.dumps(asked))
    (tmp_path / "found.json").write_text('{"1": "abc"}')
    assert "exact_match: 100.0000" in run("evaluate", "found.json", "--gold", "gold.json", "--kind", "squad")
    (tmp_path / "g.tsv").write_text("a\tB-X\nb\tI-X\n\n")
    (tmp_path / "f.tsv").write_text("a\tI-X\nb\tI-X\n\n")
    said = run("evaluate", "f.tsv", "--gold", "g.tsv", status=1)
    assert "lack 1 of 1 documents" in said


def test_link_and_find(run, tmp_path):
    (tmp_path / "terms.tsv").write_text("MESH:D014456\tulcer\n")
    run("link", "a.pubtator", "-o", "l.pubtator", "--terms", "terms.tsv", "--find", "--kind", "Disease")
    lines = (tmp_path / "l.pubtator").read_text().splitlines()
    assert [line.split("\t")[3:6] for line in lines[2:]] == [
        ["ulcers", "Disease", "MESH:D014456"],
        ["Ulcers", "Disease", "MESH:D014456"],
    ]
    assert "give a dictionary" in run("link", "a.pubtator", "-o", "m.xml", status=2)


def test_topics_and_network(run, tmp_path):
    lines = [
        {"id": str(n), "text": f"BRCA1 binds {'TP53' if n % 2 else 'EGFR'} in breast tumour cells {n}"}
        for n in range(30)
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "pairs in 30 documents" in run("network", "d.jsonl", "-o", "net.tsv")
    (tmp_path / "e.jsonl").write_text(
        "".join(
            json.dumps({"id": str(n), "text": ("heart valve artery" if n % 2 else "brain neuron axon")})
            + "\n"
            for n in range(30)
        )
    )
    said = run("topics", "e.jsonl", "--topics", "2", "--method", "plsa")
    assert "mean coherence" in said


def test_models_by_command(run, tiny_text, tmp_path):
    run("attention", "aspirin causes ulcers", "-o", "m.png", "-m", tiny_text, "--words", "--layer", "0")
    run("attention", "aspirin causes ulcers", "-o", "m.html", "-m", tiny_text)
    assert "leave out --layer" in run(
        "attention", "x", "-o", "n.html", "-m", tiny_text, "--head", "1", status=2
    )
    run("embed", "a.pubtator", "-o", "v.parquet", "-m", tiny_text)
    said = run("nearest", "a.pubtator", "--query", "ulcers", "-m", tiny_text, "--k", "2")
    assert len(said.splitlines()) == 2
    said = run("ner", "predict", "a.pubtator", "-m", tiny_text, "-o", "p.xml", status=1)
    assert "without a trained head" in said
    said = run("generate", "x", "-m", tiny_text, status=1)
    assert "no causal model" in said
    said = run("generate", "x", "-m", "tiny", "--server", "http://127.0.0.1:9/v1", "--timeout", "1", status=1)
    assert "cannot be reached" in said


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory):
    """A small random BERT with its tokenizer."""
    from biolm.io.text import Document
    from biolm.text.pretrain import pretrain_text
    from biolm.text.settings import PretrainSettings

    documents = [Document(str(n), f"Aspirin {n} causes ulcers. Patients {n} bleed.") for n in range(30)]
    folder = tmp_path_factory.mktemp("bert") / "tiny"
    pretrain_text(documents, folder, PretrainSettings(vocab_size=120, d_model=16, n_layers=1, steps=2))
    return folder
