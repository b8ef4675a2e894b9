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

from biolm.adapters.cells import RankTokenizer
from biolm.core import CoreConfig
from biolm.core.accounting import account
from biolm.errors import ConfigError, InputError
from biolm.models.heads import HeadFacts
from biolm.objectives.base import Criterion, LabelKind
from biolm.objectives.registry import label_kinds
from biolm.progress import log
from biolm.settings import read_fields
from biolm.training.checks import (
    check_core,
    check_levels,
    check_objective,
    check_tokens,
    refuse_cell_settings,
)
from biolm.training.config import RunConfig
from biolm.training.examples import CellExamples, Examples, StoredExamples, Survey, survey
from biolm.training.folder import checkpoints, known_lengths
from biolm.training.groups import cell_groups, hold_out
from biolm.training.label_files import column_of, read_labels
from biolm.training.labels import Labels
from biolm.training.language import Vocabulary, language_of_data, language_of_folder, match_files
from biolm.training.names import numbered
from biolm.training.plan import Plan
from biolm.training.sequence_job import (
    SequenceVocabulary,
    sequence_examples,
    sequence_groups,
    sequence_vocabulary,
)
from biolm.training.sources import expand, holds_sequences, holds_tokens
from biolm.training.start import Start, load_start

__all__ = ["Job", "core_config", "head_facts", "make_objective", "plan_job", "prepare", "read_kinds"]

_CHUNK = 64  # neighbours that are read together from files in blocks
_SIZES = {"d_model": 256, "n_layers": 6, "n_heads": 4, "d_ff": 512}
_RANK = {"position": "learned", "head": "mlm", "embed_norm": True}
_VALUES = {"position": "none", "head": "value", "value_encoder": "continuous"}


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
        Tokens, where examples are read, and what a first pass told.
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
            "memory estimate (MB)": round(memory_estimate(self.core, self.config) / 1e6),
        }


def prepare(config: RunConfig, folder: Path | None = None) -> Job:
    """Look at the data once or twice and plan the run.

    Parameters
    ----------
    config
        Of the run.
    folder
        Of the run, where stored tokens are unpacked; None to plan only.

    Raises
    ------
    BiolmError
        If the data cannot be read, or data, model and objectives do not fit each other.
    """
    if not config.data.paths:
        raise ConfigError("data.paths must name at least one file or folder")
    files = expand(config.data.paths)
    if any(holds_sequences(path) for path in files):
        refuse_cell_settings(config.data, "sequences")
        return _of_sequences(config, files, folder)
    stored = [holds_tokens(path) for path in files]
    if any(stored) and not all(stored):
        raise ConfigError("data.paths mixes cells and stored tokens; train on one kind")
    start = _start(config)
    if stored[0] and config.data.vocabulary is None and start is None:
        raise ConfigError(
            "stored tokens need data.vocabulary or model.start: the folder of the model they were made with"
        )
    if start is not None and isinstance(start.vocabulary, SequenceVocabulary):
        raise ConfigError(f"model.start {config.model.start} reads sequences, but data.paths names none")
    known = known_lengths(folder, files)
    vocabulary = _vocabulary(files, config, start, None if known is None else folder)
    examples = _examples(files, vocabulary, config, folder, stored=stored[0])
    kinds = read_kinds(config.objectives)
    labels = read_labels(examples, vocabulary, config, kinds)
    held_out = None
    if config.data.groups is not None:
        held_out = hold_out(cell_groups(column_of(examples, config.data.groups)), config)
    return plan_job(
        config, examples, vocabulary, files=files, labels=labels, start=start, held_out=held_out, known=known
    )


def _of_sequences(config: RunConfig, files: list[Path], folder: Path | None) -> Job:
    if not all(holds_sequences(path) for path in files):
        raise ConfigError("data.paths mixes sequences with cells or tokens; train on one kind")
    start = _start(config)
    vocabulary = sequence_vocabulary(config) if start is None else start.vocabulary
    if not isinstance(vocabulary, SequenceVocabulary):
        raise ConfigError(f"model.start {config.model.start} reads cells, but data.paths names sequences")
    known = known_lengths(folder, files)
    examples = sequence_examples(files, vocabulary, config, folder)
    labels = read_labels(examples, vocabulary, config, read_kinds(config.objectives))
    groups = None if config.data.groups is None else sequence_groups(examples, config.data.groups)
    held_out = None if groups is None else hold_out(groups, config)
    return plan_job(
        config, examples, vocabulary, files=files, labels=labels, start=start, held_out=held_out, known=known
    )


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
        ``(n,)`` tokens of each example, where an earlier look has told.

    Raises
    ------
    BiolmError
        If nothing is left to train on, or data, model and labels do not fit each other.
    """
    core = start.core.config if start is not None else core_config(config, vocabulary)
    share = config.data.validation if held_out is None else 0.0
    found = survey(examples, core.vocab_size, share, config.seed, known)
    check_core(core, config, int(found.lengths.max(initial=0)))
    if held_out is not None:
        found = replace(found, held_out=held_out)
    # Where every objective reads labels, an example without any would only cost time.
    all_read = all(read_kinds({name: part}) for name, part in config.objectives.items())
    wanted = labels.labelled(len(found.lengths)) if labels is not None and all_read else None
    chunk = config.data.chunk or (1 if examples.random_access else _CHUNK)
    train = _plan(found, config, wanted, chunk, held_out=False)
    if not len(train.rows):
        raise InputError("no labelled example is left to train on; check the labels and what is held out")
    if labels is not None:
        labels.check(train.rows)
        check_levels(config, labels)
    valid = _plan(found, config, wanted, chunk, held_out=True)
    steps = _steps(train, config)
    if config.schedule.warmup >= steps:
        log.warning(
            "the run has %d steps, all of them in the warm-up of %g: the full rate is never reached",
            steps,
            config.schedule.warmup,
        )
    return Job(
        config=config,
        files=list(files),
        vocabulary=vocabulary,
        examples=examples,
        found=found,
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
    objective = head_facts(job).make(job.core)
    check_objective(objective, job)
    return objective


def head_facts(job: Job) -> HeadFacts:
    """What the objectives of a run are made of, as it is saved beside their weights."""
    labels = job.labels or Labels({})
    return HeadFacts(
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

    Raises
    ------
    ConfigError
        For an unknown or impossible field.
    """
    if "vocab_size" in config.model.core:
        raise ConfigError("model.core.vocab_size follows from the data; leave it out")
    chosen = read_fields(CoreConfig, config.model.core, "model.core")
    usual: dict[str, Any] = {"pad_id": vocabulary.tokens.get("<pad>"), "mask_id": vocabulary.mask_id}
    if isinstance(vocabulary, SequenceVocabulary):
        usual |= vocabulary.core_settings()
    else:
        assert vocabulary.language is not None
        tokenizer: Any = vocabulary.language.tokenizer
        usual |= _RANK if isinstance(tokenizer, RankTokenizer) else _VALUES
        usual["max_length"] = tokenizer.max_length or config.model.max_length
    return CoreConfig(**{**_SIZES, **usual, **chosen, "vocab_size": vocabulary.size})


def memory_estimate(core: CoreConfig, config: RunConfig) -> float:
    """Bytes of a training step on one device, about.

    Weights, gradients and AdamW's two moments in float32 (and a moving average, where there is one), of
    which ``fsdp`` leaves each device a part; what each layer keeps of ``t`` tokens for the backward pass; and
    the logits of a sixth of the tokens.
    """
    copies: float = 5 if config.trainer.ema else 4
    if config.trainer.strategy == "fsdp":
        copies /= config.trainer.processes
    width = 4 if config.trainer.precision == "fp32" else 2
    each = 10 * core.d_model + (3 if core.glu else 2) * core.d_ff
    layers = 1 if config.trainer.gradient_checkpointing else core.n_layers
    tokens = config.data.batch_tokens
    logits = 2 * core.vocab_size * tokens / 6 if core.head in ("linear", "mlm") else 0
    return 4.0 * copies * account(core).exact + width * tokens * layers * each + 4 * logits


def _start(config: RunConfig) -> Start | None:
    model = config.model
    if model.start is None:
        for name in ("lora", "freeze"):
            learned = model.init_genes is not None and model.freeze == "embeddings"
            if getattr(model, name) is not None and not learned:
                raise ConfigError(
                    f"model.{name} keeps weights as they were learned, and there are none; set model.start"
                )
        return None
    if config.data.vocabulary is not None:
        raise ConfigError("model.start brings its own vocabulary; leave data.vocabulary out")
    return load_start(model)


def _vocabulary(files: list[Path], config: RunConfig, start: Start | None, folder: Path | None) -> Vocabulary:
    """Genes and tokeniser; ``folder`` is that of a run that goes on, whose checkpoints hold them."""
    if start is not None:
        return start.vocabulary
    if config.data.vocabulary is not None:
        return language_of_folder(config.data.vocabulary, config.model.tokenizer)
    if folder is not None and (saved := checkpoints(folder)):
        return language_of_folder(str(saved[-1]))
    return language_of_data(files, config.data, config.model, config.name)


def _examples(
    files: list[Path], vocabulary: Vocabulary, config: RunConfig, folder: Path | None, *, stored: bool
) -> Examples:
    if stored:
        refuse_cell_settings(config.data, "stored tokens")
        check_tokens(files, vocabulary)
        return StoredExamples(files, None if folder is None else folder / "tokens")
    assert vocabulary.language is not None
    matches = match_files(files, vocabulary.language.vocabulary, config.data)
    for path, match in zip(files, matches, strict=True):
        report = match.report
        log.info("%s: %s of %s genes have a token", path, f"{report.matched:,}", f"{report.total:,}")
    return CellExamples(
        files,
        matches,
        vocabulary.language,
        matrix=config.data.layer,
        seed=config.seed,
        downsample=config.data.downsample,
        zeros=config.data.zeros,
    )


def _plan(
    found: Survey, config: RunConfig, wanted: NDArray[np.bool_] | None, chunk: int, *, held_out: bool
) -> Plan:
    # An example without a token teaches nothing, and no attention kernel takes it.
    chosen = (found.held_out == held_out) & (found.lengths > 0)
    rows = np.flatnonzero(chosen if wanted is None else chosen & wanted)
    data = config.data
    return Plan(
        rows=rows,
        lengths=found.lengths[rows],
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
        batches += sum(len(pool) for pool in plan.epoch(epoch))
        if trainer.max_steps and batches >= trainer.max_steps * of_a_step:
            return trainer.max_steps
    return math.ceil(batches / of_a_step)
