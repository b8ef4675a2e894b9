"""One loop that fine-tunes a small model for every head: tags, answers, relations.

Dimensions: ``n`` examples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biolm.errors import TrainingError
from biolm.progress import log
from biolm.text.settings import FitSettings

__all__ = ["Fitted", "fit"]


@dataclass(slots=True)
class Fitted:
    """What a training did: the development score and the mean loss of each epoch."""

    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    lost: int = 0

    @property
    def best(self) -> int:
        """The epoch that was kept, from 0."""
        return int(np.argmax(self.scores))


def fit(
    model: nn.Module,
    head: nn.Module,
    examples: Sequence[Any],
    loss_of: Callable[[Sequence[Any]], tuple[Tensor, int]],
    score: Callable[[], float],
    keep: Callable[[int, float], None],
    settings: FitSettings,
    *,
    done: Fitted | None = None,
) -> Fitted:
    """Fine-tune; after each epoch the model is scored, and kept where it is the best so far.

    Parameters
    ----------
    model
        Everything that learns.
    head
        Its new part.
    examples
        ``n`` examples of any kind.
    loss_of
        Mean loss of some examples, and how many things it is the mean of.
    score
        Scores the model on development data.
    keep
        Saves it; given the epoch, from 1, and its score.
    settings
        See :class:`FitSettings`.
    done
        Filled in; a new one by default.

    Raises
    ------
    TrainingError
        If the loss is NaN.
    """
    done = done or Fitted()
    steps = -(-len(examples) // settings.batch_size) * settings.epochs
    optimiser = torch.optim.AdamW(_groups(model, head, settings))
    # As BERT is fine-tuned (Devlin et al. 2019): a tenth of warm-up, then linearly to 0.
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
    )
    generator = np.random.default_rng(settings.seed)
    begin = time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        model.train()
        order = generator.permutation(len(examples))
        total, count = 0.0, 0
        for start in range(0, len(order), settings.batch_size):
            chosen = [examples[row] for row in order[start : start + settings.batch_size]]
            loss, size = loss_of(chosen)
            _step(loss, model, optimiser, schedule)
            # By size: the last batch is smaller, and its loss would count too much.
            total += float(loss.detach()) * size
            count += size
        model.eval()
        done.losses.append(total / max(count, 1))
        done.scores.append(score())
        done.seconds = time.monotonic() - begin
        log.info(
            "epoch %d: loss %.4f, development score %.4f, %.0f s",
            *(epoch, done.losses[-1], done.scores[-1], done.seconds),
        )
        # Of equal epochs the later one is kept.
        if done.scores[-1] >= max(done.scores):
            keep(epoch, done.scores[-1])
        # The next epoch is taken to last as long as those before did on average.
        if settings.most_seconds and done.seconds * (epoch + 1) / epoch > settings.most_seconds:
            log.info("stopped after epoch %d: the next would go over the time limit", epoch)
            break
    return done


def _step(
    loss: Tensor,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> None:
    if not torch.isfinite(loss):
        raise TrainingError("the loss is NaN or infinite; try a lower lr")
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    # One batch of odd labels can otherwise throw a small encoder off.
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def _groups(model: nn.Module, head: nn.Module, settings: FitSettings) -> list[dict[str, Any]]:
    """Parameters with and without decay, and the head with its own rate."""
    new = {id(parameter) for parameter in head.parameters()}
    rest = [each for each in model.parameters() if each.requires_grad and id(each) not in new]
    # Biases and norms are not drawn to 0, which for a norm's scale would be wrong.
    decayed = [each for each in rest if each.dim() > 1]
    plain = [each for each in rest if each.dim() <= 1]
    return [
        {"params": decayed, "lr": settings.lr, "weight_decay": settings.weight_decay},
        {"params": plain, "lr": settings.lr, "weight_decay": 0.0},
        {"params": list(head.parameters()), "lr": settings.head_lr, "weight_decay": 0.0},
    ]
