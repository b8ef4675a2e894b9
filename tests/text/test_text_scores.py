"""Scores against hand cases and the official scorers' figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from biolm.errors import ConfigError, InputError
from biolm.io.text import Document, Mention, read_documents
from biolm.io.text.questions import Question, exact_answers
from biolm.text.scores.answers import bioasq_scores, exact_match, squad_scores, token_f1
from biolm.text.scores.bc5cdr import score_bc5cdr
from biolm.text.scores.bootstrap import compare_f1, f1_interval
from biolm.text.scores.entities import Counts, entity_scores, pair_documents
from biolm.text.scores.lenient import lenient_counts
from biolm.text.scores.overlap import bleu, rouge
from biolm.text.scores.retrieval import retrieval_scores


def cdr(data_text, name):
    return list(read_documents(data_text / "bc5cdr_scorer" / f"CDR_sample.{name}.PubTator"))


def test_official_bc5cdr_scorer_mentions_and_ids(data_text):
    found = score_bc5cdr(cdr(data_text, "gold"), cdr(data_text, "test.DNER"))
    assert found.mention == Counts(303, 105, 121)
    for ours, official in zip((found.id.tp, found.id.fp, found.id.fn), (150, 56, 64), strict=True):
        assert abs(ours - official) <= 1


def test_official_bc5cdr_scorer_relations(data_text):
    found = score_bc5cdr(cdr(data_text, "gold"), cdr(data_text, "test.CID"))
    assert found.relation == Counts(90, 533, 33)


def test_trap_8_strict_scores_do_not_take_a_wrong_begin():
    gold, wrong = ["B-X", "I-X", "O"], ["I-X", "I-X", "O"]
    assert lenient_counts([gold], [wrong]).f1 == 1.0
    from biolm.io.text.tags import decode_tags

    text = "a b c"
    words = [(0, 1), (2, 3), (4, 5)]

    def document(tags):
        spans = [(words[a][0], words[b - 1][1]) for a, b, _ in decode_tags(tags, "IOB2")]
        return Document("1", text, mentions=tuple(Mention((span,), "X") for span in spans))

    assert entity_scores([document(gold)], [document(wrong)]).f1 == 0.0


def test_predictions_must_cover_the_test_set():
    one, two = Document("1", "a"), Document("2", "b")
    with pytest.raises(InputError, match="lack 1 of 2 documents of the test set, first 2"):
        pair_documents([one, two], [one])
    with pytest.raises(InputError, match="another text"):
        pair_documents([one], [Document("1", "x")])
    with pytest.raises(InputError, match="stands 2 times"):
        pair_documents([one, one], [one])


def test_better_is_said_only_where_the_interval_excludes_zero():
    rng = np.random.default_rng(0)
    first = [Counts(int(n), 1, 1) for n in rng.integers(0, 4, 40)]
    close = [Counts(max(0, each.tp - int(rng.random() < 0.05)), 1, 1) for each in first]
    assert compare_f1(first, first)[1] == "no difference shown"
    assert compare_f1(first, close)[1] == "no difference shown"
    interval = f1_interval(first)
    assert interval.low < interval.value < interval.high


def question(name, kind, exact, **rest):
    return Question(name, "?", "", exact_answers(exact, kind), kind=kind, **rest)


def test_squad_hand_cases():
    assert exact_match("The Broncos!", "broncos") == 1
    assert exact_match("U.S.", "us") == 1
    assert token_f1("in the year 1990", "1990") == 0.5
    asked = [
        Question("a", "?", "c", (("1990",), ("in 1990",)), (0, 0)),
        Question("b", "?", "c", (), impossible=True),
        Question("c", "?", "c", (("the",),), (0,)),
    ]
    scores = squad_scores(asked, {"a": "in 1990", "b": "", "c": ""})
    assert (scores["exact_match"], scores["f1"]) == (100.0, 100.0)
    scores = squad_scores(asked, {"a": "", "b": "something", "c": "x"})
    assert (scores["exact_match"], scores["f1"]) == (0.0, 0.0)
    assert scores["f1 unanswerable"] == 0.0
    with pytest.raises(InputError, match="lack 1 of 3 questions, first c"):
        squad_scores(asked, {"a": "", "b": ""})


def test_trap_13_no_gold_answer_is_no_crash():
    assert squad_scores([Question("a", "?", "c")], {"a": ""})["f1"] == 100.0


def test_trap_14_bioasq_answers_in_every_nesting():
    assert exact_answers("yes", "yesno") == (("yes",),)
    assert exact_answers([["BRCA1", "brca-1"]], "factoid") == (("BRCA1", "brca-1"),)
    assert exact_answers(["BRCA1", "brca-1"], "factoid") == (("BRCA1", "brca-1"),)
    assert exact_answers([["a"], ["b"]], "list") == (("a",), ("b",))
    assert exact_answers(["a", "b"], "list") == (("a",), ("b",))
    assert exact_answers(None, "summary") == ()


def test_bioasq_hand_cases():
    asked = [
        question("1", "yesno", "yes"),
        question("2", "yesno", "no"),
        question("3", "factoid", [["BRCA1", "breast cancer 1"]]),
        question("4", "factoid", ["TP53"]),
        question("5", "list", [["a", "A1"], ["b"]]),
        question("6", "summary", None),
    ]
    scores = bioasq_scores(
        asked,
        {"1": "yes", "2": "yes", "3": ["x", "Breast cancer 1"], "4": ["TP53"], "5": ["a1", "A", "c"]},
    )
    assert scores["yesno accuracy"] == 0.5
    assert scores["yesno macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert (scores["factoid strict"], scores["factoid lenient"]) == (0.5, 1.0)
    assert scores["factoid mrr"] == pytest.approx(0.75)
    assert scores["list precision"] == pytest.approx(1 / 3)
    assert scores["list recall"] == 0.5
    assert scores["list f1"] == pytest.approx(0.4)


def test_bleu_and_rouge_hand_cases():
    same = bleu(["Aspirin causes ulcers in patients."], [["Aspirin causes ulcers in patients."]])
    assert same.score == pytest.approx(100)
    assert same.signature == "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp"
    # Three of four words, one of three pairs; no triple of two, no quadruple of one: smoothed to 1/4 and 1/4.
    part = bleu(["a b x d"], [["a b c d"]])
    wanted = math.exp(sum(map(math.log, (75, 100 / 3, 100 / 4, 100 / 4))) / 4)
    assert part.score == pytest.approx(wanted)
    assert bleu(["a b"], [["a b c d"]]).brevity == pytest.approx(math.exp(-1))
    assert rouge(["a b c"], ["a c b"])["rougeL"] == pytest.approx(2 / 3)
    assert rouge([""], ["a"])["rouge1"] == 0.0


def test_retrieval_ties_share_their_ranks():
    flat = retrieval_scores(np.zeros((1, 5)), [[0]], k=(1, 3))
    assert flat["recall@1"] == 0.0
    assert flat["mrr"] == pytest.approx(1 / 3)
    assert flat["chance recall@1"] == pytest.approx(0.2)


def test_perplexity_counts_each_token_once_with_context():
    import torch

    from biolm.core import CoreConfig, Transformer
    from biolm.text.scores.perplexity import token_log_probabilities

    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 16, "max_length": 64}
    model = Transformer(CoreConfig(**sizes, causal=True, head="linear", position="rope")).eval()
    ids = np.random.default_rng(0).integers(0, 11, 40).tolist()
    whole = token_log_probabilities(model, ids, longest=64, stride=8)
    assert len(whole) == 39
    parts = token_log_probabilities(model, ids, longest=16, stride=8)
    assert len(parts) == 39
    assert np.allclose(parts[:15], whole[:15], atol=1e-5)
    assert (parts < 0).all()
    with pytest.raises(ConfigError, match="causal"):
        token_log_probabilities(Transformer(CoreConfig(**sizes)), ids, longest=16, stride=8)


def test_bioasq_file_has_the_official_form():
    from biolm.io.text.questions import bioasq_file

    asked = [question("3", "factoid", ["x"]), question("1", "yesno", "yes")]
    rows = json.loads(bioasq_file(asked, {"3": list("abcdefg"), "1": "no"}, {"1": "Because."}))["questions"]
    assert rows[0]["exact_answer"] == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert rows[1]["exact_answer"] == "no"
