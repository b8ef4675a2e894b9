"""Small models with random weights, and probabilities of letters read one pass at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from biolm.adapters.sequences import make_tokenizer
from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.models.sequence_model import SequenceModel
from biolm.models.sequence_preprocessor import SequencePreprocessor


def small_model(alphabet: str = "esm", *, causal: bool = False, max_length: int = 60) -> SequenceModel:
    """An encoder like ESM-2, or a decoder, with perturbed weights."""
    torch.manual_seed(1)
    tokenizer = make_tokenizer(alphabet)
    core = Transformer(
        CoreConfig(
            vocab_size=tokenizer.size, d_model=16, n_layers=2, n_heads=2, d_ff=24, position="rope",
            head="linear", tied=False, causal=causal,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    preprocessor = SequencePreprocessor(name="small", tokenizer=tokenizer, max_length=max_length)
    return SequenceModel(preprocessor, core)


def log_probabilities(model: SequenceModel, ids: Sequence[int]) -> torch.Tensor:
    """``(t, v)`` of one sequence of ids alone in its batch."""
    batch = Batch.from_padded(torch.tensor([list(ids)]))
    logits = model(batch).logits
    assert logits is not None
    return logits.double().log_softmax(-1)


def slow_pseudo(model: SequenceModel, text: str) -> list[float]:
    """Log-probability of each letter when it alone is hidden; one pass a letter, none of them batched."""
    special, vocabulary = model.tokenizer.special, model.tokenizer.vocabulary
    ids = [*special.prefix, *(vocabulary[letter] for letter in text), *special.suffix]
    found = []
    for place, letter in enumerate(text):
        hidden = list(ids)
        hidden[place + len(special.prefix)] = special.mask
        row = log_probabilities(model, hidden)[place + len(special.prefix)]
        found.append(float(row[vocabulary[letter]]))
    return found


def slow_causal(model: SequenceModel, text: str) -> list[float]:
    """Log-probability of each letter given those before it; the whole prefix is read anew for each."""
    special, vocabulary = model.tokenizer.special, model.tokenizer.vocabulary
    found = []
    for place, letter in enumerate(text):
        before = [*special.prefix, *(vocabulary[each] for each in text[:place])]
        if before:
            found.append(float(log_probabilities(model, before)[-1, vocabulary[letter]]))
    return found
