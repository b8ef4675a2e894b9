"""A run before its first step: data looked at, sizes known, order planned.

Dimensions: ``d`` width · ``v`` vocabulary · ``t`` tokens of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from biolm.adapters.cells import RankTokenizer
from biolm.core import CoreConfig
from biolm.core.accounting import account
from biolm.errors import ConfigError
from biolm.objectives import registry
from biolm.objectives.base import Facts, Objective
from biolm.training.config import RunConfig
from biolm.training.config_read import nearest
from biolm.training.examples import CellExamples, Examples, StoredExamples, Survey, survey
from biolm.training.language import Vocabulary, language_of_data, language_of_folder, match_files
from biolm.training.plan import Plan
from biolm.training.sources import expand, holds_tokens

__all__ = ["Job", "make_objective", "prepare"]

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
            "vocabulary": self.vocabulary.size,
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
    files = expand(config.data.paths)
    stored = [holds_tokens(path) for path in files]
    if any(stored) and not all(stored):
        raise ConfigError("data.paths mixes cells and stored tokens; train on one kind")
    if stored[0] and config.data.vocabulary is None:
        raise ConfigError("stored tokens need data.vocabulary: the folder of the model they were made with")
    vocabulary = (
        language_of_data(files, config.data, config.model, config.name)
        if config.data.vocabulary is None
        else language_of_folder(config.data.vocabulary)
    )
    examples = _examples(files, vocabulary, config, folder, stored=stored[0])
    found = survey(examples, vocabulary.size, config.data.validation, config.seed)
    core = core_config(config, vocabulary)
    train = _plan(found, config, held_out=False)
    return Job(
        config=config,
        files=files,
        vocabulary=vocabulary,
        examples=examples,
        found=found,
        core=core,
        train=train,
        valid=_plan(found, config, held_out=True) if found.held_out.any() else None,
        steps=_steps(train, config),
    )


def make_objective(job: Job) -> Objective:
    """The objective, or the weighted sum of several.

    Raises
    ------
    ConfigError
        If one is unknown, or does not fit the model or the data.
    """
    facts = Facts(core=job.core, special_ids=job.vocabulary.special_ids, mask_id=job.vocabulary.mask_id)
    named = {name: dict(settings) for name, settings in job.config.objectives.items()}
    if len(named) == 1:
        [(name, settings)] = named.items()
        if "weight" not in settings:
            objective = registry.make(settings.pop("objective", name), facts, settings)
            return _without_labels(objective)
    return _without_labels(registry.make("weighted", facts, {"parts": named}))


def _without_labels(objective: Objective) -> Objective:
    if objective.columns:
        raise ConfigError(
            f"the objective needs the label columns {', '.join(objective.columns)}; pretraining reads tokens "
            "only, so leave it out"
        )
    return objective


def core_config(config: RunConfig, vocabulary: Vocabulary) -> CoreConfig:
    """The core's config: what the user chose over what suits the adapter.

    Raises
    ------
    ConfigError
        For an unknown or impossible field.
    """
    chosen = dict(config.model.core)
    known = [field.name for field in fields(CoreConfig)]
    for key in chosen:
        if key not in known:
            raise ConfigError(f"model.core has no setting {key!r}; {nearest(key, known)}")
    if "vocab_size" in chosen:
        raise ConfigError("model.core.vocab_size follows from the data; leave it out")
    tokenizer: Any = vocabulary.language.tokenizer
    usual = _RANK if isinstance(tokenizer, RankTokenizer) else _VALUES
    longest = tokenizer.max_length or config.model.max_length
    tokens = {"pad_id": vocabulary.tokens.get("<pad>"), "mask_id": vocabulary.mask_id}
    return CoreConfig(
        **{**_SIZES, **usual, **tokens, "max_length": longest, **chosen, "vocab_size": vocabulary.size}
    )


def memory_estimate(core: CoreConfig, config: RunConfig) -> float:
    """Bytes of a training step, about.

    Weights, gradients and AdamW's two moments in float32 (and a moving average, where there is one), what
    each layer keeps of ``t`` tokens for the backward pass, and the logits of a sixth of the tokens.
    """
    copies = 5 if config.trainer.ema else 4
    width = 4 if config.trainer.precision == "fp32" else 2
    each = 10 * core.d_model + (3 if core.glu else 2) * core.d_ff
    layers = 1 if config.trainer.gradient_checkpointing else core.n_layers
    tokens = config.data.batch_tokens
    logits = 2 * core.vocab_size * tokens / 6 if core.head in ("linear", "mlm") else 0
    return 4.0 * copies * account(core).exact + width * tokens * layers * each + 4 * logits


def _examples(
    files: list[Path], vocabulary: Vocabulary, config: RunConfig, folder: Path | None, *, stored: bool
) -> Examples:
    if stored:
        return StoredExamples(files, None if folder is None else folder / "tokens")
    matches = match_files(files, vocabulary.language.vocabulary, config.data)
    return CellExamples(files, matches, vocabulary.language, matrix=config.data.layer, seed=config.seed)


def _plan(found: Survey, config: RunConfig, *, held_out: bool) -> Plan:
    # An example without a token teaches nothing, and no attention kernel takes it.
    rows = np.flatnonzero((found.held_out == held_out) & (found.lengths > 0))
    data = config.data
    return Plan(
        rows=rows,
        lengths=found.lengths[rows],
        seed=config.seed,
        chunk=data.chunk,
        pool=data.pool,
        budget=data.batch_tokens,
        shuffle=not held_out,
    )


def _steps(plan: Plan, config: RunConfig) -> int:
    """Optimiser steps until the last epoch is through, or ``max_steps`` if that is fewer."""
    trainer = config.trainer
    of_a_step = trainer.devices * trainer.accumulate
    batches = 0
    for epoch in range(trainer.max_epochs):
        batches += sum(len(pool) for pool in plan.epoch(epoch))
        if trainer.max_steps and batches >= trainer.max_steps * of_a_step:
            return trainer.max_steps
    return math.ceil(batches / of_a_step)
