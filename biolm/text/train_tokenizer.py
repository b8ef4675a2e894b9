"""Tokenizers learned from raw text: pieces of words, or pairs of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from biolm.text.settings import PretrainSettings

__all__ = ["SPECIALS", "train_tokenizer"]

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(texts: Sequence[str], settings: PretrainSettings) -> Any:
    """A tokenizer learned from texts, with the template of BERT; the same texts give the same one.

    Parameters
    ----------
    texts
        To learn from.
    settings
        Kind and size of the tokenizer.
    """
    from tokenizers import processors

    learned = _wordpieces if settings.tokenizer == "wordpiece" else _byte_pairs
    engine = learned(texts, settings.vocab_size)
    ends = [(token, engine.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    engine.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return engine


def _wordpieces(texts: Sequence[str], size: int) -> Any:
    """Pieces of words, those that go on a word with ``##``.

    The trainer numbers the letters that go on a word in the order of a hash table, another one each time,
    and breaks ties by these numbers. So they are given to it, in their order.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def empty(pieces: dict[str, int] | None = None) -> Any:
        engine = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))  # noqa: S106  # a token
        engine.normalizer = normalizers.BertNormalizer(lowercase=False)
        engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        engine.decoder = decoders.WordPiece()
        return engine

    engine = empty()
    words: set[str] = set()
    for text in texts:
        split = engine.pre_tokenizer.pre_tokenize_str(engine.normalizer.normalize_str(text))
        words.update(word for word, _ in split)
    going_on = sorted({f"##{letter}" for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*SPECIALS, *going_on], show_progress=False
    )
    engine.train_from_iterator(texts, trainer)
    # Only to the trainer are those letters special.
    engine = empty(engine.get_vocab())
    engine.add_special_tokens(list(SPECIALS))
    return engine


def _byte_pairs(texts: Sequence[str], size: int) -> Any:
    """Pairs of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    engine = Tokenizer(models.BPE(unk_token="[UNK]"))  # noqa: S106  # a token
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)
    return engine
