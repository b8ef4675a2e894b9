"""The Lightning module: an objective over a core, and nothing that is not training.

Dimensions: ``b`` examples of a batch · ``t`` tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from biolm.core import Transformer
from biolm.core.checkpoint import write_weights
from biolm.errors import TrainingError
from biolm.objectives.base import Criterion, Prepared, Score
from biolm.objectives.baseline import Baseline
from biolm.objectives.gather import counts_of_ranks
from biolm.training.config import RunConfig
from biolm.training.data.loader import Item
from biolm.training.run.folder import checkpoints
from biolm.training.run.schedule import lr_fraction, parameter_groups
from biolm.training.run.shards import shard, spread
from biolm.training.run.start import plain_weights
from biolm.training.run.steps import StepBatch
from biolm.training.run.throughput import Throughput

__all__ = ["Means", "Pretraining"]


class Means(dict[str, Tensor]):
    """Totals and counts by name, ``(2,)`` float64 each, added up over batches."""

    def include(self, scores: dict[str, Tensor]) -> None:
        """Add those of one batch; a GPU's stay there, so that nobody waits for them."""
        for name, pair in scores.items():
            column = pair.detach()
            # Apple's GPUs have no float64.
            column = column.cpu() if column.device.type == "mps" else column
            self[name] = self.get(name, 0) + column.double()

    def means(self) -> dict[str, float]:
        """Total over count of each; what counted nothing has no mean."""
        return {name: float(pair[0] / pair[1]) for name, pair in self.items() if pair[1] > 0}


class Pretraining(pl.LightningModule):
    """Train a core with an objective.

    Parameters
    ----------
    core, objective
        What is trained.
    config
        Of the run.
    steps
        Optimiser steps of the whole run.
    baseline
        The trivial predictor that validation stands beside, where the objective has one.
    folder
        Of the run; a batch whose loss is NaN is written there.

    Attributes
    ----------
    step
        Optimiser steps done, those before a resume included.
    average
        Moving average of the weights by name; empty without ``trainer.ema``.
    best
        Weights of the lowest validation loss by name; empty where they are not kept.
    used_lr
        Learning rate of the last step.
    train_means, valid_means
        Since they were last read.
    throughput
        Of the steps since it was last read.
    """

    def __init__(
        self,
        core: Transformer,
        objective: Criterion,
        config: RunConfig,
        *,
        steps: int,
        baseline: Baseline | None,
        folder: Path,
    ) -> None:
        super().__init__()
        self.core, self.objective = core, objective
        self.config, self.steps, self.baseline = config, steps, baseline
        self.folder = folder
        self.step = 0
        self.average: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.optimiser_state: dict[int, dict[str, Tensor]] | None = None
        self.train_means, self.valid_means = Means(), Means()
        self.term_weights: dict[str, float] = {}
        self.throughput = Throughput()
        self.used_lr = 0.0
        # Made before training, so that the first steps are averaged from the initial weights on.
        if config.trainer.ema:
            self.average = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}

    def configure_model(self) -> None:
        """Cut the weights into shards where the strategy is ``fsdp``; Lightning calls it on every process."""
        if self.config.trainer.strategy == "fsdp":
            assert self.device_mesh is not None
            shard(self, self.device_mesh["data_parallel"])

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        """The batch on the device; its number and counts stay."""
        if isinstance(batch, StepBatch):
            return batch._replace(prepared=batch.prepared.to(device))
        return batch[0], batch[1].to(device)

    def training_step(self, batch: StepBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Loss of one batch.

        Raises
        ------
        TrainingError
            If the loss is infinite or NaN.
        """
        number, prepared = batch.number, batch.prepared
        # Dropout depends on the batch's number in the run: on no state that would have to be saved.
        torch.manual_seed((self.config.seed * 1_000_003 + number) % (1 << 63))
        self.objective.step = self.step
        score = self.objective.run(self.core, prepared)
        # Over the count of all batches of the step, on all processes: together they are one large batch.
        counts = batch.counts if prepared.real else {**dict.fromkeys(score.terms, 0.0), **batch.counts}
        loss = score.loss(counts_of_ranks(score, counts))
        if not torch.isfinite(loss):
            self._refuse(score, prepared, number)
        # A process that has run out of data must take part in the backward pass, or the others wait for ever.
        if not prepared.real:
            return loss * 0.0
        self.train_means.include(
            {**score.report(), "loss": torch.stack((loss.detach(), torch.ones_like(loss)))}
        )
        self.throughput.add(self.core, prepared, self.objective.narrowed)
        return loss

    def _refuse(self, score: Score, prepared: Prepared, number: int) -> None:
        """Stop, and keep the batch whose loss is NaN: this process's or that of another."""
        path = self.folder / "bad_batch.safetensors"
        own = score.loss()
        if torch.isfinite(own):
            raise TrainingError(
                f"the loss at step {self.step} is NaN on another process; its batch is in {path}; "
                f"{self.advice()}"
            )
        tensors = batch_tensors(prepared)
        write_weights(path, tensors, {"step": str(self.step), "batch": str(number)})
        broken = [name for name, each in tensors.items() if each.is_floating_point() and not finite(each)]
        # Infinite inputs are a fault of the data; all others are most often of the learning rate.
        advice = f"its {broken[0]} hold infinite numbers: fix the data" if broken else self.advice()
        message = f"the loss at step {self.step} is {own.item()}; its batch (number {number}) is in {path}"
        raise TrainingError(f"{message}; {advice}")

    def advice(self) -> str:
        """What to do about weights that run away."""
        o, t = self.config.optimiser, self.config.trainer
        lower = f"lower optimiser.lr (now {o.lr:g})" + ("" if t.clip else ", or set trainer.clip,")
        if self.step and checkpoints(self.folder):
            return f"{lower} and go on from the last good checkpoint (`resume=True`)"
        return f"{lower} and begin again in another folder; there is no checkpoint yet"

    def validation_step(self, batch: Item, batch_idx: int) -> None:  # noqa: ARG002
        """Losses and metrics of one batch, and the baseline's."""
        _, prepared = batch
        score = self.objective.run(self.core, prepared)
        self.term_weights = {name: score.weights.get(name, 1.0) for name in score.terms}
        self.valid_means.include(score.report())
        if self.baseline is not None:
            self.valid_means.include(self.baseline.report(prepared))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, with its state where a run is resumed."""
        o = self.config.optimiser
        optimiser = torch.optim.AdamW(
            parameter_groups(self, o),
            lr=o.lr,
            betas=(o.betas[0], o.betas[1]),
            eps=o.eps,
            # Faster, but under fp16 it would undo the loss scale itself, after clipping.
            fused=self.config.trainer.precision != "fp16",
        )
        if self.optimiser_state is not None:
            weights = [weight for group in optimiser.param_groups for weight in group["params"]]
            state = {
                number: spread(entries, dict.fromkeys(entries, weights[number]))
                for number, entries in self.optimiser_state.items()
            }
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        return optimiser

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """Bound the norm of all gradients; Lightning's own clipping refuses a fused optimiser."""
        if self.config.trainer.clip:
            nn.utils.clip_grad_norm_(self.parameters(), self.config.trainer.clip)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step at the schedule's learning rate."""
        optimiser = kwargs["optimizer"] if "optimizer" in kwargs else args[2]
        # Noted before the step count moves on: logs name the rate that was used.
        self.used_lr = self.lr
        for group in optimiser.param_groups:
            group["lr"] = self.used_lr
        super().optimizer_step(*args, **kwargs)
        self.step += 1
        # As many steps as weigh in the average must have been made before it can be so slow.
        decay = min(self.config.trainer.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.state_dict().items() if decay else ():
                self.average[name] = self.average[name].to(tensor.device)
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
                else:
                    self.average[name].copy_(tensor)

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self.config.optimiser.lr * lr_fraction(self.step, self.steps, self.config.schedule)

    def swap_average(self) -> None:
        """Exchange the weights and their moving average, where there is one."""
        with torch.no_grad():
            for name, tensor in self.state_dict().items() if self.average else ():
                kept = tensor.clone()
                tensor.copy_(self.average[name])
                self.average[name] = kept

    def keep_best(self) -> None:
        """Remember the weights that were validated, or rather their average."""
        whole = self.average or self.state_dict()
        self.best = {name: tensor.detach().clone() for name, tensor in whole.items()}

    def settle(self) -> None:
        """Take the weights that are to be saved: the best, else the average, else those at hand."""
        chosen = self.best or self.average
        with torch.no_grad():
            for name, tensor in self.state_dict().items() if chosen else ():
                tensor.copy_(chosen[name])
        self.best, self.average = {}, {}

    def train(self, mode: bool = True) -> Pretraining:
        """Turn dropout on, but not in a core of which nothing learns."""
        super().train(mode)
        # Dropout in a core that cannot adapt to it is only noise.
        if self.config.model.freeze == "all":
            self.core.eval()
        return self

    def saved(self) -> dict[str, Tensor]:
        """What is saved as the model, by name: the moving average of the weights, or themselves."""
        return self.average or self.state_dict()

    def parts(self, saved: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights of the core, low-rank updates added, and of the objectives' own heads.

        Parameters
        ----------
        saved
            Of :meth:`saved`, whole.
        """
        core, heads = (
            {name.removeprefix(start): each for name, each in saved.items() if name.startswith(start)}
            for start in ("core.", "objective.")
        )
        return plain_weights(self.core, core), heads


def finite(column: Tensor) -> bool:
    """Whether all is finite; NaN is how an unknown label is written."""
    return not bool(torch.isinf(column).any())


def batch_tensors(prepared: Prepared) -> dict[str, Tensor]:
    """What is needed to look into a batch: tokens before and after masking, targets, labels, other views."""
    tensors: dict[str, Tensor] = {}
    for number, view in enumerate((prepared, *prepared.others)):
        columns = {
            "keys": view.keys,
            "offsets": view.batch.offsets,
            "ids": view.batch.ids,
            "original_ids": view.original.ids,
            "values": view.batch.values,
            "original_values": view.original.values,
            "rows": view.rows,
            "targets": view.targets,
            **{f"label {name}": label for name, label in view.labels.items()},
        }
        start = f"view_{number}." if number else ""
        tensors |= {start + name: column.clone() for name, column in columns.items() if column is not None}
    return tensors
