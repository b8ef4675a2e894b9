"""Pre-training from raw text: whole words, splits by document, tokenizers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from biolm.errors import ConfigError, InputError
from biolm.io.text import Document
from biolm.objectives.draws import Draw
from biolm.text.pieces import load_pieces
from biolm.text.pretrain import pretrain_text, split_documents
from biolm.text.settings import PretrainSettings
from biolm.text.train_tokenizer import train_tokenizer

WORDS = [
    "gastric",
    "ulcers",
    "patients",
    "aspirin",
    "causes",
    "bleeding",
    "inflammation",
    "kidney",
    "liver",
    "glucose",
    "insulin",
    "pancreas",
]


def corpus(count):
    texts = []
    for number in range(count):
        a, b, c = (WORDS[(number * k + k) % len(WORDS)] for k in (1, 3, 5))
        texts.append(f"The {a} of the {b} rose. Then {c} fell in {a}. It was {b} again. No {c} was seen.")
    return [Document(str(number), f"{text} {number}") for number, text in enumerate(texts)]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_small_encoder_learns_more_than_frequencies(tmp_path, kind):
    settings = PretrainSettings(
        tokenizer=kind, vocab_size=320, d_model=32, n_layers=1, max_length=64, steps=60, lr=5e-3
    )
    done = pretrain_text(corpus(80), tmp_path / "bert", settings)
    assert done.masked < done.unigram
    assert 0 <= done.next_sentence <= 1
    assert "frequencies alone" in str(done)
    tokenizer = load_pieces(tmp_path / "bert")
    assert tokenizer.text_of(tokenizer("gastric ulcers").ids).strip() == "gastric ulcers"
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "bert")
    assert model.config.vocab_size == tokenizer.size
    if kind == "wordpiece":
        _tagger_on(tmp_path / "bert", tmp_path / "tagger")


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_the_same_texts_give_the_same_tokenizer(kind):
    """Many pairs of letters are equally frequent, and the trainer breaks ties by its own numbers."""
    texts = [f"{a}{b} {b}{a}, {a}!" for a in WORDS for b in WORDS]
    settings = PretrainSettings(tokenizer=kind, vocab_size=400)
    found = {train_tokenizer(texts, settings).to_str() for _ in range(6)}
    assert len(found) == 1


def test_letters_that_go_on_a_word_are_no_special_tokens():
    engine = train_tokenizer(["ab ##b abab"] * 4, PretrainSettings(vocab_size=60))
    added = [token.content for token in engine.get_added_tokens_decoder().values()]
    assert added == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert engine.encode("a##b", add_special_tokens=False).tokens == ["a", "#", "#", "b"]


def _tagger_on(folder, target):
    """An encoder with a head for masked tokens, as BioBERT is published, takes a tagger's head."""
    from biolm.io.text import Mention
    from biolm.text.ner.tagger import load_tagger
    from biolm.text.ner.train import train_ner
    from biolm.text.settings import FitSettings

    def tagged(document):
        start = document.text.index("rose")
        return replace(document, mentions=(Mention(((start, start + 4),), "Verb"),))

    made = [tagged(document) for document in corpus(10)]
    train_ner(folder, made[:6], made[6:], target, FitSettings(epochs=1))
    assert load_tagger(target).labels.kinds == ("Verb",)


def test_words_are_masked_whole(tiny):
    from biolm.batch import Batch
    from biolm.text.pretrain import MaskWholeWords

    tokenizer = load_pieces(tiny)
    going_on = tuple(n for n in range(tokenizer.size) if tokenizer.token(n).startswith("##"))
    ids = torch.from_numpy(tokenizer.framed(tokenizer("xyzzy ulcers aspirin qwerty patients ulcers").ids))
    batch = Batch.from_padded(ids[None])
    view = MaskWholeWords(
        rate=0.3, mask_share=1.0, random_share=0.0, exact=True, span=1.0, mask_id=4,
        vocab_size=tokenizer.size, special_ids=(0, 1, 2, 3, 4), going_on=going_on,
    )  # fmt: skip
    for epoch in range(20):
        prepared = view(batch, Draw(torch.tensor([3]), epoch, 0))
        masked = set(prepared.rows.tolist())
        for row in range(1, len(ids) - 1):
            if int(ids[row]) in going_on:
                assert (row in masked) == (row - 1 in masked)


def test_no_document_on_both_sides():
    twins = [Document(str(n), text) for n, text in enumerate(["One text.", "one  TEXT.", *"abcdefgh"] * 4)]
    train, rest = split_documents(twins, 0.5, 1)
    sides = [{" ".join(d.text.casefold().split()) for d in side} for side in (train, rest)]
    assert not sides[0] & sides[1]
    assert len(train) + len(rest) == 40
    with pytest.raises(InputError, match="one side of the split empty"):
        split_documents(twins[:1], 0.5, 1)
    with pytest.raises(ConfigError, match="held_out"):
        PretrainSettings(held_out=1.0)
