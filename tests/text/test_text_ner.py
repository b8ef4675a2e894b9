"""Named entities: alignment, windows, constrained decoding, training and prediction."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.errors import CheckpointError, InputError
from biolm.io.text import Document, Mention
from biolm.io.text.words import split_words
from biolm.text.ner.labels import LabelSet
from biolm.text.ner.predict import predict
from biolm.text.ner.read import read_document, word_tags
from biolm.text.ner.tagger import load_tagger, new_tagger, save_tagger
from biolm.text.ner.train import train_ner
from biolm.text.pieces import first_pieces, load_pieces
from biolm.text.scores.entities import entity_scores
from biolm.text.settings import FitSettings
from biolm.text.windows import LengthReport, best_windows, window_starts


def sick(number, *, long=False):
    """A document whose diseases are its ulcers."""
    text = f"Patients {number} with gastric ulcers had aspirin"
    if long:
        text = " ".join([text] * 12)
    mentions, at = [], text.find("gastric ulcers")
    while at >= 0:
        mentions.append(Mention(((at, at + 14),), "Disease"))
        at = text.find("gastric ulcers", at + 1)
    return Document(str(number), text, mentions=tuple(mentions))


@pytest.fixture(scope="module")
def tagger(tiny, tmp_path_factory):
    """A tagger that has learned the ulcers."""
    folder = tmp_path_factory.mktemp("tagger") / "ner"
    train, dev = (
        [sick(number, long=number % 6 == 0) for number in range(48)],
        [sick(number) for number in range(100, 108)],
    )
    settings = FitSettings(epochs=3, lr=1e-2, head_lr=1e-2, batch_size=4, dropout=0.0)
    done = train_ner(tiny, train, dev, folder, settings)
    assert done.scores[done.best] == 1.0
    return folder


def test_it_learns_and_its_folder_reads_back(tagger, tiny):
    model, tokenizer = load_tagger(tagger), load_pieces(tagger)
    gold = [sick(number, long=number % 2) for number in range(200, 206)]
    found = list(predict(model, tokenizer, gold, device="cpu"))
    assert entity_scores(gold, found).f1 > 0.95
    assert all(mention.score > 0.5 for document in found for mention in document.mentions)
    assert [document.covered(document.mentions[0]) for document in found] == ["gastric ulcers"] * 6
    with pytest.raises(CheckpointError, match="without a trained head"):
        load_tagger(tiny)


def test_transformers_reads_the_folder_and_agrees(tagger):
    transformers = pytest.importorskip("transformers")
    import torch

    from biolm.text.ner.predict import batch_of

    model, tokenizer = load_tagger(tagger), load_pieces(tagger)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tagger).eval()
    assert theirs.config.id2label == {0: "O", 1: "B-Disease", 2: "I-Disease"}
    read = read_document(sick(7), tokenizer, 8)
    batch, rows = batch_of(read.windows)
    with torch.inference_mode():
        ours = model(batch)[rows]
        other = theirs(input_ids=torch.from_numpy(read.windows[0].ids)[None]).logits[0][rows]
    assert torch.allclose(ours, other, atol=1e-4)


def test_trap_9_nothing_is_cut(tagger):
    document = sick(300, long=True)
    model, tokenizer = load_tagger(tagger), load_pieces(tagger)
    report = LengthReport(tokenizer.longest)
    [found] = predict(model, tokenizer, [document], report=report)
    assert max(mention.start for mention in found.mentions) > 0.9 * len(document.text)
    assert report.long == 1
    assert "nothing cut" in str(report)


def test_trap_9_the_tokenizers_own_limit_is_lifted(minilm):
    """all-MiniLM-L6-v2 ships a tokenizer that cuts at 128 pieces."""
    tokenizer = load_pieces(minilm)
    assert len(tokenizer("word " * 900)) == 900
    assert tokenizer.longest == 512


@pytest.mark.parametrize("odd", ["\u200b", "\u00ad", "\ufeff", "\u202f", "\U000e0001"])
def test_trap_10_words_without_a_piece_keep_their_place(tiny, odd):
    tokenizer = load_pieces(tiny)
    text = f"aspirin {odd} causes ulcers"
    spans, at = [], 0
    for word in ("aspirin", odd, "causes", "ulcers"):
        at = text.index(word, at)
        spans.append((at, at + len(word)))
    document = Document("1", text, words=tuple(spans), mentions=(Mention((spans[3],), "Disease"),))
    read = read_document(document, tokenizer, 4)
    tags, lost = word_tags(document, read.words, LabelSet.of(["Disease"]))
    assert tags == ["O", "O", "O", "B-Disease"]
    assert lost == 0
    [window] = read.windows
    seen = [tokenizer.token(window.ids[row]) for row in window.rows]
    named = {int(word): token for word, token in zip(window.words, seen, strict=True)}
    assert sorted(named) == [0, 2, 3]
    assert (named[0], named[2], named[3]) == ("aspirin", "causes", "ulcer")


def test_trap_11_words_come_from_places_not_from_marks(minilm):
    tokenizer = load_pieces(minilm)
    text = "On 2013-10-23 ##s TNF-α rose"
    words = list(split_words(text))
    pieces = tokenizer(text)
    rows = first_pieces(pieces, words)
    assert (rows >= 0).all()
    assert [text[start] for start, _ in pieces.spans[rows].tolist()] == [text[start] for start, _ in words]


def test_trap_11_a_blank_before_a_piece_is_no_part_of_it():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from biolm.text.pieces import PieceTokenizer

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    engine = Tokenizer(models.BPE(letters, []))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    pieces = PieceTokenizer(engine, 32, "bytes")("a bc")
    words = list(split_words("a bc"))
    assert first_pieces(pieces, words).tolist() == [0, 2]


def test_trap_12_control_words_in_a_text_are_text(minilm):
    tokenizer = load_pieces(minilm)
    special = {tokenizer.number(word) for word in ("[SEP]", "[CLS]", "[MASK]", "[PAD]")}
    pieces = tokenizer("aspirin [SEP] [MASK] ulcers")
    assert not special & set(pieces.ids.tolist())
    assert tokenizer.prefix == (tokenizer.number("[CLS]"),)
    assert tokenizer.suffix == (tokenizer.number("[SEP]"),)


def test_trap_18_a_tokenizer_is_loaded_once(tiny):
    assert load_pieces(tiny) is load_pieces(tiny)


def test_trap_7_neighbours_stay_two_entities():
    labels = LabelSet.of(["X"])
    scores = np.log(np.array([[0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]]))
    assert [entity[:2] for entity in labels.entities(scores)] == [(0, 2), (2, 3)]


@given(
    scheme=st.sampled_from(["IOB2", "BIOES"]),
    scores=st.lists(st.lists(st.floats(-9, 0), min_size=9, max_size=9), min_size=1, max_size=8),
)
def test_decoded_tags_are_always_possible(scheme, scores):
    from biolm.io.text.tags import decode_tags, encode_tags, recognise_scheme

    prefixes = "BI" if scheme == "IOB2" else "BIES"
    labels = LabelSet(("O", *(f"{p}-{kind}" for kind in "XY" for p in prefixes)), scheme)
    table = np.array(scores)[:, : len(labels.names)]
    tags = [labels.names[number] for number in labels.decode(table)]
    assert encode_tags(decode_tags(tags, scheme), len(tags), scheme) == tags
    assert recognise_scheme([tags, ["O"]]) in ("IOB2", "BIOES", "IO", "IOB1")


@given(length=st.integers(1, 200), room=st.integers(4, 40))
def test_windows_cover_every_piece_with_context(length, room):
    overlap = room // 4
    starts = window_starts(length, room, overlap)
    best = best_windows(length, room, starts)
    for place, number in enumerate(best.tolist()):
        assert starts[number] <= place < starts[number] + room
    if len(starts) > 1:
        context = min(
            min(
                place - starts[n] if starts[n] else 999,
                starts[n] + room - 1 - place if starts[n] + room < length else 999,
            )
            for place, n in enumerate(best.tolist())
        )
        assert context >= overlap // 2 - 1


def test_a_document_on_both_sides_is_refused(tiny, tmp_path):
    both = Document("1", "one two three four five six seven eight nine ten eleven twelve ulcers")
    both = replace(both, mentions=(Mention(((63, 69),), "Disease"),))
    with pytest.raises(InputError, match="in the training and in the other set"):
        train_ner(tiny, [both], [replace(both, name="2")], tmp_path / "x")


def test_a_tokenizer_of_another_model_is_refused(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "mixed")
    config = json.loads((tmp_path / "mixed" / "config.json").read_text())
    config["vocab_size"] = 30
    (tmp_path / "mixed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_pieces(tmp_path / "mixed")


def test_a_tokenizer_without_places_is_refused(tiny, tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    shutil.copytree(tiny, tmp_path / "slow")
    (tmp_path / "slow" / "tokenizer.json").unlink()
    slow = type("Slow", (), {"is_fast": False})
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: slow())
    with pytest.raises(CheckpointError, match="is a slow one"):
        load_pieces(tmp_path / "slow")


def test_labels_without_meaning_are_refused(tiny, tmp_path):
    model = new_tagger(tiny, LabelSet.of(["X"]))
    save_tagger(model, tmp_path / "x", {})
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    config["id2label"] = {str(n): f"LABEL_{n}" for n in range(3)}
    (tmp_path / "x" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="LABEL_0"):
        load_tagger(tmp_path / "x")


def test_only_vocab_txt_as_biobert_is_published(tiny, tmp_path):
    shutil.copy(tiny / "config.json", tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"Word{n}" for n in range(60)), "a", "##a"]
    (tmp_path / "vocab.txt").write_text("\n".join(words[:80]), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    tokenizer = load_pieces(tmp_path)
    assert [tokenizer.token(number) for number in tokenizer("Word3 aa").ids] == ["Word3", "a", "##a"]
