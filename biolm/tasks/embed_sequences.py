"""Embed the records of a sequence file: look through it, check, run the model.

Dimensions: ``m`` records · ``k`` blocks of them · ``n`` rows of the result · ``d`` width of the embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.adapters.sequences import Tally, check_kind, cleaned
from biolm.errors import ConfigError, InputError
from biolm.io.anndata.sequence_rows import SequenceRows
from biolm.io.anndata.vectors import CellVectors
from biolm.io.provenance import plain
from biolm.io.sequences import SequenceBlock, open_sequences
from biolm.progress import log, progress
from biolm.tasks.embed_sequences_settings import SequenceSettings

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel, SequenceOptions

__all__ = ["SequenceJob", "prepare_sequences"]

# Letters read at a time. Every token of a block has its vector in memory where one is asked for.
_LETTERS, _LETTERS_BY_TOKEN = 1 << 22, 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceJob:
    """A file and a model that fit each other, ready to run.

    Parameters
    ----------
    path
        The file.
    model
        The loaded model.
    settings
        The user's choices.
    rows
        What the rows of the result are.
    ends
        ``(k + 1,)`` records at which the blocks of the file begin and end.
    tally
        Letters that the model does not know.
    facts
        What :meth:`SequenceModel.describe` says.
    """

    path: Path
    model: SequenceModel
    settings: SequenceSettings
    rows: SequenceRows
    ends: NDArray[np.int64]
    tally: Tally
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the result in ``obsm``."""
        return self.settings.key or f"X_{self.model.name}"

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, d)`` of the result."""
        return int(self.rows.counts.sum()), self.model.width

    @property
    def borders(self) -> NDArray[np.int64]:
        """Rows at which blocks begin and end, the same in every run."""
        return np.unique(_ends(self.rows)[self.ends])

    def vectors(self, start: int = 0) -> Iterator[NDArray[np.float32]]:
        """Vectors ``(·, d)`` of consecutive blocks from row ``start``, one of :meth:`borders`."""
        options = _options(self.settings)
        ends = _ends(self.rows)
        total, show = self.shape[0], self.settings.progress
        with progress("embedding", total, start=start, show=show, unit="rows") as advance:
            for block in _blocks(self.path, self.model, self.settings):
                first, last = ends[block.start], ends[block.start + len(block)]
                if last <= start or first == last:
                    continue
                yield self._embed(block, options)
                advance(int(last - first))

    def _embed(self, block: SequenceBlock, options: SequenceOptions) -> NDArray[np.float32]:
        if self.settings.per_residue:
            vectors, _ = self.model.residues(block, options)
        else:
            kept = self.rows.counts[block.start : block.start + len(block)] > 0
            vectors = self.model.embed(block, options)[kept]
        if not np.isfinite(vectors).all():
            raise InputError(
                f"model {self.model.name} gave values that are not finite between records {block.names[0]!r} "
                f"and {block.names[-1]!r}; check the checkpoint"
            )
        return vectors

    def result(self, vectors: NDArray[np.float32]) -> CellVectors:
        """All vectors with their provenance."""
        return CellVectors(
            key=self.key,
            vectors=vectors,
            empty=np.zeros(len(vectors), bool),
            provenance=self._provenance(),
        )

    def _provenance(self) -> dict[str, Any]:
        """Plain facts that tell how the vectors were made; no date and no path."""
        chosen = self.settings
        record: dict[str, Any] = plain(
            {
                "model": self.model.name,
                "checkpoint": self.facts,
                "biolm_version": biolm.__version__,
                "parameters": {
                    "pool": "none" if chosen.per_residue else chosen.pool or self.model.pools[0],
                    "hidden_state": chosen.hidden_state,
                    "device": chosen.device,
                    "precision": chosen.precision,
                    "letters": chosen.letters,
                    "windows": chosen.windows,
                    "window": chosen.window,
                    "overlap": chosen.overlap,
                },
                "sequences": len(self.rows.names),
                **self.tally.facts(),
                "rows": self.shape[0],
            }
        )
        return record


def prepare_sequences(
    path: Path, model: SequenceModel, settings: SequenceSettings, label: str | None = None
) -> SequenceJob:
    """Look through a file and check that it, model and settings fit, before the model runs.

    Parameters
    ----------
    path
        The file.
    model
        The loaded model.
    settings
        Choices of the job.
    label
        Names the file in messages, where not by its path.

    Raises
    ------
    InputError, ConfigError
        If they do not.
    """
    if settings.pool is not None and settings.pool not in model.pools:
        raise ConfigError(
            f"model {model.name} has no pool '{settings.pool}'; choose from: {', '.join(model.pools)}"
        )
    tally = Tally()
    label = str(path) if label is None else label
    rows, ends = _look_through(path, model, settings, tally, label)
    if sentence := tally.sentence():
        log.warning("%s", sentence)
    if not rows.counts.any():
        raise InputError(
            f"every record of {label} was left out; read their letters as unknown (--letters unknown)"
        )
    return SequenceJob(
        path=path,
        model=model,
        settings=settings,
        rows=rows,
        ends=ends,
        tally=tally,
        facts=plain(model.describe()),
    )


def _look_through(
    path: Path, model: SequenceModel, settings: SequenceSettings, tally: Tally, label: str
) -> tuple[SequenceRows, NDArray[np.int64]]:
    """Names, lengths and rows of every record; and where blocks begin and end."""
    options = _options(settings)
    names: list[str] = []
    texts: list[str] = []
    lengths, counts, spans, ends = [], [], [], [0]
    for block in _blocks(path, model, settings, tally):
        if not block.start:
            check_kind(block, model.kind, name=label)
        tokens = model.tokenize(block, policy=settings.letters, tally=tally)
        model.check_lengths(tokens, options, block)
        inner = tokens.lengths - sum(model.language.special)
        count = np.zeros(len(block), np.int64)
        count[tokens.index - block.start] = inner if settings.per_residue else 1
        if settings.per_residue:
            spans.append(_inner_spans(model, block, tokens))
        names += block.names
        texts += block.descriptions
        lengths.append(block.lengths)
        counts.append(count)
        ends.append(block.start + len(block))
    _check_names(names, label, settings)
    rows = SequenceRows(
        names=np.array(names, str),
        counts=np.concatenate(counts),
        lengths=np.concatenate(lengths),
        descriptions=np.array(texts, str),
        spans=np.concatenate(spans) if settings.per_residue else None,
    )
    return rows, np.array(ends)


def _ends(rows: SequenceRows) -> NDArray[np.int64]:
    """``(m + 1,)`` rows at which the records begin and end."""
    return np.concatenate([[0], np.cumsum(rows.counts)])


def _inner_spans(model: SequenceModel, block: SequenceBlock, tokens: Any) -> NDArray[np.int64]:
    """Letters of every token but special ones."""
    before, after = model.language.special
    place = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
    left = np.repeat(tokens.lengths, tokens.lengths) - place
    kept = block if len(tokens) == len(block) else block.take(tokens.index - block.start)
    found: NDArray[np.int64] = model.tokenizer.spans(kept, tokens)[(place >= before) & (left > after)]
    return found


def _check_names(names: list[str], label: str, settings: SequenceSettings) -> None:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if seen.setdefault(name, number) == number:
            continue
        if settings.duplicates == "error":
            raise InputError(
                f"records {seen[name]} and {number} of {label} are both named {name!r}; rename one, or take "
                "them as they come (--duplicates keep)"
            )
        log.warning("%d names repeat; records are kept in input order", len(names) - len(set(names)))
        return


def _blocks(
    path: Path, model: SequenceModel, settings: SequenceSettings, tally: Tally | None = None
) -> Iterator[SequenceBlock]:
    """The file, cleaned, in blocks that are the same in every run."""
    letters = _LETTERS_BY_TOKEN if settings.per_residue else _LETTERS
    with open_sequences(path) as source:
        for block in source.blocks(records=settings.block_rows or model.block_rows, residues=letters):
            yield cleaned(block, model.tokenizer, tally)


def _options(settings: SequenceSettings) -> SequenceOptions:
    from biolm.models.sequence_model import SequenceOptions

    return SequenceOptions(
        pool=settings.pool,
        batch_tokens=settings.batch_tokens,
        device=settings.device,
        hidden_state=settings.hidden_state,
        precision=settings.precision,
        compile=settings.compile,
        policy=settings.letters,
        windows=settings.windows,
        longest=settings.window,
        overlap=settings.overlap,
    )
