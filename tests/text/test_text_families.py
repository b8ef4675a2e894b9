"""Heads on encoders of families that the core does not have: trained, written, read by both libraries."""

from __future__ import annotations

import shutil

import pytest
import torch
from test_text_ner import sick

from biolm.errors import CheckpointError
from biolm.io.text.questions import Question
from biolm.text.heads import TAGS, bare_encoder
from biolm.text.ner.predict import batch_of, predict
from biolm.text.ner.read import read_document
from biolm.text.ner.tagger import load_tagger
from biolm.text.ner.train import train_ner
from biolm.text.pieces import load_pieces
from biolm.text.qa.model import answer_questions, load_answerer, train_answerer
from biolm.text.scores.entities import entity_scores
from biolm.text.settings import FitSettings

transformers = pytest.importorskip("transformers")
SIZE = 200
CONFIGS = {
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=SIZE, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64
    ),
    "electra": lambda: transformers.ElectraConfig(
        vocab_size=SIZE, embedding_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    ),
    "modernbert": lambda: transformers.ModernBertConfig(
        vocab_size=SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    ),
}  # fmt: skip
QUICK = FitSettings(epochs=3, lr=1e-2, head_lr=1e-2, batch_size=4, dropout=0.0)


@pytest.fixture
def folder(tiny, tmp_path, request):
    """A small random encoder of a family with the tokenizer of the others."""
    torch.manual_seed(0)
    made = tmp_path / request.param
    transformers.AutoModel.from_config(CONFIGS[request.param]()).save_pretrained(made)
    shutil.copy(tiny / "tokenizer.json", made)
    return made


@pytest.mark.parametrize("folder", ["distilbert", "electra"], indirect=True)
def test_entities(folder, tmp_path):
    train = [sick(number, long=number % 6 == 0) for number in range(48)]
    out = tmp_path / "ner"
    done = train_ner(folder, train, [sick(number) for number in range(100, 108)], out, QUICK)
    assert done.scores[done.best] == 1.0
    model, tokenizer = load_tagger(out), load_pieces(out)
    gold = [sick(number, long=number % 2) for number in range(200, 204)]
    assert entity_scores(gold, list(predict(model, tokenizer, gold, device="cpu"))).f1 > 0.9
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(out).eval()
    assert theirs.config.id2label == {0: "O", 1: "B-Disease", 2: "I-Disease"}
    documents = (sick(7), sick(8, long=True))
    windows = [window for each in documents for window in read_document(each, tokenizer, 8).windows]
    batch, _ = batch_of(windows)
    with torch.inference_mode():
        ours = torch.split(model(batch), batch.lengths.tolist())
        for window, rows in zip(windows, ours, strict=True):
            alone = theirs(input_ids=torch.from_numpy(window.ids)[None]).logits[0]
            assert torch.allclose(rows, alone, atol=1e-4)


@pytest.mark.parametrize("folder", ["electra"], indirect=True)
def test_answers(folder, tmp_path):
    def asked(number):
        context = f"patients {number} had gastric ulcers with aspirin"
        start = context.index("gastric")
        return Question(str(number), "the ulcer", context, (("gastric ulcers",),), (start,))

    out = tmp_path / "qa"
    train_answerer(folder, [asked(n) for n in range(24)], [asked(n) for n in range(50, 54)], out, QUICK)
    found = list(answer_questions(load_answerer(out), load_pieces(out), [asked(70)], threshold=0.0))
    assert found[0][1][0].text == "gastric ulcers"
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(out)
    assert torch.equal(theirs.qa_outputs.weight, load_answerer(out).head.weight)


@pytest.mark.parametrize("folder", ["modernbert"], indirect=True)
def test_a_head_that_is_more_than_a_linear_layer_is_refused(folder):
    with pytest.raises(CheckpointError, match="are more than one linear layer"):
        bare_encoder(folder, TAGS)
