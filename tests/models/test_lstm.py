"""The LSTM classifier: packed documents equal single ones, gates are torch's, and it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from perturb import perturb, relative

from biolm.batch import Batch, Tokens
from biolm.errors import ConfigError, InputError
from biolm.models.lstm import LstmClassifier, LstmConfig, fit_lstm

SIZES: dict[str, Any] = {"vocab_size": 20, "classes": 3, "embed_dim": 5, "hidden_dim": 6}


def _tokens(lengths: list[int], seed: int = 0) -> Tokens:
    generator = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = generator.integers(0, 20, offsets[-1]).astype(np.int32)
    return Tokens(ids=ids, offsets=offsets, index=np.arange(len(lengths)))


def _slow(model: LstmClassifier, ids: torch.Tensor) -> torch.Tensor:
    """One document, gate by gate in float64: input, forget, cell, output, each with two biases."""
    c, weights = model.config, {n: p.double() for n, p in model.named_parameters()}
    x = weights["embedding.weight"][ids]
    for layer in range(c.n_layers):
        sides = []
        for suffix in ("", "_reverse")[: 1 + c.bidirectional]:
            name = f"l{layer}{suffix}"
            state = memory = torch.zeros(c.hidden_dim, dtype=torch.float64)
            rows = []
            for token in x.flip(0) if suffix else x:
                gates = weights[f"lstm.weight_ih_{name}"] @ token + weights[f"lstm.bias_ih_{name}"]
                gates = gates + weights[f"lstm.weight_hh_{name}"] @ state + weights[f"lstm.bias_hh_{name}"]
                i, f, g, o = gates.chunk(4)
                memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
                state = o.sigmoid() * memory.tanh()
                rows.append(state)
            sides.append((torch.stack(rows).flip(0) if suffix else torch.stack(rows), state))
        x = torch.cat([rows for rows, _ in sides], 1)
    pooled = x.amax(0) if c.pool == "max" else torch.cat([state for _, state in sides])
    return weights["out.weight"] @ pooled + weights["out.bias"]


@pytest.mark.parametrize("pool", ["max", "last"])
@pytest.mark.parametrize(("layers", "both"), [(1, True), (2, True), (1, False)])
@torch.no_grad()
def test_packed_documents_equal_the_gates_written_out(pool: Any, layers: int, both: bool) -> None:
    model = LstmClassifier(LstmConfig(**SIZES, n_layers=layers, bidirectional=both, pool=pool))
    perturb(model)
    model.eval()
    tokens = _tokens([4, 9, 1, 9, 6])
    found = model(Batch.from_tokens(tokens))
    for row in range(5):
        wanted = _slow(model, torch.from_numpy(tokens[row].ids.astype(np.int64)))
        assert relative(found[row].double(), wanted) < 1e-5
    probabilities = model.predict(tokens)
    np.testing.assert_allclose(probabilities, found.softmax(-1).numpy(), atol=1e-6)


def test_it_learns_what_a_bag_of_words_cannot() -> None:
    """Class 1 has token 3 before token 4, class 0 after; both occur once in every document."""
    generator = np.random.default_rng(1)
    documents, labels = [], []
    for _ in range(300):
        ids = generator.integers(5, 20, generator.integers(4, 12)).tolist()
        first, second = sorted(generator.choice(len(ids) + 1, 2, replace=False).tolist())
        label = int(generator.integers(2))
        ids.insert(second, 4 if label else 3)
        ids.insert(first, 3 if label else 4)
        documents.append(ids)
        labels.append(label)
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in documents])]).astype(np.int64)
    tokens = Tokens(
        ids=np.concatenate(documents).astype(np.int32), offsets=offsets, index=np.arange(len(documents))
    )
    config = LstmConfig(
        vocab_size=20, classes=2, embed_dim=16, hidden_dim=16, epochs=40, batch_tokens=256, lr=1e-2
    )
    learned = np.arange(200)
    model = fit_lstm(tokens.take(learned), np.array(labels)[learned], config)
    held = np.arange(200, 300)
    right = model.predict(tokens.take(held)).argmax(1) == np.array(labels)[held]
    assert right.mean() > 0.9
    again = fit_lstm(tokens.take(learned[:50]), np.array(labels)[:50], config)
    same = fit_lstm(tokens.take(learned[:50]), np.array(labels)[:50], config)
    np.testing.assert_allclose(again.predict(tokens), same.predict(tokens), atol=1e-6)


def test_faults_are_named() -> None:
    for changes in ({"classes": 1}, {"hidden_dim": 0}, {"pool": "mean"}, {"dropout": 1.0}):
        with pytest.raises(ConfigError):
            LstmConfig(**{**SIZES, **changes})
    config = LstmConfig(**SIZES, epochs=1)
    with pytest.raises(InputError, match="2 documents need as many labels"):
        fit_lstm(_tokens([3, 2]), np.array([1]), config)
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.2"):
        fit_lstm(_tokens([3, 2]), np.array([1, 3]), config)
    with pytest.raises(InputError, match="without tokens"):
        fit_lstm(_tokens([3, 0]), np.array([1, 2]), config)
    with pytest.raises(InputError, match="outside the vocabulary"):
        LstmClassifier(LstmConfig(**{**SIZES, "vocab_size": 4}))(Batch.from_padded(torch.tensor([[9]])))
