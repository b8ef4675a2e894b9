"""A run before its first step: data looked at, sizes known, order planned.

Dimensions: ``d`` width · ``v`` vocabulary · ``t`` tokens of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.core import CoreConfig
from biolm.core.accounting import account
from biolm.errors import ConfigError, InputError
from biolm.models.heads import HeadMetadata
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.objectives.base import Criterion, LabelKind
from biolm.objectives.registry import find, label_kinds, read_settings, split_part
from biolm.progress import log
from biolm.settings import read_fields
from biolm.training.config import RunConfig
from biolm.training.data.examples import Examples, Survey, survey
from biolm.training.data.labels import Labels
from biolm.training.data.names import numbered
from biolm.training.data.plan import Plan
from biolm.training.data.vocabulary import Vocabulary
from biolm.training.run.checks import check_core, check_levels, check_objective
from biolm.training.run.start import Start

__all__ = ["Job", "core_config", "head_metadata", "make_objective", "plan_job", "read_kinds"]

_CHUNK = 64  # neighbours that are read together from files in blocks
_SIZES = {"d_model": 256, "n_layers": 6, "n_heads": 4, "d_ff": 512}


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a run needs and that takes a look at the data.

    Parameters
    ----------
    config
        Of the run.
    files
        The data.
    vocabulary, examples, found
        Tokens, where examples are read, and what a first pass found.
    core
        Config of the core.
    train, valid
        Order of the examples; ``valid`` is None where nothing is held out.
    steps
        Optimiser steps of the run.
    labels
        Columns that the objectives read; None where they read none.
    start
        The model to go on from; None to begin with random weights.
    """

    config: RunConfig
    files: list[Path]
    vocabulary: Vocabulary
    examples: Examples
    found: Survey
    core: CoreConfig
    train: Plan
    valid: Plan | None
    steps: int
    labels: Labels | None = None
    start: Start | None = None

    @property
    def preprocessor(self) -> CellPreprocessor | SequencePreprocessor | None:
        """The tokeniser; None where the tokens are given."""
        return self.vocabulary.preprocessor

    def summary(self) -> dict[str, Any]:
        """Sizes, parameters, steps and an estimate of the memory, as plain numbers."""
        tokens = int(self.train.lengths.sum())
        return {
            "files": len(self.files),
            "examples": len(self.found.lengths),
            "training examples": len(self.train.rows),
            "held-out examples": 0 if self.valid is None else len(self.valid.rows),
            "tokens of an epoch": tokens,
            "tokens of an example": round(tokens / len(self.train.rows), 1),
            "vocabulary": self.core.vocab_size,
            "parameters": account(self.core).exact,
            "batches of the first epoch": self.train.batches(1),
            "steps": self.steps,
            "memory estimate (MB)": round(memory_estimate(self) / 1e6),
        }


def plan_job(
    config: RunConfig,
    examples: Examples,
    vocabulary: Vocabulary,
    *,
    files: Sequence[Path] = (),
    labels: Labels | None = None,
    start: Start | None = None,
    held_out: NDArray[np.bool_] | None = None,
    known: NDArray[np.int64] | None = None,
) -> Job:
    """Plan a run over examples that are open already.

    Parameters
    ----------
    config
        Of the run.
    examples, vocabulary
        The data and their tokens.
    files
        Where they came from.
    labels, start
        See :class:`Job`.
    held_out
        ``(n,)`` which examples are for validation; drawn by ``data.validation`` if None.
    known
        ``(n,)`` tokens of each example, from an earlier pass.

    Raises
    ------
    BiolmError
        If nothing is left to train on, or data, model and labels do not fit each other.
    """
    core = start.core.config if start is not None else core_config(config, vocabulary)
    fraction = config.data.validation if held_out is None else 0.0
    surveyed = survey(examples, core.vocab_size, fraction, config.seed, known)
    check_core(core, config, int(surveyed.lengths.max(initial=0)))
    if held_out is not None:
        surveyed = replace(surveyed, held_out=held_out)
    # Where every objective reads labels, an example without any would only cost time.
    all_read = all(read_kinds({name: part}) for name, part in config.objectives.items())
    wanted = labels.labelled(len(surveyed.lengths)) if labels is not None and all_read else None
    chunk = config.data.chunk or (1 if examples.random_access else _CHUNK)
    train = _plan(surveyed, config, wanted, chunk, held_out=False)
    if not len(train.rows):
        raise InputError("no labelled example is left to train on; check the labels and what is held out")
    if labels is not None:
        labels.check(train.rows)
        check_levels(config, labels)
    valid = _plan(surveyed, config, wanted, chunk, held_out=True)
    if not len(valid.rows) and surveyed.held_out.any():
        advice = "check the labels, or set data.groups or data.validation otherwise"
        if config.trainer.keeps_best or config.trainer.patience:
            raise InputError(f"no held-out example has a label to validate on; {advice}")
        log.warning("no held-out example has a label, so nothing is validated; %s", advice)
    for name in labels.lacking(valid.rows) if labels is not None and len(valid.rows) else ():
        log.warning("no held-out example has a label in the column %r: it is not validated", name)
    steps = _steps(train, config)
    if config.schedule.warmup >= steps:
        log.warning(
            "the run has %d steps, all of them in the warm-up of %g: the full learning rate is never reached",
            steps,
            config.schedule.warmup,
        )
    return Job(
        config=config,
        files=list(files),
        vocabulary=vocabulary,
        examples=examples,
        found=surveyed,
        core=core,
        train=train,
        valid=valid if len(valid.rows) else None,
        steps=steps,
        labels=labels,
        start=start,
    )


def make_objective(job: Job) -> Criterion:
    """The objective, or the weighted sum of several.

    Raises
    ------
    ConfigError
        If one is unknown, or does not fit the model or the data.
    """
    objective = head_metadata(job).make(job.core)
    check_objective(objective, job)
    return objective


def head_metadata(job: Job) -> HeadMetadata:
    """What the objectives of a run are made of, as it is saved beside their weights."""
    labels = job.labels or Labels({})
    return HeadMetadata(
        objectives=numbered(job.config.objectives, job.vocabulary, labels.classes),
        classes=labels.classes,
        counts=labels.counts(job.train.rows),
        moments=labels.moments(job.train.rows),
        special_ids=job.vocabulary.special_ids,
        mask_id=job.vocabulary.mask_id,
    )


def read_kinds(objectives: Mapping[str, Mapping[str, Any]]) -> dict[str, LabelKind]:
    """Label columns that the objectives of a config read, and as what.

    Raises
    ------
    ConfigError
        If an objective or setting is unknown, or a column is read in two ways.
    """
    return label_kinds("weighted", {"parts": objectives})


def core_config(config: RunConfig, vocabulary: Vocabulary) -> CoreConfig:
    """The core's config: what the user chose over what suits the adapter.

    Parameters
    ----------
    config
        Of the run.
    vocabulary
        Of its data.

    Raises
    ------
    ConfigError
        For an unknown or impossible field.
    """
    if "vocab_size" in config.model.core:
        raise ConfigError("model.core.vocab_size follows from the data; leave it out")
    chosen = read_fields(CoreConfig, config.model.core, "model.core")
    usual: dict[str, Any] = {"mask_id": vocabulary.mask_id, **vocabulary.core}
    usual["max_length"] = usual.get("max_length") or config.model.max_length
    return CoreConfig(**{**_SIZES, **usual, **chosen, "vocab_size": vocabulary.size})


def memory_estimate(job: Job) -> float:
    """Bytes of a training step on one device, about.

    Weights, gradients and AdamW's two moments in float32 (a moving average and the best so far, where they
    are kept), of which ``fsdp`` leaves each device a part; what each layer keeps of ``t`` tokens for the
    backward pass; and the logits of the tokens that are predicted, with their gradient and logarithm.
    """
    core, config = job.core, job.config
    # Weights, gradients and the two moments of AdamW.
    copies: float = 4 + (config.trainer.ema > 0) + config.trainer.keeps_best
    if config.trainer.strategy == "fsdp":
        copies /= config.trainer.processes
    width = 4 if config.trainer.precision == "fp32" else 2
    # What a layer keeps of a token for the backward pass, about: queries to outputs, norms, and the
    # feed-forward.
    each = 10 * core.d_model + (3 if core.glu else 2) * core.d_ff
    layers = 1 if config.trainer.gradient_checkpointing else core.n_layers
    # An example that is longer than a batch is one by itself.
    tokens = max(config.data.batch_tokens, int(job.found.lengths.max(initial=0)))
    # Logits, their log-softmax and their gradient.
    logits = 3 * core.vocab_size * tokens * _logits_fraction(config) if core.head in ("linear", "mlm") else 0
    return 4.0 * copies * account(core).exact + width * tokens * layers * each + 4 * logits


def _logits_fraction(config: RunConfig) -> float:
    """Fraction of a batch's tokens of which the objectives read the logits, at most."""
    total = 0.0
    for name, part in config.objectives.items():
        kind, chosen = split_part(name, part)
        total += find(kind).logits_fraction(read_settings(kind, chosen))
    return total


def _plan(
    surveyed: Survey, config: RunConfig, wanted: NDArray[np.bool_] | None, chunk: int, *, held_out: bool
) -> Plan:
    # An example without a token gives no gradient, and no attention kernel takes it.
    chosen = (surveyed.held_out == held_out) & (surveyed.lengths > 0)
    rows = np.flatnonzero(chosen if wanted is None else chosen & wanted)
    data = config.data
    return Plan(
        rows=rows,
        lengths=surveyed.lengths[rows],
        seed=config.seed,
        chunk=chunk,
        pool=data.pool,
        budget=data.batch_tokens,
        shuffle=not held_out,
    )


def _steps(plan: Plan, config: RunConfig) -> int:
    """Optimiser steps until the last epoch is through, or ``max_steps`` if that is fewer."""
    trainer = config.trainer
    of_a_step = trainer.processes * trainer.accumulate
    batches = 0
    for epoch in range(trainer.max_epochs):
        # Counted and not computed: packing by length makes another number of batches each epoch.
        batches += sum(len(pool) for pool in plan.epoch(epoch))
        if trainer.max_steps and batches >= trainer.max_steps * of_a_step:
            return trainer.max_steps
    return math.ceil(batches / of_a_step)
