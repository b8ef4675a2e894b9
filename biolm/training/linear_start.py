"""Fine-tune from a linear solution: before the first step the network says what the linear map says.

A linear probe first, then fine-tuning from its weights (Kumar et al. 2022, "Fine-tuning can distort
pretrained features and underperform out-of-distribution", section 3.4), which leaves the vectors of cells
that are far from the training cells better alone than a head with random weights.

Dimensions: ``p`` inputs of the model (cells, or pieces of sequences) · ``s`` samples, which have the labels
(cells, sequences, or letters of them) · ``k`` samples of a batch · ``d`` width · ``c`` classes, 1 of numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from biolm.batch import Batch, Tokens
from biolm.core import Transformer
from biolm.core.lora import fold_lora
from biolm.errors import TrainingError
from biolm.io.atomic import replacing_folder
from biolm.models.native import Saved, save
from biolm.training.config import ModelConfig, OptimiserConfig
from biolm.training.data.plan import Plan
from biolm.training.run.schedule import parameter_groups
from biolm.training.run.start import adapt

__all__ = ["Inputs", "Maps", "Target", "Tuned", "Tuner", "Vectors"]

Maps = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Weights ``(d, c)`` and bias ``(c,)`` by label column."""
_CLIP = 1.0
_WARMUP = 10
# The head has far fewer weights than the core, and may start at zero.
_HEAD = 5.0
_VECTOR_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A label column, and the linear map to start from.

    Parameters
    ----------
    wanted
        ``(s,)`` int64 classes, or float64 numbers.
    weights, bias
        ``(d, c)`` and ``(c,)`` on the model's vectors.
    offsets
        ``(s, c)`` what is read beside the vectors says; it stays as it is.
    temperature
        Of the linear map's probabilities; the loss is taken at it, within a factor of 2.
    """

    wanted: NDArray[np.int64] | NDArray[np.float64]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    offsets: NDArray[np.float64]
    temperature: float = 1.0

    @property
    def is_number(self) -> bool:
        """Whether numbers are learned."""
        return self.wanted.dtype.kind == "f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a model reads, and which samples it holds.

    Parameters
    ----------
    tokens
        ``p`` inputs.
    samples
        Samples of each input, one input after the other; -1 for letters that are no sample.
    starts
        ``(p + 1,)`` where the samples of each input begin.
    states
        Gives the vectors ``(k, d)`` of a batch's samples, those of -1 among them, with their gradient.
    """

    tokens: Tokens
    samples: NDArray[np.int64]
    starts: NDArray[np.int64]
    states: Callable[[Transformer, Batch], Tensor]

    def of(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Inputs that hold any of some samples."""
        owner = np.repeat(np.arange(len(self.tokens)), np.diff(self.starts))
        rows = np.unique(owner[np.isin(self.samples, samples)])
        return rows[self.tokens.lengths[rows] > 0]

    def held(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Samples of some inputs, in their order."""
        return np.concatenate([self.samples[self.starts[row] : self.starts[row + 1]] for row in rows])


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors ``(s, d)`` that stay as they are, in the place of :class:`Inputs`."""

    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A fine-tuned core, and what goes into a folder beside it."""

    core: Transformer
    saved: Saved
    steps: int

    def save(self, folder: Path) -> None:
        """Write a folder that :func:`biolm.load` opens; it is made."""
        with replacing_folder(folder, "config.json", overwrite=True) as target:
            save(target, self.saved, self.core.state_dict())


class Tuner:
    """A copy of a core with its heads, on the way from the linear map.

    Parameters
    ----------
    core
        To be copied; None where vectors stay as they are.
    inputs
        What is read.
    targets
        By label column.
    rows
        Samples to learn from.
    config
        How much of the core learns.
    lr
        Learning rate of the core.
    batch_tokens
        Tokens of a step.
    seed
        Of batches and dropout.
    device
        Where it runs.

    Attributes
    ----------
    steps
        Done so far.
    epoch_steps
        Of one pass over ``rows``.
    """

    def __init__(
        self,
        core: Transformer | None,
        inputs: Inputs | Vectors,
        targets: Mapping[str, Target],
        rows: NDArray[np.int64],
        *,
        config: ModelConfig,
        lr: float,
        batch_tokens: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.inputs, self.targets, self.rows = inputs, targets, rows
        self.seed, self.device, self.steps, self.rate = seed, device, 0, lr
        self.batch_tokens = batch_tokens
        # The user's model must stay what it was, also where this one is thrown away.
        self.core = None if core is None else copy.deepcopy(core)
        self._wanted = {name: self._targets(target) for name, target in targets.items()}
        self._centre, self._scale = self._spread()
        heads = {name: self._head(target) for name, target in targets.items()}
        self.heads = nn.ModuleDict({str(number): head for number, head in enumerate(heads.values())})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.core is not None:
                self.core.to(device)
                adapt(self.core, config, uses_head=False)
        self.heads.to(device)
        self._optimiser = self._make_optimiser(lr)
        plan = _plan(inputs, rows, batch_tokens, seed)
        self.epoch_steps = plan.batches(1)
        self._batches = self._endless(plan)

    def _targets(self, target: Target) -> tuple[Tensor, Tensor, Tensor]:
        """Labels of all samples, their offsets, and weights by which classes count alike in training."""
        offsets = torch.from_numpy(target.offsets.astype(np.float32)).to(self.device)
        chosen = target.wanted[self.rows]
        if target.is_number:
            weights = torch.tensor([1 / max(float(chosen.var()), 1e-12)])
            return torch.from_numpy(target.wanted.astype(np.float32)), offsets, weights.to(self.device)
        counts = np.bincount(chosen, minlength=target.offsets.shape[1])
        weights = torch.from_numpy(len(chosen) / (len(counts) * np.maximum(counts, 1))).float()
        return torch.from_numpy(target.wanted), offsets, weights.to(self.device)

    def _spread(self) -> tuple[Tensor, Tensor]:
        """``(d,)`` mean and deviation of vectors, so that one learning rate suits heads of any model."""
        # One batch is enough for a scale.
        rows = self.rows if isinstance(self.inputs, Vectors) else self.inputs.of(self.rows)[:_VECTOR_BATCH]
        with torch.no_grad():
            states = self._states(rows)[0]
        return states.mean(0), states.std(0, correction=0).clamp(min=1e-6)

    def _head(self, target: Target) -> nn.Linear:
        head = nn.Linear(*target.weights.shape)
        weights, bias = (torch.from_numpy(each).to(self.device) for each in (target.weights, target.bias))
        with torch.no_grad():
            head.weight.copy_((weights * self._scale[:, None]).T)
            # With both, the head on scaled vectors says what the linear map said on those as they are.
            head.bias.copy_(bias + self._centre @ weights)
        return head

    def _make_optimiser(self, lr: float) -> torch.optim.Optimizer:
        # Weights decay towards zero, which is not where they start.
        config = OptimiserConfig(lr=lr, weight_decay=0.0)
        groups = [{"params": list(self.heads.parameters()), "fraction": 1.0 if self.core is None else _HEAD}]
        if self.core is not None:
            groups += [group | {"fraction": 1.0} for group in parameter_groups(self.core, config)]
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), weight_decay=0.0)

    def _endless(self, plan: Plan) -> Iterator[NDArray[np.int64]]:
        epoch = 0
        while True:
            for pool in plan.epoch(epoch):
                yield from pool
            epoch += 1

    def _states(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
        """Vectors ``(k, d)`` of the samples of some inputs, and their numbers."""
        if isinstance(self.inputs, Vectors):
            return torch.from_numpy(self.inputs.vectors[rows]).to(self.device), rows
        assert self.core is not None
        samples = self.inputs.held(rows)
        # Read whole: residues without a label (-1) are neighbours of those that have one.
        states = self.inputs.states(self.core, Batch.from_tokens(self.inputs.tokens, rows).to(self.device))
        kept = np.flatnonzero(samples >= 0)
        return states[torch.from_numpy(kept).to(self.device)], samples[kept]

    def run(self, steps: int) -> None:
        """Some optimiser steps.

        Raises
        ------
        TrainingError
            If the loss is infinite or NaN.
        """
        modules = [self.heads] if self.core is None else [self.heads, self.core]
        for module in modules:
            module.train()
        parameters = [each for module in modules for each in module.parameters() if each.requires_grad]
        try:
            with torch.random.fork_rng(devices=[]):
                for _ in range(steps):
                    # Dropout depends on the step alone.
                    torch.manual_seed((self.seed * 1_000_003 + self.steps) % (1 << 63))
                    loss = self._loss(next(self._batches))
                    if not torch.isfinite(loss):
                        raise TrainingError(
                            f"the loss of fine-tuning is {loss.item()} at step {self.steps}; lower the "
                            f"learning rate (`rate`, now {self.rate:g})"
                        )
                    loss.backward()  # type: ignore[no-untyped-call]  # of torch
                    nn.utils.clip_grad_norm_(parameters, _CLIP)
                    for group in self._optimiser.param_groups:
                        group["lr"] = self.rate * group["fraction"] * min(1.0, (self.steps + 1) / _WARMUP)
                    self._optimiser.step()
                    self._optimiser.zero_grad()
                    self.steps += 1
        finally:
            for module in modules:
                module.eval()

    def _loss(self, rows: NDArray[np.int64]) -> Tensor:
        states, samples = self._states(rows)
        # An input may hold residues of the held-out fold beside those to learn from.
        used = np.flatnonzero(np.isin(samples, self.rows))
        states, places = self._scaled(states[torch.from_numpy(used).to(self.device)]), samples[used]
        total = torch.zeros((), device=self.device)
        where = torch.from_numpy(places)
        for head, (name, target) in zip(self.heads.values(), self.targets.items(), strict=True):
            wanted, offsets, weights = self._wanted[name]
            logits = head(states) + offsets[where.to(self.device)]
            labels = wanted[where].to(self.device)
            if target.is_number:
                total = total + weights[0] * F.mse_loss(logits[:, 0], labels)
            else:
                total = total + F.cross_entropy(logits / _tempered(target), labels, weight=weights)
        return total

    @torch.no_grad()
    def logits(self, samples: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Of some samples by label column ``(n, c)``, offsets included; pieces of a sequence are averaged."""
        size = len(next(iter(self.targets.values())).wanted)
        rows = samples if isinstance(self.inputs, Vectors) else self.inputs.of(samples)
        widths = [target.weights.shape[1] for target in self.targets.values()]
        sums, counts = np.zeros((size, sum(widths))), np.zeros((size, 1))
        for chosen in _plan(self.inputs, rows, self.batch_tokens, self.seed, shuffle=False).epoch(0):
            for part in chosen:
                states, places = self._states(part)
                logits = torch.cat([head(self._scaled(states)) for head in self.heads.values()], 1)
                np.add.at(sums, places, logits.double().cpu().numpy())
                np.add.at(counts, places, 1.0)
        # A sequence longer than the model is a sample of several inputs, one without a token of none.
        means = np.where(counts > 0, sums / np.maximum(counts, 1), self._bias())[samples]
        parts = np.split(means, np.cumsum(widths)[:-1], axis=1)
        return {
            name: part + target.offsets[samples]
            for part, (name, target) in zip(parts, self.targets.items(), strict=True)
        }

    def _scaled(self, states: Tensor) -> Tensor:
        return (states - self._centre) / self._scale

    def _bias(self) -> NDArray[np.float64]:
        """What is said of an input without a token, whose vector is zero."""
        nothing = self._scaled(torch.zeros_like(self._scale))
        return np.concatenate([head(nothing).double().cpu().numpy() for head in self.heads.values()])

    def maps(self) -> Maps:
        """The heads on the model's own vectors; before any step those that were given, bit for bit."""
        if not self.steps:
            # Scaled and scaled back they would differ in their last bits.
            return {name: (target.weights, target.bias) for name, target in self.targets.items()}
        maps = {}
        for head, name in zip(self.heads.values(), self.targets, strict=True):
            assert isinstance(head, nn.Linear)
            weights = head.weight.detach().T / self._scale[:, None]
            bias = head.bias.detach() - self._centre @ weights
            maps[name] = (weights.cpu().numpy(), bias.cpu().numpy())
        return maps

    def tuned_core(self) -> Transformer:
        """The core with what it learned, low-rank updates added to its weights, on the CPU."""
        assert self.core is not None
        core = self.core.cpu()
        fold_lora(core)
        return core.requires_grad_(True).eval()


def _tempered(target: Target) -> float:
    """Its temperature; one that says that the linear map knows nothing would leave no gradient."""
    return float(np.clip(target.temperature, 0.5, 2.0))


def _plan(
    inputs: Inputs | Vectors, samples: NDArray[np.int64], budget: int, seed: int, *, shuffle: bool = True
) -> Plan:
    """Batches of inputs that hold some samples; without ``shuffle`` ``samples`` are the inputs themselves."""
    if isinstance(inputs, Vectors):
        rows, lengths, budget = samples, np.ones(len(samples), np.int64), _VECTOR_BATCH
    else:
        rows = inputs.of(samples) if shuffle else samples
        lengths = inputs.tokens.lengths[rows]
    return Plan(rows=rows, lengths=lengths, seed=seed, chunk=1, pool=1024, budget=budget, shuffle=shuffle)
