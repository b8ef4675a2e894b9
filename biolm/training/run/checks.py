"""Whether objectives, labels and data fit each other: checked before anything is trained."""

from __future__ import annotations

from typing import Any

from biolm.adapters.cells import BinTokenizer, ContinuousTokenizer
from biolm.core import CoreConfig
from biolm.errors import ConfigError
from biolm.objectives.base import Criterion
from biolm.objectives.registry import label_kinds, read_settings, split_part
from biolm.objectives.weighted import Weighted
from biolm.objectives.whole_cell import WholeCell
from biolm.training.config import RunConfig
from biolm.training.data.cells import CellExamples
from biolm.training.data.labels import Labels

__all__ = ["check_core", "check_levels", "check_objective"]


def check_core(core: CoreConfig, config: RunConfig, longest: int) -> None:
    """Refuse a core that cannot read the examples, or that lacks the state of which vectors are to be made.

    Parameters
    ----------
    core
        Of the run.
    config
        Of the run.
    longest
        Tokens of the longest example.

    Raises
    ------
    ConfigError
        If its positions are too few, or it has no such hidden state.
    """
    # Rotary and relative positions go on for any length; a learned table ends.
    if core.position == "learned" and longest > core.max_length:
        raise ConfigError(
            f"the longest example has {longest} tokens, but the model {core.max_length} positions; raise "
            "model.core.max_length, or lower model.max_length"
        )
    layers = core.n_layers
    # A model that goes on brings the state of which its vectors are made.
    if config.model.start is None and not -layers - 1 <= config.model.hidden_state <= layers:
        raise ConfigError(
            f"model.hidden_state must lie in {-layers - 1}..{layers}, not {config.model.hidden_state}"
        )


def check_levels(config: RunConfig, labels: Labels) -> None:
    """Refuse labels of examples where those of tokens are wanted, and the other way round.

    Parameters
    ----------
    config
        Of the run.
    labels
        Its columns.

    Raises
    ------
    ConfigError
        Naming the objective and the column.
    """
    for name, part in config.objectives.items():
        kind, chosen = split_part(name, part)
        wanted = getattr(read_settings(kind, chosen), "level", "example")
        for column in label_kinds(kind, chosen):
            level = "example" if labels.columns[column].level == "example" else "token"
            if level != wanted:
                raise ConfigError(
                    f"objective {name} has level {wanted}, but the column {column!r} labels each {level}; "
                    f"set its level to {level}"
                )


def check_objective(objective: Criterion, job: Any) -> None:
    """Refuse an objective that would learn nothing, or something else, from these data.

    Parameters
    ----------
    objective
        Of the run.
    job
        The run.

    Raises
    ------
    ConfigError
        If it needs counts, zeros, pairs of texts or letters in two cases that the examples do not have.
    """
    if objective.reads_pairs and job.files:
        raise ConfigError(
            "objectives of pairs of texts (pair_order, two_views with segments) read tokens with segments, "
            "which no file of cells or sequences has; give them to biolm.training.fine_tune.fine_tune"
        )
    # Both views would be the same, and their loss 0 from the first step on.
    if objective.keeps_dropout and job.config.model.freeze == "all":
        raise ConfigError(
            "model.freeze all takes the dropout out of the core, and only by that the views of two_views "
            "differ; set keep, such as [0.85, 1], or freeze less"
        )
    if job.config.data.zeros and job.core.position != "none":
        raise ConfigError(
            "data.zeros needs model.core.position none: values of 0 stand behind the others, so their places "
            "would give them away"
        )
    tokenizer: Any = None if job.vocabulary.genes is None else job.vocabulary.genes.tokenizer
    normalised = isinstance(tokenizer, ContinuousTokenizer) and (tokenizer.log1p or tokenizer.target_sum)
    if objective.reads_counts and (normalised or isinstance(tokenizer, BinTokenizer)):
        raise ConfigError(
            "masked_counts reads counts as values; set model.adapter to continuous and model.tokenizer to "
            "{target_sum: null, log1p: false}"
        )
    for part in objective.parts if isinstance(objective, Weighted) else [objective]:
        if isinstance(part, WholeCell) and part.settings.zeros_share:
            _check_whole(job, getattr(tokenizer, "max_length", None))
        elif getattr(part.settings, "lowercase_weight", 1.0) != 1 and job.vocabulary.tokens.get("a") != ord(
            "a"
        ):
            raise ConfigError(
                "lowercase_weight needs tokens that tell cases apart; set model.adapter to evo2 or text"
            )
        elif isinstance(job.examples, CellExamples) and not job.examples.zeros:
            _check_zeros(part.settings)


def _check_whole(job: Any, limit: int | None) -> None:
    """Refuse cells that lack expressed genes, which would be trained on as zeros."""
    if job.config.data.zeros:
        raise ConfigError("whole_cell makes all zeros itself; leave data.zeros out, or set zeros_share to 0")
    # A cell that fills the window may have been cut, which its tokens alone cannot tell.
    cut = 0 if limit is None else int((job.found.lengths >= limit).sum())
    if cut:
        raise ConfigError(
            f"{cut:,} of {len(job.found.lengths):,} cells fill all {limit:,} tokens of model.max_length, and "
            f"whole_cell would take genes beyond it for zeros; set model.max_length to "
            f"{job.core.vocab_size:,} (whole_cell.max_tokens bounds what the core reads), or zeros_share to 0"
        )


def _check_zeros(settings: Any) -> None:
    for key in ("zero_rates", "zero_probability", "nonzero_only"):
        if getattr(settings, key, False):
            raise ConfigError(
                f"{key} is about values of 0, but cells become tokens of their expressed genes alone; set "
                "data.zeros, such as 200"
            )
