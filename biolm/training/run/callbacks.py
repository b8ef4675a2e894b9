"""What happens beside the steps: validation, checkpoints, the early end."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from biolm.errors import TrainingError
from biolm.io.atomic import replacing
from biolm.models.native import Saved, save
from biolm.objectives.registry import split_part
from biolm.training.run.baseline import worse_than_guessing
from biolm.training.run.checkpoint import Progress, thin_out, training_state, write_checkpoint
from biolm.training.run.module import Means, Pretraining
from biolm.training.run.record import Record
from biolm.training.run.shards import all_finite, gather
from biolm.training.run.stop import Stop

__all__ = ["Save"]

log = logging.getLogger("biolm")


class Save(pl.Callback):
    """Validate with the weights that are saved, save them, and end early where nothing improves.

    Parameters
    ----------
    folder
        Of the checkpoints.
    saved
        What goes beside the weights; None where no model is written, as it belongs to no system.
    progress
        Where the run starts.
    record
        Gets the numbers of validations.
    stop
        Whether the user wants to stop.
    """

    def __init__(
        self, folder: Path, saved: Saved | None, progress: Progress, record: Record, stop: Stop
    ) -> None:
        self.folder, self.saved, self.progress, self.record, self.stop = folder, saved, progress, record, stop
        self._last = progress.step
        self._ends = 0  # number of the signal

    @property
    def scores(self) -> dict[str, float]:
        """Of the weights that are saved."""
        return self.progress.scores

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:  # noqa: ARG002
        """Take the signals from Lightning, whose handlers talk to other processes in the midst of a step."""
        self.stop.listen()

    def on_validation_start(self, trainer: pl.Trainer, module: Any) -> None:  # noqa: ARG002
        """Put the moving average in place of the weights."""
        module.valid_means = Means()
        module.swap_average()

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Note how well the model does beside the baseline."""
        module.swap_average()
        means = module.valid_means.means()
        weights = {name: weight for name, weight in module.term_weights.items() if name in means}
        means["loss"] = sum(weight * means[name] for name, weight in weights.items())
        for name in weights:
            part = name.removesuffix("loss")
            guesses = [guess for guess in (f"{part}unigram", f"{part}place") if guess in means]
            if guesses:
                # The loss may hold more than the cross-entropy, such as a weight of repeats.
                entropy = means.get(f"{part}cross_entropy", means[name])
                means[f"{part}perplexity"] = math.exp(min(entropy, 700))
            for guess in guesses:
                means[f"{guess}_perplexity"] = math.exp(min(means[guess], 700))
        # Ranks may round differently, and must agree on what follows.
        means["loss"] = trainer.strategy.broadcast(means["loss"])
        self._compare(module, means)
        if trainer.is_global_zero:
            self.record.add(module.step, "validation", means)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
            log.info("step %d of %d: held out %s", module.step, module.steps, shown)
        patience = module.config.trainer.patience
        if patience and self.progress.waited >= patience:
            log.info("no lower loss in %d validations: training ends", patience)
            trainer.should_stop = True

    def _compare(self, module: Pretraining, means: dict[str, float]) -> None:
        """Whether this validation is the best so far, and what follows."""
        so_far = self.progress.best
        # NaN compares as no better for ever, so that a run which recovers would never count as one.
        better = so_far is None or math.isnan(so_far) or means["loss"] < so_far
        self.progress.best = means["loss"] if better else so_far
        self.progress.waited = 0 if better else self.progress.waited + 1
        keeps = module.config.trainer.keeps_best
        # The card shows the scores of the weights that are saved, which are the last ones unless the best are
        # kept.
        if better or not keeps:
            self.progress.scores, self.progress.scored = means, module.step
        if better and keeps:
            module.keep_best()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:  # noqa: ARG002
        """Save between validations; a checkpoint that falls on one waits for it."""
        every = module.config.trainer
        # While gradients are accumulated, batches end without a step.
        stepped, self._last = module.step != self._last, module.step
        if not stepped:
            return
        # One process may have heard what others have not, and all must stop after the same step.
        asked = torch.tensor(self.stop.asked, device=trainer.strategy.root_device)
        self._ends = int(trainer.strategy.reduce(asked, reduce_op="max"))
        falls_on_one = module.step % every.validate_every == 0 or module.step == module.steps
        if (self._ends or module.step % every.checkpoint_every == 0) and not falls_on_one:
            self._save(trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Save after a validation."""
        # An epoch of Lightning's ends here at each validation, see BatchModule.train_dataloader.
        due = module.step % module.config.trainer.checkpoint_every == 0 or module.step == module.steps
        if due or self._ends or trainer.should_stop:
            self._save(trainer, module)

    def _save(self, trainer: pl.Trainer, module: Pretraining) -> None:
        """Write a checkpoint, and end there if that was asked for."""
        self.save(trainer, module)
        if self._ends and module.step < module.steps and not trainer.should_stop:
            # Who started the processes may end all when one ends, and the first is still writing.
            trainer.strategy.barrier()
            log.info("saved step %d; go on from there with `resume=True`", module.step)
            # Lightning kills all where one of those that it started ends with another status than 0.
            self.stop.now(self._ends if trainer.is_global_zero else self.stop.asked)

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Write the model itself, with its scores on the card."""
        self.write_model(module, first=trainer.is_global_zero)

    def write_model(self, module: Pretraining, *, first: bool) -> None:
        """Write the model, its scores on the card; all processes must call it, the ``first`` writes.

        Parameters
        ----------
        module
            What is trained.
        first
            Whether this process writes.
        """
        kept = self.progress.scored if module.best else module.step
        if kept != module.step:
            log.info("saving the weights of step %d, whose held-out loss was lowest", kept)
        module.settle()
        whole = gather(module.saved())
        worse = worse_than_guessing(self.scores, _adversaries(module))
        for sentence in worse if first else ():
            log.warning("%s; train for longer or with another learning rate", sentence)
        if first and self.saved is not None:
            card = {**(self.saved.card or {}), "steps": kept}
            card |= {f"held-out {name}": f"{value:.4g}" for name, value in self.scores.items()}
            card |= {"worse than guessing": "; ".join(worse)} if worse else {}
            with replacing(self.folder.parent / "model", overwrite=True) as temporary:
                temporary.mkdir()
                saved = replace(self.saved, card=card)
                save(temporary, saved, *module.parts(whole))

    def save(self, trainer: pl.Trainer, module: Pretraining) -> None:
        """Write a checkpoint, and remove old ones.

        Parameters
        ----------
        trainer
            Lightning's.
        module
            What is trained.

        Raises
        ------
        TrainingError
            If a weight is NaN; the last good checkpoint stays.
        """
        if not all_finite(module.state_dict()):
            raise TrainingError(f"a weight at step {module.step} is infinite or NaN; {module.advice()}")
        self.progress.step = module.step
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.progress.scaler = {} if scaler is None else scaler.state_dict()
        state = training_state(module)
        if trainer.is_global_zero:
            write_checkpoint(self.folder, module, state, self.saved, self.progress)
            thin_out(self.folder.parent, module.config.trainer.keep)


def _adversaries(module: Pretraining) -> set[str]:
    """Objectives that fail on purpose; '' where one stands alone."""
    parts = module.config.objectives
    names = {name for name, part in parts.items() if split_part(name, part)[0] == "adversarial"}
    return names | {""} if len(parts) == 1 and names else names
