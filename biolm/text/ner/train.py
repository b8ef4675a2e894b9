"""Fine-tune an encoder to tag named entities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from biolm.errors import InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.text.document import Document
from biolm.models.precision import mixed
from biolm.models.running import pick_device
from biolm.progress import log
from biolm.text.encoder import token_table
from biolm.text.fit import Fitted, fit
from biolm.text.heads import copy_tokenizer
from biolm.text.ner.labels import LabelSet
from biolm.text.ner.predict import batch_of, predict
from biolm.text.ner.read import Window, read_document, word_tags
from biolm.text.ner.tagger import Tagger, new_tagger, save_tagger
from biolm.text.pieces import PieceTokenizer, load_pieces
from biolm.text.scores.entities import entity_scores
from biolm.text.settings import FitSettings
from biolm.text.windows import check_stride

__all__ = ["check_disjoint", "train_ner"]

_Example = tuple[Window, Tensor]


def train_ner(
    model: Path,
    train: Sequence[Document],
    dev: Sequence[Document],
    output: Path,
    settings: FitSettings | None = None,
    *,
    overwrite: bool = False,
) -> Fitted:
    """Fine-tune an encoder and write the tagger's folder.

    Parameters
    ----------
    model
        Folder of an encoder with its tokenizer.
    train, dev
        Annotated documents; the epoch is chosen by strict F1 on ``dev`` alone.
    output
        Folder to write; ``transformers`` reads it too.
    settings
        See :class:`~biolm.text.fit.FitSettings`.
    overwrite
        Replace an existing folder.

    Raises
    ------
    InputError
        If there is nothing to learn from, or a document is in both sets.
    TrainingError
        If the loss is NaN.
    """
    refuse_existing(output, overwrite=overwrite)
    settings = settings or FitSettings()
    kinds = sorted({mention.kind for document in train for mention in document.mentions})
    if not kinds or not dev:
        raise InputError("training needs documents with mentions, and others to choose the epoch on")
    check_disjoint(train, dev)
    torch.manual_seed(settings.seed)
    labels, tokenizer = LabelSet.of(kinds), load_pieces(model)
    tagger = new_tagger(model, labels, dropout=settings.dropout).to(pick_device(settings.device))
    token_table(tagger.core).requires_grad_(not settings.freeze_embeddings)
    done = Fitted()
    examples = list(_examples(train, tokenizer, labels, settings, done))
    if done.lost:
        log.info(
            "%s mentions are discontinuous or overlap: one tag a word cannot hold them", f"{done.lost:,}"
        )

    def score() -> float:
        return entity_scores(dev, list(predict(tagger, tokenizer, dev, device=settings.device))).f1

    with replacing(output, overwrite=overwrite) as folder:
        folder.mkdir()

        def keep(epoch: int, f1: float) -> None:
            metadata = {"task": "ner", "epoch": epoch, "dev_f1": round(f1, 4), "seed": settings.seed}
            save_tagger(tagger, folder, metadata)

        def loss_of(chosen: Sequence[_Example]) -> tuple[Tensor, int]:
            return _loss(tagger, chosen, settings.precision)

        fit(tagger, tagger.classifier, examples, loss_of, score, keep, settings, done=done)
        copy_tokenizer(model, folder)
    return done


def check_disjoint(train: Sequence[Document], test: Sequence[Document]) -> None:
    """Refuse documents of the same text on both sides of a split.

    Parameters
    ----------
    train, test
        Both sides of the split.

    Raises
    ------
    InputError
        Naming the first of them; single sentences of ten words or fewer may repeat.
    """
    # Short texts, such as "Introduction", repeat by chance.
    known = {document.text for document in train if document.text.count(" ") > 10}
    both = [document.name for document in test if document.text in known]
    if both:
        raise InputError(
            f"{len(both):,} documents are in the training and in the other set, first {both[0]}; "
            "take them out of one"
        )


def _examples(
    documents: Sequence[Document],
    tokenizer: PieceTokenizer,
    labels: LabelSet,
    settings: FitSettings,
    done: Fitted,
) -> Iterator[_Example]:
    overlap = check_stride(tokenizer.room, settings.overlap)
    for document in documents:
        read = read_document(document, tokenizer, overlap)
        tags, lost = word_tags(document, read.words, labels)
        done.lost += lost
        numbers = np.array([labels.numbers[tag] for tag in tags], np.int64)
        for window in read.windows:
            if len(window.words):
                yield window, torch.from_numpy(numbers[window.words])


def _loss(tagger: Tagger, chosen: Sequence[_Example], precision: str) -> tuple[Tensor, int]:
    """Mean cross-entropy of the words of some windows, and how many words they are."""
    chosen = sorted(chosen, key=lambda pair: len(pair[0].ids))
    batch, rows = batch_of([window for window, _ in chosen])
    device = tagger.classifier.weight.device
    target = torch.cat([tags for _, tags in chosen]).to(device)
    with mixed(device, precision):
        scores = tagger(batch.to(device))[rows.to(device)]
    return torch.nn.functional.cross_entropy(scores.float(), target), len(target)
