"""Train: a job, a Lightning trainer, a folder with all that came of it.

The folder of a run holds ``config.yaml`` (resolved), ``summary.json``, ``metrics.csv``, ``checkpoints/``
and at the end ``model/``, which ``biolm.load`` opens.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.strategies import ModelParallelStrategy

import biolm
from biolm.core import Transformer
from biolm.errors import ConfigError, TrainingError
from biolm.extras import need
from biolm.io.atomic import remove, replacing
from biolm.io.locks import claiming
from biolm.models.native import Saved
from biolm.models.precision import warn_if_emulated
from biolm.objectives.base import Criterion
from biolm.training.config import RunConfig, TrainerConfig
from biolm.training.data.loader import Reader, Stream
from biolm.training.run.baseline import learnt_baseline
from biolm.training.run.callbacks import Save
from biolm.training.run.checkpoint import Progress, restore
from biolm.training.run.folder import (
    LEARNING,
    absolute,
    accept,
    changes,
    checkpoints,
    last_checkpoint,
    open_folder,
    remember,
    stored_config,
)
from biolm.training.run.initialise import initialise, start_genes
from biolm.training.run.job import Job, head_metadata, make_objective
from biolm.training.run.module import Pretraining
from biolm.training.run.prepare import prepare
from biolm.training.run.ranks import check_processes, environment, is_first, started_by_first
from biolm.training.run.record import Bar, Record
from biolm.training.run.start import adapt, reuse_heads
from biolm.training.run.steps import Steps
from biolm.training.run.stop import stopping

__all__ = ["BatchModule", "Result", "make_module", "reader_of", "run_job", "saved_of", "train"]

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run made.

    Parameters
    ----------
    folder
        Of the run.
    model
        Folder of the saved model.
    steps
        Optimiser steps done.
    scores
        Of the validation of the saved weights, the baseline's among them.
    first
        Whether this is the process that writes; each process of a run has a result.
    """

    folder: Path
    model: Path
    steps: int
    scores: dict[str, float]
    first: bool = True


class BatchModule(pl.LightningDataModule):
    """Batches of a job for the process that asks.

    Parameters
    ----------
    job
        Data and plan.
    module
        Knows the step, and the objective whose ``prepare`` masks what is to be predicted.
    """

    def __init__(self, job: Job, module: Pretraining) -> None:
        super().__init__()
        self.job, self.module = job, module

    def train_dataloader(self) -> Steps:
        """Batches from the next step on; an iteration ends where a validation is due."""
        c = self.job.config
        stream = Stream(
            reader=reader_of(self.job, self.module.objective, valid=False),
            rank=self.trainer.global_rank if self.trainer else 0,
            ranks=self.trainer.world_size if self.trainer else 1,
            start=self.module.step * c.trainer.accumulate,
            stop=self.job.steps * c.trainer.accumulate,
            epochs=c.trainer.max_epochs,
            workers=c.data.workers,
            pauses=c.trainer.validate_every * c.trainer.accumulate,
        )
        return Steps(stream=stream, objective=self.module.objective, accumulate=c.trainer.accumulate)

    def val_dataloader(self) -> Stream | list[None]:
        """All held-out batches, on every process: they are few, and results then need no exchange."""
        if self.job.valid is None:
            return []
        return Stream(reader=reader_of(self.job, self.module.objective, valid=True), epochs=1)


def reader_of(job: Job, objective: Criterion, *, valid: bool) -> Reader:
    """Batches of a job: those to train on, or those held out.

    Parameters
    ----------
    job
        The run.
    objective
        Whose ``prepare`` masks.
    valid
        Whether held-out batches are read.
    """
    plan = job.valid if valid else job.train
    assert plan is not None
    return Reader(
        examples=job.examples,
        plan=plan,
        prepare=objective.prepare,
        seed=job.config.seed,
        frozen_epoch=valid,
        labels=job.labels,
    )


def train(config: RunConfig, folder: Path, *, resume: bool = False) -> Result:
    """Run a config to its end.

    Parameters
    ----------
    config
        Of the run.
    folder
        Made for the run.
    resume
        Go on from the last checkpoint in the folder, where there is one.

    Raises
    ------
    OutputError
        If the folder exists and ``resume`` is off, or holds no run.
    ConfigError
        If the config is impossible, or another than that of the run to go on with.
    TrainingError
        If the loss is infinite or NaN.
    """
    first = is_first()
    if started_by_first():
        # Which may have been long ago: the file of the command can be another by now.
        config = stored_config(folder)
    _check_device(config.trainer)
    if "tensorboard" in config.trainer.loggers:
        need("trainer.loggers tensorboard", "train", "tensorboard")
    check_processes(config.trainer.devices, config.trainer.nodes)
    config = absolute(config)
    with _quiet(first=first), claiming(folder) if first else nullcontext():
        is_new = first and open_folder(folder, config, resume=resume)
        job = module = None
        try:
            job = prepare(config, folder)
            module = make_module(job, folder)
            if first:
                remember(folder, job)
            return run_job(job, module, folder, resume=resume, first=first)
        except TrainingError:
            raise
        except BaseException:
            # A run that never made a step leaves no folder, which the corrected command would then refuse.
            if is_new and (module is None or not module.step) and not checkpoints(folder):
                remove(folder)
            raise
        finally:
            if job is not None:
                job.examples.close()


def run_job(
    job: Job, module: Pretraining, folder: Path, *, resume: bool = False, first: bool = True
) -> Result:
    """Train a module that is ready, in a folder that is there.

    Parameters
    ----------
    job, module
        From :func:`~biolm.training.run.job.plan_job` and :func:`make_module`.
    folder
        Of the run.
    resume
        Go on from the last checkpoint in the folder, where there is one.
    first
        Whether this is the process that writes.
    """
    config = job.config
    progress = _restored(folder, module) if resume else Progress()
    t = config.trainer
    ended = progress.step >= job.steps or 0 < t.patience <= progress.waited
    if resume and first:
        if ended:
            _refuse_what_is_late(folder, job, progress)
        accept(folder, config)
    if first:
        with replacing(folder / "summary.json", overwrite=True) as temporary:
            temporary.write_text(json.dumps(job.summary(), indent=1) + "\n", encoding="utf-8")
    with stopping() as stop:
        loggers = t.loggers if first else ()
        record = Record(folder, progress.step, t.log_every, loggers=loggers, peak=1e12 * t.peak_tflops)
        saver = Save(folder / "checkpoints", saved_of(job), progress, record, stop)
        if not ended:
            with _quiet(first=first), torch.random.fork_rng(devices=[]):
                trainer = _trainer(config, job.steps - progress.step, [record, saver, Bar()])
                scaler = getattr(trainer.precision_plugin, "scaler", None)
                if scaler is not None and progress.scaler:
                    scaler.load_state_dict(progress.scaler)
                _fit(trainer, module, BatchModule(job, module))
        elif first and not (folder / "model").exists():
            # The run was killed between its last checkpoint and its model.
            saver.write_model(module, first=True)
        if stop.asked:
            # It came after the last step: the run is done, but what called it may not be.
            stop.now(stop.asked)
    return Result(folder=folder, model=folder / "model", steps=module.step, scores=saver.scores, first=first)


def _refuse_what_is_late(folder: Path, job: Job, progress: Progress) -> None:
    """A run that has ended learns nothing from settings of its learning."""
    late = [key for key, _, _ in changes(folder, job.config, (*LEARNING, "trainer.max_*"))]
    if late:
        early = progress.step < job.steps
        advice = "" if early else ", raise trainer.max_steps or trainer.max_epochs to train on,"
        why = "as its held-out loss no longer fell" if early else f"all {progress.step} steps are done"
        raise ConfigError(
            f"the run in {folder} has ended ({why}), so {' and '.join(late)} would change nothing; "
            f"leave it as it was{advice} or begin a run from its model (model.start: {folder / 'model'})"
        )


def _restored(folder: Path, module: Pretraining) -> Progress:
    """Put the last checkpoint into the module."""
    with last_checkpoint(folder) as checkpoint:
        return Progress() if checkpoint is None else restore(checkpoint, module)


def _fit(trainer: pl.Trainer, module: Pretraining, data: BatchModule) -> None:
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit of its own.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def make_module(job: Job, folder: Path) -> Pretraining:
    """Core and heads: weights of the model to start from, or drawn from the seed.

    Parameters
    ----------
    job
        The run.
    folder
        Of the run.

    Raises
    ------
    ConfigError
        If nothing is left to learn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.config.seed)
        if job.start is not None:
            core = copy.deepcopy(job.start.core)
        else:
            core = Transformer(job.core)
            initialise(core, job.config.model.init_std)
            if job.config.model.init_genes is not None:
                start_genes(core, job.vocabulary, job.config.model.init_genes, std=job.config.model.init_std)
        objective = make_objective(job)
        adapt(core, job.config.model, uses_head=objective.uses_head)
    if job.start is not None and job.start.heads is not None:
        reuse_heads(objective, head_metadata(job), job.start.heads)
    if not any(weight.requires_grad for part in (core, objective) for weight in part.parameters()):
        raise ConfigError("model.freeze leaves nothing to learn: the objectives have no heads of their own")
    core.gradient_checkpointing = job.config.trainer.gradient_checkpointing
    baseline = learnt_baseline(objective, reader_of(job, objective, valid=False))
    return Pretraining(core, objective, job.config, steps=job.steps, baseline=baseline, folder=folder)


def saved_of(job: Job) -> Saved | None:
    """What the saved model holds beside the weights; None where the run knows no tokeniser."""
    if job.preprocessor is None:
        return None
    metadata = {
        "objectives": ", ".join(job.config.objectives),
        "training examples": len(job.train.rows),
        "tokens of an epoch": int(job.train.lengths.sum()),
        "seed": job.config.seed,
        "biolm": biolm.__version__,
    }
    # A model that goes on makes its vectors as it did.
    model = job.config.model if job.start is None else job.start
    return Saved(
        preprocessor=replace(job.preprocessor, name=job.config.name),
        vocabulary=job.vocabulary.tokens,
        core=job.core,
        pool=model.pool,
        hidden_state=model.hidden_state,
        card=metadata,
        heads=head_metadata(job),
    )


def _trainer(config: RunConfig, steps: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    t = config.trainer
    try:
        return _make_trainer(t, steps, callbacks)
    except MisconfigurationException as error:
        raise ConfigError(f"the trainer cannot be set up: {error}") from error


def _make_trainer(t: TrainerConfig, steps: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    return pl.Trainer(
        accelerator=t.accelerator,
        devices=t.devices,
        num_nodes=t.nodes,
        plugins=environment(),
        strategy=_strategy(t),
        precision=_PRECISIONS[t.precision],  # type: ignore[arg-type]  # one of Lightning's words
        max_steps=steps,
        # Lightning's epochs end at validations; steps alone end the run.
        max_epochs=-1,
        accumulate_grad_batches=t.accumulate,
        callbacks=callbacks,
        # Its own logs and checkpoints would hold what ours do, without the state that makes resuming exact.
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # The moving average is exchanged in place around a validation.
        inference_mode=False,
        # Our stream gives each process its own batches; a sampler would deal them a second time.
        use_distributed_sampler=False,
    )


def _check_device(config: TrainerConfig) -> None:
    # Lightning would take bf16 for fp16 and say nothing.
    there = torch.accelerator.is_available()
    if config.accelerator in ("gpu", "cuda", "mps") and not there:
        raise ConfigError(f"trainer.accelerator {config.accelerator} is not on this machine; set auto or cpu")
    if config.precision == "fp16" and (config.accelerator == "cpu" or not there):
        raise ConfigError("trainer.precision fp16 needs a GPU; set bf16 or fp32")
    if config.precision == "bf16" and (config.accelerator == "cpu" or not there):
        warn_if_emulated()


def _strategy(config: TrainerConfig) -> str | ModelParallelStrategy:
    if config.strategy != "fsdp":
        return config.strategy
    return ModelParallelStrategy(data_parallel_size=config.processes, tensor_parallel_size=1)


@contextmanager
def _quiet(*, first: bool) -> Iterator[None]:
    """One process speaks for all, and gives no advice of Lightning's: the loader and the logs are our own."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "biolm")]
    silent = loggers[:2] if first else loggers
    levels = [logger.level for logger in silent]
    for logger in silent:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)")
            yield
    finally:
        for logger, level in zip(silent, levels, strict=True):
            logger.setLevel(level)
