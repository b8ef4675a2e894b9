"""The baseline is the objective's own, counted on training batches: equal to counting by hand."""

from __future__ import annotations

import numpy as np
import torch
from small_runs import values_of, write_folder

from biolm.batch import Tokens
from biolm.core import CoreConfig
from biolm.objectives.base import Metadata
from biolm.objectives.registry import make
from biolm.training.config.read import build
from biolm.training.data.loader import Reader, Stream
from biolm.training.data.plan import Plan
from biolm.training.run.baseline import learnt_baseline, worse_than_guessing
from biolm.training.run.train import train

CORE = CoreConfig(vocab_size=12, d_model=8, n_layers=1, n_heads=2, d_ff=8, head="linear")


class Random:
    """Examples of random tokens."""

    def __init__(self) -> None:
        self.lengths = np.random.default_rng(0).integers(3, 9, 30)

    def at(self, epoch):
        return self

    def read(self, rows: np.ndarray) -> Tokens:
        ids = [np.random.default_rng(row).integers(2, 12, self.lengths[row]) for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(x) for x in ids])])
        return Tokens(ids=np.concatenate(ids).astype(np.int32), offsets=offsets.astype(np.int64), index=rows)


def test_unigram_is_counted_on_the_hidden_tokens() -> None:
    objective = make("masked_tokens", Metadata(core=CORE, special_ids=(0, 1), mask_id=1), {})
    examples = Random()
    plan = Plan(rows=np.arange(30), lengths=examples.lengths, seed=1, chunk=4, pool=16, budget=40)
    reader = Reader(examples=examples, plan=plan, prepare=objective.prepare, seed=1)
    baseline = learnt_baseline(objective, reader)
    assert baseline is not None
    batches = [prepared for _, prepared in Stream(reader=reader, epochs=1)]
    targets = torch.cat([prepared.targets for prepared in batches])
    counts = torch.bincount(targets, minlength=12).double() + 1
    total, count = baseline.report(batches[0])["unigram"].tolist()
    wanted = -(counts / counts.sum()).log()[batches[0].targets]
    assert count == len(batches[0].targets)
    assert abs(total - float(wanted.sum())) < 1e-4


def test_a_run_that_ends_worse_than_guessing_says_so(tmp_path, caplog) -> None:
    values = values_of(write_folder(tmp_path / "cells")) | {"optimiser": {"lr": 3.0}}
    result = train(build(values), tmp_path / "run")
    assert (
        result.scores["cross_entropy" if "cross_entropy" in result.scores else "loss"]
        > result.scores["unigram"]
    )
    assert "is no better than" in caplog.text
    assert "guessing by how often each token occurs" in caplog.text
    assert "worse than guessing" in (result.model / "README.md").read_text()


def test_only_what_should_beat_its_guess_is_compared() -> None:
    scores = {"a/loss": 2.0, "a/frequencies": 1.0, "b/loss": 1.0, "b/gene_mean": 3.0, "loss": 3.0}
    assert len(worse_than_guessing(scores)) == 1
    assert not worse_than_guessing(scores, {"a"})
    assert worse_than_guessing({"loss": float("nan"), "unigram": 1.0})
