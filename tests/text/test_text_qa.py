"""Answers in a text, multiple choice, yes or no."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.io.text.questions import Question, read_bioasq, read_pubmedqa, read_squad
from biolm.text.pieces import load_pieces
from biolm.text.qa.choice import Choice, build_prompt, choose_option, score_options, shuffled, vote
from biolm.text.qa.model import answer_questions, load_answerer, train_answerer
from biolm.text.qa.spans import WindowScores, best_spans, tune_threshold
from biolm.text.qa.yesno import score_yesno, tfidf_answers
from biolm.text.settings import FitSettings
from biolm.text.windows import LengthReport


def asked(number, *, long=False, impossible=False):
    drug = f"aspirin{number}"
    filler = "the patients had " * (30 if long else 1)
    context = f"{filler}{f'gastric {number}' if impossible else f'causes {drug}'} of the ulcers"
    start = context.find(drug)
    answers = () if impossible else (((drug,),), (start,))
    return Question(str(number) + "i" * impossible, "causes?", context, *answers, impossible=impossible)


def test_it_learns_to_answer_and_to_say_nothing(tiny, tmp_path):
    train = [asked(n, long=n % 5 == 0, impossible=n % 4 == 0) for n in range(60)]
    dev = [asked(n, impossible=n % 2 == 0) for n in range(70, 78)]
    settings = FitSettings(epochs=4, lr=1e-2, head_lr=1e-2, batch_size=4)
    done = train_answerer(tiny, train, dev, tmp_path / "qa", settings)
    assert max(done.scores) > 70
    model, tokenizer = load_answerer(tmp_path / "qa"), load_pieces(tmp_path / "qa")
    report = LengthReport(tokenizer.longest)
    [(_, answers, gap)] = answer_questions(model, tokenizer, [asked(80, long=True)], report=report)
    assert report.long == 1
    assert all(answer.text == asked(80, long=True).context[answer.start : answer.end] for answer in answers)
    assert np.isfinite(gap)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "qa")
    assert torch.equal(theirs.qa_outputs.weight, model.head.weight)
    with pytest.raises(CheckpointError, match="without a trained head"):
        load_answerer(tiny)


def window(start, end, null, shift=0):
    size = len(start)
    spans = np.stack([np.arange(size) * 2, np.arange(size) * 2 + 1], 1) + shift
    return WindowScores(np.array(start, float), np.array(end, float), spans, null)


def test_trap_13_null_is_the_minimum_over_windows_and_edges_are_answers():
    context = "a b c d e f"
    # The first piece is the answer: not to be taken for no answer.
    answers, gap = best_spans(
        context, [window([9, 0, 0], [9, 0, 0], 1.0), window([0, 0, 0], [0, 0, 0], 30.0, 6)]
    )
    assert answers[0].text == "a"
    assert gap == 1.0 - 18.0
    answers, _ = best_spans(context, [window([0, 0, 1], [0, 0, 9], 1.0)], threshold=0.0)
    assert answers[0].text == "c"
    answers, _ = best_spans(context, [window([0, 0, 1], [0, 0, 1], 9.0)], threshold=0.0)
    assert answers[0].text == ""
    answers, _ = best_spans(context, [window([9, 0, 0], [0, 0, 9], 0.0)], longest=2)
    assert answers[0].text != context[:5]


def test_trap_13_a_threshold_needs_scores_that_differ():
    with pytest.raises(InputError, match="all the same"):
        tune_threshold([0.0, 0.0, 0.0], [1, 0, 1], [0, 1, 0])
    # Equal gaps cannot be parted.
    assert tune_threshold([1.0, 1.0, 5.0], [1, 0, 0], [0, 1, 1]) in (0.0, 3.0)


def test_squad_answers_must_be_where_they_are_said_to_be(data_text, tmp_path):
    questions = read_squad(data_text / "squad_format/xquad_en_dev.json")
    assert len(questions) == 632
    paragraph = {
        "context": "abc def",
        "qas": [{"id": "q7", "question": "?", "answers": [{"text": "def", "answer_start": 3}]}],
    }
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    with pytest.raises(InputError, match="question q7: the answer 'def' is not at its answer_start 3"):
        read_squad(path)
    assert read_squad(path, on_mismatch="skip")[0].answers == ()
    path.write_text("{")
    with pytest.raises(InputError, match="is not valid JSON"):
        read_squad(path)


def test_trap_14_bioasq_without_places(tmp_path):
    path = tmp_path / "b.json"
    snippet = {"text": "BRCA1 is a gene.", "offsetInBeginSection": 999}
    item = {
        "id": "1",
        "type": "factoid",
        "body": "Which gene?",
        "snippets": [snippet],
        "exact_answer": ["BRCA1"],
        "ideal_answer": "BRCA1.",
    }
    path.write_text(json.dumps({"questions": [item]}))
    [question] = read_bioasq(path)
    assert (question.context, question.answers, question.starts) == ("BRCA1 is a gene.", (("BRCA1",),), ())


def test_trap_20_the_conclusion_is_never_read(data_text, monkeypatch):
    train, test = read_pubmedqa(
        data_text / "pubmedqa/ori_pqal.json", data_text / "pubmedqa/test_ground_truth.json"
    )
    assert (len(train), len(test)) == (500, 500)
    for question in test:
        assert question.metadata["long_answer"] not in question.context
    from biolm.text.qa import yesno

    for parts in ("question", "context", "both"):
        read = yesno.inputs_of(test[:50], parts)
        assert not any(q.metadata["long_answer"] in text for q, text in zip(test, read, strict=False))


def test_a_test_file_that_the_data_do_not_cover(data_text, tmp_path):
    path = tmp_path / "ids.json"
    path.write_text('{"1": "yes"}')
    with pytest.raises(InputError, match="lacks 1 of the 1 test questions, first 1"):
        read_pubmedqa(data_text / "pubmedqa/ori_pqal.json", path)


def test_yes_no_with_words(data_text):
    train, test = read_pubmedqa(
        data_text / "pubmedqa/ori_pqal.json", data_text / "pubmedqa/test_ground_truth.json"
    )
    gold = [question.answers[0][0] for question in test]
    found = tfidf_answers(train, test, parts="question")
    result = score_yesno(gold, found, [question.answers[0][0] for question in train])
    assert result.majority == pytest.approx(0.552)
    assert 0.45 < result.accuracy.value < 0.62
    assert "difference" in str(result)


@pytest.fixture(scope="module")
def causal(tiny):
    from biolm.core import CoreConfig, Transformer

    torch.manual_seed(1)
    tokenizer = load_pieces(tiny)
    config = CoreConfig(
        vocab_size=tokenizer.size, d_model=16, n_layers=1, n_heads=2, d_ff=16, causal=True, head="linear"
    )
    return Transformer(config).eval(), tokenizer


def test_trap_16_norms_and_the_blank(causal):
    model, tokenizer = causal
    prompt = build_prompt(Choice("causes?", ("aspirin", "gastric ulcers")), show_options=False)
    scores = score_options(model, tokenizer, prompt, ("aspirin", "gastric ulcers"))
    assert np.allclose(scores.byte, scores.sum / np.array([7, 14]))
    alone = score_options(model, tokenizer, "Answer:", ("aspirin", "gastric ulcers"))
    assert np.allclose(scores.unconditional, scores.sum - alone.sum)
    assert np.allclose(alone.unconditional, 0, atol=1e-6)
    assert "byte:" in str(scores)
    with pytest.raises(ConfigError, match="ends with a blank"):
        score_options(model, tokenizer, prompt + " ", ("a",))
    with pytest.raises(ConfigError, match="norm must be one of"):
        choose_option(scores, "tokens")
    # The sum is of the option's tokens: computed by hand from the whole text.
    ids = [*tokenizer.prefix, *tokenizer(f"{prompt} aspirin").ids.tolist()]
    from biolm.text.scores.perplexity import token_log_probabilities

    assert scores.sum[0] == pytest.approx(
        token_log_probabilities(model, ids, longest=64, stride=32)[-1], abs=1e-4
    )


def test_few_shot_prompts_shuffling_and_votes():
    known, new = Choice("1+1?", ("2", "3"), 0), Choice("2+2?", ("3", "4"), 1)
    prompt = build_prompt(new, [known], instruction="Answer.")
    assert prompt.startswith("Answer.\n\nQuestion: 1+1?\nA. 2\nB. 3\nAnswer: 2\n\nQuestion: 2+2?")
    assert prompt.endswith("Answer:")
    for seed in range(5):
        mixed, _ = shuffled(new, seed)
        assert mixed.options[mixed.answer] == "4"
    assert vote(["a", "b", "b"]) == ("b", 2 / 3)
    assert vote(["", ""]) == ("", 0.0)
    with pytest.raises(InputError, match="needs its answer"):
        build_prompt(new, [Choice("?", ("a",))])


def test_a_question_that_leaves_no_room(tiny, tmp_path):
    from biolm.text.qa.model import _windows

    with pytest.raises(InputError, match="leaves no room for its context"):
        _windows(Question("9", "causes " * 60, "x"), load_pieces(tiny), None)
    shutil.rmtree(tmp_path)
