"""Annotators of sequences that train the model: its head alone, low-rank updates, or all of it.

Sequences longer than the model are cut in pieces, each with the label of the whole; what is said of the
pieces is averaged, and what is said of letters put in a row.

Dimensions: ``n`` sequences · ``p`` pieces · ``s`` samples · ``c`` classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import ConfigError
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceModel
from biolm.scoring.splits import Split
from biolm.tasks.annotate.samples import Samples
from biolm.tasks.annotate.settings import FitSettings
from biolm.tasks.annotate.tune import run_settings

if TYPE_CHECKING:
    from biolm.training.fine_tune import FineTuned

__all__ = ["said_of", "train"]

_LONGEST = 1024  # tokens of a piece for models without a limit
_IGNORED = -100


def train(model: SequenceModel, samples: Samples, learn: Split, settings: FitSettings) -> FineTuned:
    """Train on the sequences ``learn.train``; those of ``learn.test`` stop the training.

    Parameters
    ----------
    model
        To train.
    samples
        Sequences and labels.
    learn
        Rows to train on, and rows that stop the training.
    settings
        Choices of the job.

    Raises
    ------
    ConfigError
        If the model reads several residues or bases as one token where each has a label.
    """
    from biolm.training.fine_tune import fine_tune

    rows = np.concatenate([learn.train, learn.test])
    tokens, owner = _pieces(samples.block.take(rows), model)
    held = owner >= len(learn.train)
    column = _column(samples, rows, tokens, owner, model)
    config = run_settings(int((~held).sum()), tokens, settings.classifier)
    return fine_tune(
        model,
        tokens,
        {samples.label: column},
        objectives={samples.label: _objective(samples, rows[: len(learn.train)], model, settings)},
        settings=config,
        held_out=held,
    )


def said_of(
    predict: Any, block: SequenceBlock, model: SequenceModel, label: str, *, per_residue: bool
) -> NDArray[np.float64]:
    """Logits ``(s, c)`` or numbers ``(s, 1)`` of sequences or their letters.

    Parameters
    ----------
    predict
        From tokens to what the heads say, by label.
    """
    tokens, owner = _pieces(block, model)
    predicted = np.asarray(predict(tokens)[label], np.float64)
    predicted = predicted.reshape(len(predicted), -1)
    if per_residue:
        return predicted[_inner(tokens, model)]
    sizes = tokens.lengths[:, None].astype(np.float64)
    sums, weights = np.zeros((len(block), predicted.shape[1])), np.zeros((len(block), 1))
    np.add.at(sums, owner, predicted * sizes)
    np.add.at(weights, owner, sizes)
    return np.asarray(sums / np.maximum(weights, 1e-12))


def _pieces(block: SequenceBlock, model: SequenceModel) -> tuple[Tokens, NDArray[np.int64]]:
    """Tokens of ``p`` pieces, and the sequence that each belongs to."""
    longest = (model.max_length or _LONGEST) - sum(model.preprocessor.special)
    width = longest * model.tokenizer.stride
    counts = np.maximum(-(-block.lengths // width), 1)
    owner = np.repeat(np.arange(len(block)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = block.offsets[:-1][owner] + place * width
    ends = np.minimum(begins + width, block.offsets[1:][owner])
    cut = SequenceBlock(
        names=[block.names[row] for row in owner.tolist()],
        descriptions=[""] * len(owner),
        letters=block.letters,
        offsets=np.concatenate([begins[:1], ends]),
    )
    tokens = model.tokenize(cut)
    return tokens, owner


def _inner(tokens: Tokens, model: SequenceModel) -> NDArray[np.bool_]:
    """Tokens that are no special ones."""
    before, after = model.preprocessor.special
    place = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
    return np.asarray((place >= before) & (place < np.repeat(tokens.lengths, tokens.lengths) - after))


def _column(
    samples: Samples,
    rows: NDArray[np.int64],
    tokens: Tokens,
    owner: NDArray[np.int64],
    model: SequenceModel,
) -> Any:
    """Labels of the pieces, or of their tokens."""
    from biolm.training.data.labels import LabelColumn

    missing: Any = _IGNORED if samples.classes else np.nan
    kind: Any = np.int64 if samples.classes else np.float32
    if not samples.per_residue:
        return LabelColumn(values=samples.values[rows][owner].astype(kind), classes=samples.classes)
    inner = _inner(tokens, model)
    starts = samples.block.offsets
    values = np.concatenate([samples.values[starts[row] : starts[row + 1]] for row in rows.tolist()])
    if inner.sum() != len(values):
        raise ConfigError(
            f"model {model.name} makes {int(inner.sum()):,} tokens of {len(values):,} residues or bases; "
            "labels of "
            "letters need a model of single letters, and sequences without gaps"
        )
    whole = np.full(len(tokens.ids), missing, kind)
    whole[inner] = np.where(values < 0, missing, values) if samples.classes else values
    return LabelColumn(values=whole, classes=samples.classes, level="token", offsets=tokens.offsets)


def _objective(
    samples: Samples, rows: NDArray[np.int64], model: SequenceModel, settings: FitSettings
) -> dict[str, Any]:
    level = "token" if samples.per_residue else "example"
    chosen: dict[str, Any] = {
        "column": samples.label,
        "level": level,
        "pool": settings.pool or model.pools[0],
    }
    if not samples.classes:
        return {"objective": "regress", **chosen}
    seen = np.unique(samples.values[samples.rows(rows)])
    # A class without an example cannot be balanced.
    if len(seen) == len(samples.classes):
        chosen["class_weights"] = "balanced"
    return {"objective": "classify", **chosen}
