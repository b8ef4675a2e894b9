"""Tiny random models of sequences, in memory and in the folders of published systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from perturb import perturb

from biolm.adapters.sequences import make_tokenizer
from biolm.core import CoreConfig, Transformer
from biolm.models.sequence_model import SequenceModel
from biolm.models.sequence_preprocessor import SequencePreprocessor

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
SIZES = {"d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff": 24, "position": "rope"}


def in_memory(alphabet: str, *, longest: int = 64, both_ways: bool = False, **changes: Any) -> SequenceModel:
    """A decoder on an alphabet, unless ``changes`` make it an encoder."""
    tokenizer = make_tokenizer(alphabet)
    torch.manual_seed(3)
    config = CoreConfig(
        **{**SIZES, "vocab_size": tokenizer.size, "causal": True, "head": "linear", **changes}
    )
    core = perturb(Transformer(config), std=0.3)
    assert isinstance(core, Transformer)
    name = "progen2" if both_ways else "tiny"
    return SequenceModel(
        SequencePreprocessor(name=name, tokenizer=tokenizer, max_length=longest, both_ways=both_ways), core
    )


def write_iglm(folder: Path) -> Any:
    """A GPT-2 with the words of IgLM, and what transformers makes of it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *RESIDUES, "[HEAVY]", "[LIGHT]", "[HUMAN]"]
    config = GPT2Config(
        vocab_size=len(words), n_positions=48, n_embd=32, n_layer=2, n_head=4, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    reference = perturb(GPT2LMHeadModel(config), std=0.3).eval()
    reference.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return reference
