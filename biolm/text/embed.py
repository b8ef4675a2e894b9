"""Texts as vectors: mean, first token, or as a sentence-transformers folder says; windows for long ones.

Dimensions: ``n`` texts · ``t`` pieces of a batch · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biolm.batch import Batch
from biolm.core import Transformer
from biolm.errors import CheckpointError, ConfigError
from biolm.io.contained import member_of
from biolm.io.json_file import parse_json, read_json
from biolm.models.precision import precise
from biolm.models.running import pick_device
from biolm.text.encoder import Encoder, Padded, load_core, width_of
from biolm.text.pieces import PieceTokenizer, load_pieces
from biolm.text.windows import LengthReport, best_windows, check_stride, grouped, packed, window_starts

__all__ = ["POOLS", "TextEncoder", "embed_texts", "length_report", "load_encoder", "nearest_texts"]

POOLS = ("mean", "cls")
# Heads that an encoder's folder may hold besides.
_HEADS = tuple(f"{name}.{part}" for name in ("classifier", "qa_outputs") for part in ("weight", "bias"))


@dataclass(eq=False)
class TextEncoder:
    """An encoder, its tokenizer and its way to pool.

    Parameters
    ----------
    model
        The core, or a model of ``transformers`` for families that it does not have.
    tokenizer
        Its tokenizer.
    pool
        ``mean`` or ``cls``.
    normalise
        Scale vectors to length 1.
    longest
        Most tokens read at once.
    """

    model: Encoder
    tokenizer: PieceTokenizer
    pool: str
    normalise: bool
    longest: int
    facts: dict[str, Any] = field(default_factory=dict)

    @torch.inference_mode()
    def states(self, batch: Batch, precision: str = "float32") -> Tensor:
        """Last hidden states ``(t, d)`` of a packed batch.

        Parameters
        ----------
        batch
            On the device of the model.
        precision
            Of the core; other encoders run in float32.
        """
        if not isinstance(self.model, Transformer):
            return self.model(batch, logits=False).last_hidden_state.float()  # type: ignore[no-any-return]
        core, mixed = precise(self.model, batch.ids.device, precision)
        with mixed:
            states: Tensor = core(batch, logits=False).last_hidden_state
        return states.float()


def load_encoder(folder: Path, *, pool: str | None = None) -> TextEncoder:
    """The encoder of a folder.

    Parameters
    ----------
    folder
        As ``save_pretrained`` or sentence-transformers lay it out; of the latter its own pooling,
        normalisation and length are used.
    pool
        ``mean`` or ``cls`` in place of the folder's own.

    Raises
    ------
    ConfigError
        If the pooling is none of them.
    CheckpointError
        If the folder pools in a way that biolm does not know, or holds a causal or unknown model.
    """
    if pool is not None and pool not in POOLS:
        raise ConfigError(f"pool must be one of {', '.join(POOLS)}, not {pool!r}")
    tokenizer = load_pieces(folder)
    own, normalise, longest = _sentence_settings(folder, tokenizer.longest)
    core = load_core(folder, ignore=_HEADS)
    # The last token alone has read all of a text there, so the mean of the states is no vector of it.
    if isinstance(core, Transformer) and core.config.causal:
        raise CheckpointError(f"{folder} is a causal model; give an encoder to embed texts")
    engine = "transformers" if isinstance(core, Padded) else "core"
    kind = str(read_json(folder / "config.json").get("model_type"))
    metadata = {"width": width_of(core), "engine": engine, "model_type": kind}
    return TextEncoder(core.eval(), tokenizer, pool or own, normalise, longest, metadata)


def _sentence_settings(folder: Path, longest: int) -> tuple[str, bool, int]:
    """Pooling, normalisation and length of a sentence-transformers folder; mean without any otherwise."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return "mean", False, longest
    listed = parse_json(modules.read_bytes(), modules)
    kinds = [str(each.get("type", "")).rsplit(".", 1)[-1] for each in listed]
    # A module that were left out (Dense, LayerNorm ...) would give other vectors without a word.
    unknown = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if unknown:
        raise CheckpointError(f"{folder} has the module {unknown[0]}, which biolm does not have")
    pool = "mean"
    for each, kind in zip(listed, kinds, strict=True):
        if kind == "Pooling":
            stored = read_json(member_of(folder, each["path"], CheckpointError) / "config.json")
            modes = [name for name, on in stored.items() if name.startswith("pooling_mode") and on is True]
            known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
            # sentence-transformers joins several modes end to end.
            if len(modes) != 1 or modes[0] not in known:
                raise CheckpointError(f"{folder} pools by {', '.join(modes)}; biolm has mean and cls")
            pool = known[modes[0]]
    settings = folder / "sentence_bert_config.json"
    stated = read_json(settings).get("max_seq_length") if settings.is_file() else None
    return pool, "Normalize" in kinds, min(longest, int(stated or longest))


def embed_texts(
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    overlap: int | None = None,
    batch_tokens: int = 8192,
    device: str = "auto",
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Vectors ``(n, d)``; a text longer than the model is read in windows, never cut.

    A mean runs over all pieces, each in the window where it has most context; ``cls`` is the mean of the
    first tokens of the windows. A text without pieces has zeros.

    Parameters
    ----------
    encoder
        The model.
    texts
        Any lengths.
    overlap
        Pieces that neighbouring windows share; a quarter of a window by default.
    batch_tokens
        Pieces of a batch, about.
    device
        Where to run.
    precision
        ``float32``, or ``bfloat16`` of an encoder that runs in the core.
    """
    tokenizer = encoder.tokenizer
    specials = len(tokenizer.prefix) + len(tokenizer.suffix)
    width, shared = _windows(encoder, overlap)
    where = pick_device(device)
    encoder.model.to(where)
    windows: list[tuple[int, NDArray[np.int64], NDArray[np.bool_]]] = []
    for row, pieces in enumerate(tokenizer.many(list(texts))):
        starts = window_starts(len(pieces), width, shared)
        owner = best_windows(len(pieces), width, starts)
        for number, start in enumerate(starts if len(pieces) else []):
            ids = tokenizer.framed(pieces.ids[start : start + width])
            counted = np.ones(len(ids), bool)
            first = len(tokenizer.prefix)
            # Pieces that two windows share count once, in that with more context.
            counted[first : first + len(ids) - specials] = owner[start : start + width] == number
            windows.append((row, ids, counted))
    # Long ones first: what does not fit the memory fails in the first batch.
    windows.sort(key=lambda each: (-len(each[1]), each[0]))
    return _pooled(encoder, windows, len(texts), batch_tokens, where, precision)


def length_report(encoder: TextEncoder, texts: Iterable[str], overlap: int | None = None) -> LengthReport:
    """How many texts are longer than the model, and in how many windows they are read.

    Parameters
    ----------
    encoder
        The model.
    texts
        Any lengths; taken as they come.
    overlap
        Pieces that neighbouring windows share; a quarter of a window by default.

    Raises
    ------
    ConfigError
        If windows cannot share so many.
    """
    width, shared = _windows(encoder, overlap)
    report = LengthReport(encoder.longest)
    for text in texts:
        pieces = len(encoder.tokenizer.many([text])[0])
        report.add(pieces, len(window_starts(pieces, width, shared)))
    return report


def _windows(encoder: TextEncoder, overlap: int | None) -> tuple[int, int]:
    """Pieces of the text in a window, and how many of them two windows share."""
    width = encoder.longest - len(encoder.tokenizer.prefix) - len(encoder.tokenizer.suffix)
    return width, check_stride(width, overlap)


def _pooled(
    encoder: TextEncoder,
    windows: list[tuple[int, NDArray[np.int64], NDArray[np.bool_]]],
    count: int,
    budget: int,
    device: torch.device,
    precision: str,
) -> NDArray[np.float32]:
    sums: NDArray[np.float64] | None = None
    mass = np.zeros(count)
    for group in grouped(windows, budget, lambda window: len(window[1])):
        batch, offsets = packed([ids for _, ids, _ in group])
        computed = encoder.states(batch.to(device), precision)
        # Sums in float64, so that the order of the windows does not show in the vector.
        states = computed.cpu().numpy().astype(np.float64)
        sums = np.zeros((count, states.shape[1])) if sums is None else sums
        for (row, _, counted), start, end in zip(group, offsets[:-1], offsets[1:], strict=True):
            part = states[start : start + 1] if encoder.pool == "cls" else states[start:end][counted]
            sums[row] += part.sum(0)
            mass[row] += len(part)
    if sums is None:
        return np.zeros((count, encoder.facts["width"]), np.float32)
    vectors = sums / np.maximum(mass, 1)[:, None]
    # Only where the folder says so: lengths carry information for some models.
    if encoder.normalise:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors.astype(np.float32)


def nearest_texts(
    queries: NDArray[np.floating], vectors: NDArray[np.floating], k: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows and cosines ``(q, k)`` of the nearest vectors of each query, ties by row.

    Parameters
    ----------
    queries
        ``(q, d)``.
    vectors
        ``(n, d)``.
    k
        Neighbours.

    Examples
    --------
    >>> rows, cosines = nearest_texts(np.eye(2), np.array([[0.0, 2], [1, 0], [1, 1]]), k=1)
    >>> rows.ravel().tolist(), cosines.ravel().tolist()
    ([1, 0], [1.0, 1.0])
    """
    a, b = (
        each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12)
        for each in (np.asarray(queries, np.float64), np.asarray(vectors, np.float64))
    )
    # In float64, so that near ties fall the same on every machine.
    cosines = a @ b.T
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(cosines, rows, 1)
