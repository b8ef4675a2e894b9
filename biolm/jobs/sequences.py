"""Sequences as a kind of data: looked through, checked against a model's alphabet, embedded block by block.

Dimensions: ``m`` records · ``k`` blocks of them · ``n`` rows of the result · ``d`` width of the embedding.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally, check_kind
from biolm.adapters.sequences.file import SequenceFile
from biolm.errors import ConfigError, InputError
from biolm.io.provenance import digest, plain, stamp
from biolm.io.sequences import SequenceBlock, is_sequence_file
from biolm.jobs.embedding import check_pool, provenance_of
from biolm.jobs.modality import Modality
from biolm.jobs.precision import Choice, check_precision, decided
from biolm.jobs.sequence_writer import SequenceWriter
from biolm.jobs.settings import EmbedSettings
from biolm.jobs.tokens import SequenceTokens
from biolm.progress import log

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel, SequenceOptions

__all__ = ["MODALITY", "SequenceEmbedding", "prepare_sequences"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceEmbedding:
    """Sequences and a model that fit each other; see :class:`~biolm.jobs.modality.Embedding`.

    Parameters
    ----------
    source
        The file.
    model
        The loaded model.
    settings
        The user's choices.
    counts
        ``(m,)`` rows of the result of each record.
    records
        ``(k + 1,)`` records at which the blocks of the file begin and end.
    names
        Digest of the names of all records.
    tally
        Residues or bases that the model does not know.
    facts
        What :meth:`SequenceModel.describe` says.
    choice
        What ``precision='auto'`` decided; None where it was not asked.
    """

    source: SequenceFile
    model: SequenceModel
    settings: EmbedSettings
    counts: NDArray[np.int64]
    records: NDArray[np.int64]
    names: str
    tally: Tally
    facts: dict[str, Any] = field(default_factory=dict)
    choice: Choice | None = None

    def with_settings(self, settings: EmbedSettings, choice: Choice | None = None) -> SequenceEmbedding:
        """The same records and model with other choices."""
        return replace(self, settings=settings, choice=choice)

    @property
    def ends(self) -> NDArray[np.int64]:
        """``(k + 1,)`` rows at which blocks begin and end."""
        rows = np.concatenate([[0], np.cumsum(self.counts)])
        ends: NDArray[np.int64] = rows[self.records]
        return ends

    def blocks(self, first: int, last: int) -> Iterator[SequenceBlock]:
        """The blocks ``first`` to ``last``; a file is read from its beginning."""
        whole = self.source.blocks(self.settings, self.model.block_rows, self.model.tokenizer)
        return islice(whole, first, last) if first < last else iter(())

    def compute(self, block: SequenceBlock) -> dict[str, NDArray[Any]]:
        """``vectors`` ``(·, d)`` of a block, and what its rows are.

        Raises
        ------
        InputError
            If the model gives values that are not finite.
        """
        options = _options(self.settings)
        counts = self.counts[block.start : block.start + len(block)]
        arrays: dict[str, NDArray[Any]] = {
            "counts": counts,
            "lengths": block.lengths,
            "names": np.array(block.names, str),
            "descriptions": np.array(block.descriptions, str),
        }
        if self.settings.per_residue:
            vectors, tokens = self.model.residues(block, options)
            arrays["spans"] = _inner_spans(self.model, block, tokens)
        elif counts.any():
            # Records that the policy left out have no row.
            vectors = self.model.embed(block, options)[counts > 0]
        else:
            vectors = np.zeros((0, self.model.width), np.float32)
        if not np.isfinite(vectors).all():
            raise InputError(
                f"model {self.model.name} gave values that are not finite between records {block.names[0]!r} "
                f"and {block.names[-1]!r}; check the checkpoint"
            )
        return {**arrays, "vectors": vectors}

    def same(self) -> dict[str, Any]:
        """What makes two jobs the same: what was read, how."""
        chosen = self.settings
        names = ("pool", "batch_tokens", "device", "hidden_state", "precision", "block_rows")
        more = ("state", "letters", "windows", "window", "overlap", "per_residue")
        return {
            "input": {"stamp": stamp(self.source.path), "records": len(self.counts), "names": self.names},
            "options": {name: getattr(chosen, name) for name in (*names, *more)} | decided(self.choice),
        }

    def provenance(self) -> dict[str, Any]:
        """Plain facts that tell how the vectors were made; no date and no path."""
        chosen = self.settings
        names = ("hidden_state", "state", "device", "precision", "letters", "windows", "window", "overlap")
        pool = "none" if chosen.per_residue else chosen.pool or self.model.pools[0]
        return provenance_of(
            self.model,
            self.facts,
            {"pool": pool, **{name: getattr(chosen, name) for name in names}, **decided(self.choice)},
            sequences=len(self.counts),
            **self.tally.as_dict(),
            rows=int(self.counts.sum()),
        )


def prepare_sequences(
    source: SequenceFile,
    model: SequenceModel,
    settings: EmbedSettings,
    reopen: Any = None,  # noqa: ARG001  # files of sequences hold one thing
) -> SequenceEmbedding:
    """Look through a file and check that it, model and settings fit, before the model runs.

    Parameters
    ----------
    source
        The file.
    model
        The loaded model.
    settings
        Choices of the job.
    reopen
        Not used: a file of sequences holds one thing.

    Raises
    ------
    InputError, ConfigError
        If they do not.
    """
    check_pool(model, settings)
    check_precision(model, settings)
    tally, options = Tally(), _options(settings)
    names: list[str] = []
    counts, records = [], [0]
    for block in source.blocks(settings, model.block_rows, model.tokenizer, tally):
        # The first block alone: proteins do not become DNA further down.
        if not block.start:
            check_kind(block, model.kind, name=source.label)
        # The whole file is read once before the model runs, so that a bad record is named now and not after
        # hours.
        tokens = model.tokenize(block, policy=settings.letters, tally=tally)
        model.check_lengths(tokens, options, block)
        count = np.zeros(len(block), np.int64)
        inner = tokens.lengths - sum(model.preprocessor.special)
        count[tokens.index - block.start] = inner if settings.per_residue else 1
        names += block.names
        counts.append(count)
        records.append(block.start + len(block))
    _check_names(names, source.label, settings)
    if sentence := tally.sentence():
        log.warning("%s", sentence)
    rows = np.concatenate(counts)
    if not rows.any():
        raise InputError(
            f"every record of {source.label} was left out; read unknown residues or bases as such "
            "(`letters='unknown'`)"
        )
    return SequenceEmbedding(
        source=source,
        model=model,
        settings=settings,
        counts=rows,
        records=np.array(records),
        # A digest, as millions of names would make every record of a shard large.
        names=digest({"names": np.array(names, str)}),
        tally=tally,
        facts=plain(model.describe()),
    )


def _inner_spans(model: SequenceModel, block: SequenceBlock, tokens: Any) -> NDArray[np.int64]:
    """First residue and end of every token but special ones."""
    before, after = model.preprocessor.special
    place = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
    left = np.repeat(tokens.lengths, tokens.lengths) - place
    kept = block if len(tokens) == len(block) else block.take(tokens.index - block.start)
    spans: NDArray[np.int64] = model.tokenizer.spans(kept, tokens)[(place >= before) & (left > after)]
    return spans


def _check_names(names: list[str], label: str, settings: EmbedSettings) -> None:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if seen.setdefault(name, number) == number:
            continue
        if settings.duplicates == "error":
            raise InputError(
                f"records {seen[name]} and {number} of {label} are both named {name!r}; rename one, or take "
                "them as they come (`duplicates='keep'`)"
            )
        log.warning("%d names repeat; records are kept in input order", len(names) - len(set(names)))
        return


def _options(settings: EmbedSettings) -> SequenceOptions:
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


@contextmanager
def _open(data: Any, settings: Any) -> Iterator[SequenceFile]:
    """The file; the standard input is read twice, so it is laid down first."""
    if str(data) != "-":
        yield SequenceFile(path=Path(data), label=str(data))
        return
    if getattr(settings, "resume", False) or getattr(settings, "shard", None):
        raise ConfigError(
            "a job that reads the standard input cannot be resumed or cut in shards; give a file"
        )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "stdin"
        with place.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield SequenceFile(path=place, label="the standard input")


MODALITY = Modality(
    name="sequences",
    recognises=lambda data: isinstance(data, str | Path) and is_sequence_file(data),
    open=_open,
    embedding=prepare_sequences,
    writer=SequenceWriter(),
    tokens=SequenceTokens.of,
)
"""The entry of sequences."""
