"""Extractive answers: an encoder that scores each piece of a context as start and end.

Dimensions: ``t`` pieces of a packed batch · ``p`` pieces of a context in one window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.errors import InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.text.questions import Question
from biolm.models.running import pick_device
from biolm.text.encoder import Encoder, token_table
from biolm.text.fit import Fitted, fit
from biolm.text.heads import (
    ANSWERS,
    bare_encoder,
    copy_tokenizer,
    encoder_kind,
    load_head,
    new_linear,
    save_head,
)
from biolm.text.pieces import PieceTokenizer, load_pieces
from biolm.text.qa.spans import Answer, WindowScores, best_spans, tune_threshold
from biolm.text.scores.answers import squad_scores
from biolm.text.settings import FitSettings
from biolm.text.windows import LengthReport, check_stride, packed, window_starts

__all__ = ["Answerer", "answer_questions", "load_answerer", "threshold_on", "train_answerer"]


class Answerer(nn.Module):
    """Scores ``(t, 2)`` of every piece as start and as end."""

    def __init__(self, core: Encoder, head: nn.Linear) -> None:
        super().__init__()
        self.core, self.head = core, head

    def forward(self, batch: Batch) -> Tensor:
        """Scores ``(t, 2)``."""
        return self.head(self.core(batch, logits=False).last_hidden_state)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Window:
    """Ids and segments with special tokens; the context's pieces begin at ``first``."""

    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    first: int
    spans: NDArray[np.int64]


def load_answerer(folder: Path) -> Answerer:
    """A trained model, of biolm or of ``transformers``.

    Raises
    ------
    CheckpointError
        If it has no trained head.
    """
    return Answerer(*load_head(folder, ANSWERS)).eval()


def _windows(question: Question, tokenizer: PieceTokenizer, overlap: int | None) -> list[_Window]:
    """A question before each window of its context."""
    asked, context = tokenizer.many([question.question, question.context])
    before, between, after = tokenizer.frame_of_pairs
    width = tokenizer.longest - len(before) - len(between) - len(after) - len(asked)
    # Windows of a few pieces would see no context, and be very many.
    if width < tokenizer.longest // 4:
        raise InputError(
            f"question {question.name} has {len(asked)} pieces and leaves no room for its context; shorten it"
        )
    starts = window_starts(len(context), width, check_stride(width, overlap))
    segment = tokenizer.second_segment
    windows = []
    for start in starts:
        part = context.ids[start : start + width]
        ids = np.concatenate([before, asked.ids, between, part, after]).astype(np.int64)
        first = len(before) + len(asked) + len(between)
        segments = np.zeros(len(ids), np.int64)
        segments[first:] = segment
        windows.append(_Window(ids, segments, first, context.spans[start : start + width]))
    return windows


def _batch(windows: Sequence[_Window]) -> tuple[Batch, NDArray[np.int64]]:
    return packed([each.ids for each in windows], [each.segments for each in windows])


def answer_questions(
    model: Answerer,
    tokenizer: PieceTokenizer,
    questions: Sequence[Question],
    *,
    overlap: int | None = None,
    n_best: int = 5,
    longest: int = 30,
    threshold: float | None = None,
    device: str = "auto",
    report: LengthReport | None = None,
) -> Iterator[tuple[Question, list[Answer], float]]:
    """Each question with its best answers and how much no answer is preferred to the best.

    Parameters
    ----------
    model, tokenizer
        The model and its tokenizer.
    questions
        With contexts of any length.
    overlap
        Pieces that neighbouring windows share (doc stride is a window less this).
    n_best, longest, threshold
        As of :func:`~biolm.text.qa.spans.best_spans`.
    device
        Where to run.
    report
        Counts contexts longer than a window.
    """
    where = pick_device(device)
    model.eval().to(where)
    for question in questions:
        windows = _windows(question, tokenizer, overlap)
        if report is not None:
            report.add(sum(len(each.spans) for each in windows), len(windows))
        # One window at a time: those of a long text together could outgrow the memory.
        scores = [score for window in windows for score in _score(model, [window], where)]
        answers, gap = best_spans(
            question.context, scores, n_best=n_best, longest=longest, threshold=threshold
        )
        yield question, answers, gap


def threshold_on(
    model: Answerer,
    tokenizer: PieceTokenizer,
    dev: Sequence[Question],
    *,
    overlap: int | None = None,
    device: str = "auto",
) -> float:
    """The threshold of no answer that scores best on development questions; never give it test questions.

    Parameters
    ----------
    model, tokenizer
        Of the answerer.
    dev
        Development questions.
    overlap
        Pieces that windows share.
    device
        Where it runs.
    """
    gaps, gains, nothing = [], [], []
    for question, answers, gap in answer_questions(model, tokenizer, dev, overlap=overlap, device=device):
        best = answers[0].text if answers else ""
        gaps.append(gap)
        gains.append(squad_scores([question], {question.name: best})["f1"])
        nothing.append(squad_scores([question], {question.name: ""})["f1"])
    return tune_threshold(gaps, gains, nothing)


@torch.inference_mode()
def _score(model: Answerer, windows: Sequence[_Window], device: torch.device) -> Iterator[WindowScores]:
    batch, offsets = _batch(windows)
    table = model(batch.to(device)).float().cpu().numpy().astype(np.float64)
    for window, start in zip(windows, offsets[:-1].tolist(), strict=True):
        rows = table[start + window.first : start + window.first + len(window.spans)]
        yield WindowScores(rows[:, 0], rows[:, 1], window.spans, float(table[start].sum()))


def train_answerer(
    folder: Path,
    train: Sequence[Question],
    dev: Sequence[Question],
    output: Path,
    settings: FitSettings | None = None,
    *,
    overwrite: bool = False,
) -> Fitted:
    """Fine-tune an encoder on questions with answers; the epoch is chosen by F1 on ``dev``.

    Parameters
    ----------
    folder
        Encoder with its tokenizer.
    train, dev
        Questions; those without an answer teach that there is none.
    output
        Folder to write.
    settings
        See :class:`~biolm.text.fit.FitSettings`.
    overwrite
        Replace an existing folder.

    Raises
    ------
    InputError
        If there is nothing to learn from, or a context is on both sides.
    """
    refuse_existing(output, overwrite=overwrite)
    settings = settings or FitSettings()
    # By context: other questions of a known text would be answered from memory.
    shared = {question.context for question in train} & {question.context for question in dev}
    if not train or not dev or shared:
        raise InputError(
            f"training needs questions and others to choose the epoch on; {len(shared)} contexts are "
            "on both sides"
        )
    torch.manual_seed(settings.seed)
    kind, tokenizer = encoder_kind(folder), load_pieces(folder)
    core = bare_encoder(folder, ANSWERS)
    model = Answerer(core, new_linear(core, 2)).to(pick_device(settings.device))
    token_table(core).requires_grad_(not settings.freeze_embeddings)
    examples = [
        (window, target)
        for question in train
        for window in _windows(question, tokenizer, settings.overlap)
        for target in [_target(question, window)]
    ]

    def loss_of(chosen: Sequence[tuple[_Window, tuple[int, int]]]) -> tuple[Tensor, int]:
        return _loss(model, chosen), len(chosen)

    def score() -> float:
        # At 0, the model's own preference; a threshold is tuned when the training is over.
        answered = answer_questions(model, tokenizer, dev, threshold=0.0, device=settings.device)
        return squad_scores(dev, {question.name: answers[0].text for question, answers, _ in answered})["f1"]

    with replacing(output, overwrite=overwrite) as target:
        target.mkdir()

        def keep(epoch: int, f1: float) -> None:
            metadata = {
                "biolm": {"task": "qa", "epoch": epoch, "dev_f1": round(f1, 4), "seed": settings.seed}
            }
            save_head(model.core, model.head, ANSWERS, target, kind, metadata)

        done = fit(model, model.head, examples, loss_of, score, keep, settings)
        copy_tokenizer(folder, target)
    return done


def _target(question: Question, window: _Window) -> tuple[int, int]:
    """Rows of the first and last piece of an answer whole in the window; the first token if there is none."""
    for (text,), start in zip(question.answers, question.starts, strict=True):
        inside = np.flatnonzero((window.spans[:, 0] < start + len(text)) & (window.spans[:, 1] > start))
        whole = len(inside) and window.spans[inside[0], 0] <= start
        if whole and window.spans[inside[-1], 1] >= start + len(text):
            return int(inside[0]) + window.first, int(inside[-1]) + window.first
    return 0, 0


def _loss(model: Answerer, chosen: Sequence[tuple[_Window, tuple[int, int]]]) -> Tensor:
    """Mean cross-entropy of start and end over the pieces of a window and its first token."""
    batch, offsets = _batch([window for window, _ in chosen])
    device = model.head.weight.device
    table = model(batch.to(device)).float()
    losses = []
    for (window, (first, last)), start in zip(chosen, offsets[:-1].tolist(), strict=True):
        rows = table[start : start + window.first + len(window.spans)]
        # What stands before the context (the question) is no answer.
        rows = torch.cat([rows[:1], rows[window.first :]])
        at = torch.tensor([max(0, place - window.first + 1) for place in (first, last)], device=device)
        losses.append(nn.functional.cross_entropy(rows.T, at))
    return torch.stack(losses).mean()
