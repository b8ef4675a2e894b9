"""The baseline is the objective's own, counted on training batches: equal to counting by hand."""

from __future__ import annotations

import numpy as np
import torch

from biolm.batch import Tokens
from biolm.core import CoreConfig
from biolm.objectives.base import Facts
from biolm.objectives.registry import make
from biolm.training.baseline import learnt_baseline
from biolm.training.loader import Reader, Stream
from biolm.training.plan import Plan

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
    objective = make("masked_tokens", Facts(core=CORE, special_ids=(0, 1), mask_id=1), {})
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
