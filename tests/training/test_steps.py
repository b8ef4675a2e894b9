"""Accumulated batches and the end of a run: together one large batch, and no example twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from biolm.batch import Tokens
from biolm.core import CoreConfig, Transformer
from biolm.objectives.base import Metadata
from biolm.objectives.registry import make, make_all
from biolm.training.config.read import build
from biolm.training.data.labels import Labels
from biolm.training.data.loader import Reader, Stream
from biolm.training.data.plan import Plan
from biolm.training.fine_tune import TokenExamples
from biolm.training.run.module import Pretraining
from biolm.training.run.steps import StepBatch, Steps

CORE = CoreConfig(
    vocab_size=20, d_model=8, n_layers=1, n_heads=2, d_ff=8, head="mlm", value_encoder="continuous"
)
METADATA = Metadata(core=CORE, special_ids=(0, 1), mask_id=1, classes={"kind": 2}, counts={"kind": (3, 1)})


def examples(n=30):
    draws = np.random.default_rng(1)
    lengths = draws.integers(3, 12, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = draws.integers(2, 20, offsets[-1]).astype(np.int32)
    values = draws.poisson(1.0, offsets[-1]).astype(np.float32)
    return Tokens(ids=ids, offsets=offsets, index=np.arange(n), values=values)


def reader_of(objective, *, budget=40):
    tokens = examples()
    kinds = np.array(["a", "b", None], dtype=object)[np.arange(30) % 3]
    ages = np.where(np.arange(30) % 4 > 0, np.arange(30.0), np.nan)
    read = {"kind": "classes", "age": "numbers", "image": "vectors"}
    images = np.stack([ages, np.ones(30)], 1)
    labels = Labels.of_arrays({"kind": kinds, "age": ages, "image": images}, read, n=30)
    plan = Plan(rows=np.arange(30), lengths=tokens.lengths, seed=0, chunk=4, pool=16, budget=budget)
    return Reader(examples=TokenExamples(tokens), plan=plan, prepare=objective.prepare, seed=0, labels=labels)


def module_of(objective, tmp_path):
    torch.manual_seed(0)
    core = Transformer(CORE)
    config = build({"trainer": {"max_steps": 1}, "data": {}})
    return Pretraining(core, objective, config, steps=1, baseline=None, folder=tmp_path)


OBJECTIVES = {
    "masked_tokens": {},
    "kind": {"objective": "classify", "column": "kind", "class_weights": "balanced", "weight": 0.5},
    "age": {"objective": "regress", "column": "age", "weight": 0.01},
    "query": {"objective": "gene_query", "nonzero_only": True, "zero_probability": True},
}


def test_batches_of_a_step_are_one_large_batch(tmp_path):
    objective = make_all(OBJECTIVES, METADATA)
    module = module_of(objective, tmp_path)
    reader = reader_of(objective)
    stream = Stream(reader=reader, stop=4, epochs=1)
    parts = list(Steps(stream=stream, objective=objective, accumulate=4))
    assert len(parts) == 4
    assert len({tuple(objective.counts(part.prepared).values()) for part in parts}) > 1
    for part in parts:
        # Lightning divides the loss by the number of accumulated batches.
        (module.training_step(part, 0) / 4).backward()
    accumulated = {name: weight.grad for name, weight in module.named_parameters()}
    module.zero_grad(set_to_none=True)
    rows = np.sort(np.concatenate([part.prepared.keys.numpy() for part in parts]))
    tokens = reader.examples.read(rows)
    from biolm.batch import Batch

    batch = Batch.from_tokens(tokens)
    whole = objective.prepare(batch, torch.from_numpy(rows), 0, 0, reader.labels.read(rows, batch))
    module.training_step(StepBatch(0, whole, objective.counts(whole)), 0).backward()
    for name, weight in module.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(accumulated[name], weight.grad, rtol=1e-4, atol=1e-7, msg=name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("masked_tokens", {}),
        ("masked_tokens", {"label_smoothing": 0.1}),
        ("masked_values", {"nonzero_only": True, "zero_probability": True, "condition": "kind"}),
        ("masked_values", {"loss": "cross_entropy", "bins": 20}),
        ("masked_counts", {}),
        ("gene_query", {"every_token": True}),
        ("cell_similarity", {}),
        ("whole_cell", {"zeros_share": 0.5, "zero_probability": True}),
        ("image_contrast", {"features": 2, "column": "image"}),
        ("classify", {"class_weights": [1.0, 3.0]}),
        ("regress", {"column": "age"}),
        ("adversarial", {"column": "kind"}),
        ("two_views", {"keep": [0.8, 1.0]}),
        ("panel_contrast", {"smallest": 0.5, "largest": 0.5}),
    ],
)
def test_counts_told_beforehand_are_those_of_the_score(name, settings):
    if name == "classify":
        settings = {"column": "kind", **settings}
    objective = make(name, METADATA, settings)
    torch.manual_seed(0)
    core = Transformer(CORE)
    for _, prepared in Stream(reader=reader_of(objective), epochs=1):
        score = objective.run(core, prepared)
        told = objective.counts(prepared)
        assert told.keys() == score.terms.keys()
        for term, count in told.items():
            assert float(score.terms[term].count) == pytest.approx(count), term


@pytest.mark.parametrize(("ranks", "accumulate"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 4)])
def test_each_example_counts_once_an_epoch_and_processes_agree(ranks, accumulate):
    objective = make("masked_tokens", METADATA)
    reader = reader_of(objective)
    batches = reader.plan.batches(2)
    steps = -(-batches // (ranks * accumulate))
    seen, lengths = [], []
    for rank in range(ranks):
        stream = Stream(reader=reader, rank=rank, ranks=ranks, stop=steps * accumulate, epochs=2,
                        pauses=2 * accumulate)  # fmt: skip
        steps_of = Steps(stream=stream, objective=objective, accumulate=accumulate)
        given = []
        while len(given) < steps * accumulate:
            given += list(steps_of)
        lengths.append(len(given))
        seen += [key for item in given if item.prepared.real for key in item.prepared.keys.tolist()]
        assert [item.number for item in given] == list(range(rank, steps * accumulate * ranks, ranks))
    assert lengths == [steps * accumulate] * ranks
    assert sorted(seen) == sorted([*range(30), *range(30)])


def test_a_batch_without_weight_teaches_nothing(tmp_path):
    objective = make("masked_tokens", METADATA)
    module = module_of(objective, tmp_path)
    _, prepared = next(iter(Stream(reader=reader_of(objective), epochs=1)))
    module.training_step(StepBatch(0, replace(prepared, real=False), {"loss": 0.0}), 0).backward()
    grads = [weight.grad for weight in module.parameters() if weight.grad is not None]
    assert grads
    assert all(not grad.any() for grad in grads)
    assert not module.train_means
    assert module.throughput.tokens == 0
