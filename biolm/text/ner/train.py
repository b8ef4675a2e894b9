"""Fine-tune an encoder to tag named entities.

Dimensions: ``t`` pieces of a batch · ``k`` labels.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from biolm.errors import ConfigError, InputError, TrainingError
from biolm.io.atomic import replacing
from biolm.io.text.document import Document
from biolm.models.running import pick_device
from biolm.progress import log
from biolm.text.ner.labels import LabelSet
from biolm.text.ner.predict import batch_of, predict
from biolm.text.ner.read import Window, read_document, word_tags
from biolm.text.ner.tagger import Tagger, new_tagger, save_tagger
from biolm.text.pieces import PieceTokenizer, load_pieces
from biolm.text.scores.entities import entity_scores
from biolm.text.windows import check_stride

__all__ = ["NerSettings", "NerTraining", "train_ner"]


@dataclass(frozen=True, kw_only=True)
class NerSettings:
    """How a tagger is trained.

    Parameters
    ----------
    epochs
        Passes over the training documents; the epoch with the best F1 on the development documents is kept.
    lr
        Peak learning rate of AdamW, after a warm-up of a tenth of the steps and before a linear decay.
    head_lr
        Learning rate of the new head.
    batch_size
        Windows of a step.
    weight_decay, dropout, overlap, seed, device
        As their names say; ``overlap`` in pieces, None for a quarter of a window.
    precision
        ``float32``, or ``bfloat16`` for mixed precision.
    freeze_embeddings
        Leave the token embeddings as they are: faster, and half of a small encoder's parameters.
    most_seconds
        No epoch is begun that would end later; 0 for no limit.
    """

    epochs: int = 4
    lr: float = 5e-5
    head_lr: float = 1e-3
    batch_size: int = 16
    weight_decay: float = 0.01
    dropout: float = 0.1
    overlap: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    freeze_embeddings: bool = False
    most_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision must be float32 or bfloat16, not {self.precision!r}")
        if not (self.lr > 0 and self.head_lr > 0):
            raise ConfigError(f"lr and head_lr must be over 0, not {self.lr} and {self.head_lr}")


@dataclass(slots=True)
class NerTraining:
    """What a training did: ``scores`` holds strict F1 on the development documents after each epoch."""

    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    lost: int = 0

    @property
    def best(self) -> int:
        """The epoch that was kept, from 0."""
        return int(np.argmax(self.scores))


def train_ner(
    model: Path,
    train: Sequence[Document],
    dev: Sequence[Document],
    output: Path,
    settings: NerSettings | None = None,
    *,
    overwrite: bool = False,
) -> NerTraining:
    """Fine-tune an encoder and write the tagger's folder.

    Parameters
    ----------
    model
        Folder of an encoder with its tokenizer.
    train, dev
        Annotated documents; the epoch is chosen on ``dev`` alone.
    output
        Folder to write; ``transformers`` reads it too.
    settings
        See :class:`NerSettings`.
    overwrite
        Replace an existing folder.

    Raises
    ------
    InputError
        If there is nothing to learn from, or a document is in both sets.
    TrainingError
        If the loss is NaN.
    """
    settings = settings or NerSettings()
    kinds = sorted({mention.kind for document in train for mention in document.mentions})
    if not kinds or not dev:
        raise InputError("training needs documents with mentions, and others to choose the epoch on")
    check_disjoint(train, dev)
    torch.manual_seed(settings.seed)
    labels, tokenizer = LabelSet.of(kinds), load_pieces(model)
    tagger = new_tagger(model, labels, dropout=settings.dropout)
    device = pick_device(settings.device)
    tagger.to(device)
    tagger.core.embeddings.token.weight.requires_grad_(not settings.freeze_embeddings)
    done = NerTraining()
    examples = list(_examples(train, tokenizer, labels, settings, done))
    if done.lost:
        log.info(
            "%s mentions are discontinuous or overlap: one tag a word cannot hold them", f"{done.lost:,}"
        )
    with replacing(output, overwrite=overwrite) as folder:
        folder.mkdir()
        _fit(tagger, examples, dev, tokenizer, settings, done, folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
            if (model / name).is_file():
                shutil.copy(model / name, folder / name)
    return done


def check_disjoint(train: Sequence[Document], test: Sequence[Document]) -> None:
    """Refuse documents of the same text on both sides of a split.

    Raises
    ------
    InputError
        Naming the first of them; single sentences of ten words or fewer may repeat.
    """
    known = {document.text for document in train if document.text.count(" ") > 10}
    both = [document.name for document in test if document.text in known]
    if both:
        raise InputError(
            f"{len(both):,} documents are in the training and in the other set, first {both[0]}; take "
            "them out of one"
        )


def _examples(
    documents: Sequence[Document],
    tokenizer: PieceTokenizer,
    labels: LabelSet,
    settings: NerSettings,
    done: NerTraining,
) -> Iterator[tuple[Window, Tensor]]:
    overlap = check_stride(tokenizer.room, settings.overlap)
    for document in documents:
        read = read_document(document, tokenizer, overlap)
        tags, lost = word_tags(document, read.words, labels)
        done.lost += lost
        numbers = np.array([labels.numbers[tag] for tag in tags], np.int64)
        for window in read.windows:
            if len(window.words):
                yield window, torch.from_numpy(numbers[window.words])


def _fit(
    tagger: Tagger,
    examples: list[tuple[Window, Tensor]],
    dev: Sequence[Document],
    tokenizer: PieceTokenizer,
    settings: NerSettings,
    done: NerTraining,
    folder: Path,
) -> None:
    steps = -(-len(examples) // settings.batch_size) * settings.epochs
    optimiser = torch.optim.AdamW(_groups(tagger, settings))
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
    )
    generator = np.random.default_rng(settings.seed)
    begin = time.monotonic()
    for epoch in range(settings.epochs):
        loss = _epoch(tagger, examples, settings, generator, optimiser, schedule)
        found = predict(tagger, tokenizer, dev, device=settings.device)
        score = entity_scores(dev, list(found)).f1
        done.losses.append(loss)
        done.scores.append(score)
        done.seconds = time.monotonic() - begin
        log.info(
            "epoch %d: loss %.4f, strict F1 on the development documents %.4f, %.0f s",
            epoch + 1, loss, score, done.seconds,
        )  # fmt: skip
        if score >= max(done.scores):
            facts = {"task": "ner", "epoch": epoch + 1, "dev_f1": round(score, 4), "seed": settings.seed}
            save_tagger(tagger, folder, facts)
        if settings.most_seconds and done.seconds * (epoch + 2) / (epoch + 1) > settings.most_seconds:
            log.info("stopped after epoch %d: the next would go over the time limit", epoch + 1)
            break


def _groups(tagger: Tagger, settings: NerSettings) -> list[dict[str, object]]:
    """Parameters with and without decay, and the head with its own rate."""
    decay: list[Tensor] = []
    plain: list[Tensor] = []
    for parameter in (each for each in tagger.core.parameters() if each.requires_grad):
        (decay if parameter.dim() > 1 else plain).append(parameter)
    return [
        {"params": decay, "lr": settings.lr, "weight_decay": settings.weight_decay},
        {"params": plain, "lr": settings.lr, "weight_decay": 0.0},
        {"params": list(tagger.classifier.parameters()), "lr": settings.head_lr, "weight_decay": 0.0},
    ]


def _epoch(
    tagger: Tagger,
    examples: list[tuple[Window, Tensor]],
    settings: NerSettings,
    generator: np.random.Generator,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> float:
    """One pass; the mean loss of a word."""
    tagger.train()
    order = generator.permutation(len(examples))
    total, words = 0.0, 0
    for start in range(0, len(order), settings.batch_size):
        chosen = sorted(
            (examples[row] for row in order[start : start + settings.batch_size]), key=lambda e: len(e[0].ids)
        )
        batch, rows = batch_of([window for window, _ in chosen])
        target = torch.cat([tags for _, tags in chosen])
        device = tagger.classifier.weight.device
        mixed = settings.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            scores = tagger(batch.to(device))[rows.to(device)]
        loss = torch.nn.functional.cross_entropy(scores.float(), target.to(device))
        if not torch.isfinite(loss):
            raise TrainingError("the loss is NaN or infinite; try a lower lr")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += float(loss.detach()) * len(target)
        words += len(target)
    return total / max(words, 1)
