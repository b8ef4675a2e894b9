"""Tag documents with a trained tagger.

Dimensions: ``t`` pieces of a batch · ``n`` words of a document · ``k`` labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biolm.batch import Batch
from biolm.errors import ConfigError
from biolm.io.text.document import Document, Mention
from biolm.models.precision import mixed
from biolm.models.running import pick_device
from biolm.text.ner.read import ReadDocument, Window, read_document
from biolm.text.ner.tagger import Tagger
from biolm.text.pieces import PieceTokenizer
from biolm.text.windows import LengthReport, check_stride, grouped, packed

__all__ = ["batch_of", "predict"]

# Documents whose windows share batches: enough to fill them, few enough to stream a corpus.
_HELD = 256


def batch_of(windows: Sequence[Window]) -> tuple[Batch, Tensor]:
    """One packed batch, and the rows in it of all words of the windows, in their order."""
    batch, offsets = packed([window.ids for window in windows])
    rows = np.concatenate([window.rows + start for window, start in zip(windows, offsets, strict=False)])
    return batch, torch.from_numpy(rows.astype(np.int64))


def predict(
    tagger: Tagger,
    tokenizer: PieceTokenizer,
    documents: Iterable[Document],
    *,
    overlap: int | None = None,
    batch_tokens: int = 1024,
    precision: str = "float32",
    device: str = "auto",
    report: LengthReport | None = None,
) -> Iterator[Document]:
    """The documents with the mentions that the tagger finds, in their order.

    Parameters
    ----------
    tagger, tokenizer
        The model and its tokenizer.
    documents
        Their own mentions and relations are left out of the result.
    overlap
        Pieces that neighbouring windows share; a quarter of a window by default.
    batch_tokens
        Pieces of a batch, about; a thousand stay in a CPU's cache, a GPU takes more.
    precision
        ``float32``, or ``bfloat16`` for mixed precision: faster, and scores differ in the third digit.
    device
        Where to run.
    report
        Counts texts longer than the model.
    """
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"precision must be float32 or bfloat16, not {precision!r}")
    shared = check_stride(tokenizer.room, overlap)
    where = pick_device(device)
    tagger.eval().to(where)
    pending: list[tuple[Document, ReadDocument]] = []
    for document in documents:
        read = read_document(document, tokenizer, shared)
        if report is not None:
            report.add(read.pieces, len(read.windows))
        pending.append((document, read))
        if len(pending) == _HELD:
            yield from _tagged(tagger, pending, batch_tokens, where, precision)
            pending = []
    yield from _tagged(tagger, pending, batch_tokens, where, precision)


def _tagged(
    tagger: Tagger,
    pending: list[tuple[Document, ReadDocument]],
    batch_tokens: int,
    device: torch.device,
    precision: str,
) -> Iterator[Document]:
    size = len(tagger.labels.names)
    # About 1e-13: never chosen, and still finite for Viterbi.
    outside = np.full(size, -30.0)
    outside[tagger.labels.numbers["O"]] = 0.0
    scores = [np.full((len(read.words), size), np.nan) for _, read in pending]
    places = [(row, window) for row, (_, read) in enumerate(pending) for window in read.windows]
    places = [place for place in places if len(place[1].words)]
    # By length: the core packs without padding, but other families pad to the longest of a batch.
    places.sort(key=lambda place: len(place[1].ids))
    for group in grouped(places, batch_tokens, lambda place: len(place[1].ids)):
        with mixed(device, precision):
            log_probabilities = _log_probabilities(tagger, [window for _, window in group], device)
        at = 0
        for row, window in group:
            scores[row][window.words] = log_probabilities[at : at + len(window.words)]
            at += len(window.words)
    for (document, read), table in zip(pending, scores, strict=True):
        _fill(table, outside)
        yield _with_mentions(document, read, tagger.labels.entities(table, _breaks(document, read)))


@torch.inference_mode()
def _log_probabilities(tagger: Tagger, windows: list[Window], device: torch.device) -> NDArray[np.float64]:
    batch, rows = batch_of(windows)
    scores = tagger(batch.to(device))[rows.to(device)].float()
    log_probabilities: NDArray[np.float64] = torch.log_softmax(scores, -1).cpu().numpy().astype(np.float64)
    return log_probabilities


def _fill(table: NDArray[np.float64], outside: NDArray[np.float64]) -> None:
    """Words without a piece: inside an entity where it goes on behind them, else outside."""
    inside = np.log(np.full(len(outside), 1.0 / len(outside)))
    for place in np.flatnonzero(np.isnan(table[:, 0])).tolist():
        edge = place == 0 or place == len(table) - 1
        table[place] = outside if edge else inside


def _breaks(document: Document, read: ReadDocument) -> list[int]:
    """First words of passages."""
    starts = np.array([start for start, _ in read.words])
    return sorted({int(np.searchsorted(starts, part.start)) for part in document.passages})


def _with_mentions(
    document: Document, read: ReadDocument, entities: list[tuple[int, int, str, float]]
) -> Document:
    mentions = tuple(
        Mention(((read.words[first][0], read.words[last - 1][1]),), kind, score=round(score, 4))
        for first, last, kind, score in entities
    )
    return Document(
        document.name, document.text, document.passages, document.words, mentions, (), document.metadata
    )
