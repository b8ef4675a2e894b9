"""Label the sequences of a file, or each of their letters: in memory, into a file, or a shard at a time.

Dimensions: ``n`` sequences · ``s`` samples (sequences or letters) · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.errors import ConfigError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.provenance import plain, stamp
from biolm.io.sequences import SequenceBlock
from biolm.io.table import TABLES, write_table
from biolm.jobs.job import Job, block_ends, check_outputs, write_whole
from biolm.jobs.shards import ShardRecord
from biolm.jobs.spool import Parts
from biolm.options import read_options, refuse_unused
from biolm.tasks.annotate.annotator import default_key
from biolm.tasks.annotate.names import UNKNOWN
from biolm.tasks.annotate.predict_file import digest_of
from biolm.tasks.annotate.sequence_annotator import SequenceAnnotator, load_sequence_annotator
from biolm.tasks.annotate.sequences import read_block
from biolm.tasks.annotate.settings import PredictSettings

__all__ = [
    "Found",
    "Labelling",
    "merge_sequence_labels",
    "predict_sequence_file",
    "predict_sequences",
    "write_found",
]

KIND = "sequence labels"


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """How scores become labels.

    Parameters
    ----------
    key
        Name of the result.
    classes
        ``c`` names; empty for numbers.
    per_residue
        Whether each letter is labelled.
    threshold
        Samples of less confidence are unknown; None where none is.
    facts
        How the labels were made.
    """

    key: str
    classes: tuple[str, ...]
    per_residue: bool
    threshold: float | None
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, annotator: SequenceAnnotator, settings: PredictSettings, tally: Tally) -> Labelling:
        """What an annotator and the choices of a job say.

        Parameters
        ----------
        annotator
            Which classes, which threshold.
        settings
            Name of the result, and whether samples below the threshold are unknown.
        tally
            Letters that the model does not know, and what was taken out.
        """
        facts = {
            "label": annotator.label,
            "model": annotator.reference["facts"],
            "annotator": annotator.facts,
            "held_out": annotator.report.get("held_out"),
            **tally.facts(),
        }
        rejects = settings.reject and bool(annotator.classes)
        return cls(
            key=settings.key or default_key(annotator.label),
            classes=annotator.classes,
            per_residue=annotator.per_residue,
            threshold=float(annotator.frozen.threshold) if rejects else None,
            facts=plain(facts),
        )


@dataclass(frozen=True, eq=False)
class Found:
    """What an annotator says of a file.

    Parameters
    ----------
    labelling
        How scores become labels.
    block
        The ``n`` sequences.
    scores
        ``(s, c)`` calibrated probabilities, or numbers ``(s, 1)``.
    tally
        Letters that the model does not know, and what was taken out.
    """

    labelling: Labelling
    block: SequenceBlock
    scores: NDArray[np.float64]
    tally: Tally = field(default_factory=Tally)

    @property
    def labels(self) -> NDArray[Any]:
        """``(s,)`` names of classes, ``unknown`` where rejected; or numbers."""
        if not self.labelling.classes:
            return self.scores[:, 0].astype(np.float32)
        names = np.array([*self.labelling.classes, UNKNOWN])
        threshold = self.labelling.threshold
        low = np.zeros(len(self.scores), bool) if threshold is None else self.confidence < threshold
        return names[np.where(low, len(names) - 1, self.scores.argmax(1))]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """``(s,)`` probability of the likeliest class."""
        return np.asarray(self.scores.max(1), np.float32)

    def columns(self) -> dict[str, NDArray[Any]]:
        """A table with a row for each sample."""
        key, names = self.labelling.key, np.array(self.block.names)
        found: dict[str, NDArray[Any]] = {"name": names}
        if self.labelling.per_residue:
            lengths = self.block.lengths
            found["name"] = np.repeat(names, lengths)
            found["position"] = (
                np.arange(len(self.block.letters)) - np.repeat(self.block.offsets[:-1], lengths) + 1
            )
            found["letter"] = self.block.letters.view("S1").astype(np.str_)
        found[key] = self.labels
        if self.labelling.classes:
            found[f"{key}_confidence"] = self.confidence
            for number, name in enumerate(self.labelling.classes):
                found[f"{key}_p_{name}"] = self.scores[:, number].astype(np.float32)
        return found


def predict_sequences(
    data: str | Path,
    annotator: str | Path | SequenceAnnotator,
    *,
    model: str | Path | None = None,
    key: str | None = None,
    **options: Any,
) -> Found:
    """Label the sequences of a file.

    Parameters
    ----------
    data
        FASTA, FASTQ, GenBank or EMBL, of the kind that the annotator's model reads.
    annotator
        A folder of ``biolm annotate fit``, or what :func:`fit_sequences` returned.
    model
        The annotator's model, where it is no longer where it was.
    key
        Name of the result; ``biolm_<label>`` by default.
    options
        See :class:`~biolm.tasks.annotate.settings.PredictSettings`; those of cells are refused.

    Raises
    ------
    BiolmError
        If sequences or annotator cannot be used.
    """
    settings: PredictSettings = read_options(PredictSettings, {"key": key, **options}, "annotate predict")
    refuse_unused(settings, "sequences")
    settings.check_in_memory()
    if settings.overwrite:
        raise ConfigError("`overwrite` is for jobs that write a file; give it to write_found")
    work = _Work.of(data, _loaded(annotator, model), settings)
    scores = [work.compute(part)["scores"] for part in work.blocks(0, len(work.ends) - 1)]
    return Found(work.labelling, work.block, np.concatenate(scores), work.tally)


def predict_sequence_file(
    data: str | Path,
    output: str | Path,
    annotator: str | Path | SequenceAnnotator,
    settings: PredictSettings,
    model: str | Path | None = None,
) -> int:
    """Label the sequences of a file into a file, or do a shard of them into a folder.

    Parameters
    ----------
    data, annotator, model
        As of :func:`predict_sequences`.
    output
        ``.tsv``, ``.csv``, ``.parquet`` or, for labels of whole sequences, ``.h5ad``; a folder for a shard.
    settings
        Choices of the job.

    Returns
    -------
    How many sequences were read.

    Raises
    ------
    BiolmError
        If sequences, annotator or output cannot be used; nothing half-written is left.
    """
    refuse_unused(settings, "sequences")
    target, used = Path(output), _loaded(annotator, model)
    endings: tuple[str, ...] = (".h5ad", *(f".{name}" for name in TABLES))
    if settings.shard is None:
        _check_ending(target, per_residue=used.per_residue)
        text = target.suffix.lower() in (".tsv", ".csv")
        endings = (target.suffix, ".json") if text else (target.suffix,)
    check_outputs(target, endings, settings)
    work = _Work.of(data, used, settings)

    def finish(parts: Parts, made: Path) -> None:
        write_found(_joined(parts, work.labelling), made)

    names = ("reject", "letters", "device", "batch_tokens")
    in_memory = isinstance(annotator, SequenceAnnotator)
    return Job(
        kind=KIND,
        same={
            "input": {"stamp": stamp(Path(data)), "records": len(work.block)},
            "annotator": plain(used.facts) if in_memory else digest_of(Path(str(annotator))),
            "key": work.labelling.key,
            "options": {
                **{name: getattr(settings, name) for name in names},
                "block_rows": settings.block_rows or used.model.block_rows,
            },
        },
        facts={"labelling": asdict(work.labelling)},
        inputs={"stamp": Path(data)},
        ends=work.ends,
        blocks=work.blocks,
        compute=work.compute,
        finish=finish,
        label="labelling",
        unit="sequences",
    ).run(target, settings)


def merge_sequence_labels(
    records: Sequence[ShardRecord], parts: Parts, target: Path, *, data: str | Path | None, form: str | None
) -> int:
    """Write the labels of all shards as the whole job would; how many sequences there are.

    Parameters
    ----------
    records
        All shards, in order.
    parts
        Their results.
    target
        ``.tsv``, ``.csv``, ``.parquet`` or ``.h5ad``.
    data
        Not used: the shards hold all that is written.
    form
        Not used: the ending says it.

    Raises
    ------
    ConfigError
        If the input or a format is named, or the ending names none.
    """
    if data is not None:
        raise ConfigError("shards of labels of sequences hold all that is written; leave the input out")
    if form is not None:
        raise ConfigError("a table is written by the ending of the output; leave the format out")
    held = records[0].facts["labelling"]
    labelling = Labelling(**{**held, "classes": tuple(held["classes"])})
    _check_ending(target, per_residue=labelling.per_residue)
    found = _joined(parts, labelling)
    write_whole(parts.folder, target, lambda made: write_found(found, made))
    return len(found.block)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Labels the sequences of a file block by block."""

    annotator: SequenceAnnotator
    settings: PredictSettings
    labelling: Labelling
    block: SequenceBlock
    ends: NDArray[np.int64]
    tally: Tally

    @classmethod
    def of(cls, data: str | Path, annotator: SequenceAnnotator, settings: PredictSettings) -> _Work:
        """Reads the sequences."""
        tally = Tally()
        block, _ = read_block(data, annotator.model, settings.letters, tally)
        return cls(
            annotator=annotator,
            settings=settings,
            labelling=Labelling.of(annotator, settings, tally),
            block=block,
            ends=block_ends(len(block), settings.block_rows or annotator.model.block_rows),
            tally=tally,
        )

    def blocks(self, first: int, last: int) -> Iterator[SequenceBlock]:
        """The blocks ``first`` to ``last`` of records."""
        for number in range(first, last):
            yield self.block.part(int(self.ends[number]), int(self.ends[number + 1]))

    def compute(self, block: SequenceBlock) -> dict[str, NDArray[Any]]:
        """Scores of one block, and the records that they are of."""
        return {
            "names": np.array(block.names, str),
            "lengths": block.lengths,
            "letters": block.letters,
            "scores": self.annotator.scores(block, self.settings),
        }


def _loaded(annotator: str | Path | SequenceAnnotator, model: str | Path | None) -> SequenceAnnotator:
    return (
        annotator if isinstance(annotator, SequenceAnnotator) else load_sequence_annotator(annotator, model)
    )


def _joined(parts: Parts, labelling: Labelling) -> Found:
    names, lengths = parts.joined("names").tolist(), parts.joined("lengths")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    block = SequenceBlock(names, [""] * len(names), np.asarray(parts.joined("letters")), offsets)
    return Found(labelling, block, parts.joined("scores"))


def _check_ending(target: Path, *, per_residue: bool) -> None:
    if target.suffix.lower().removeprefix(".") in TABLES:
        return
    if target.suffix != ".h5ad" or per_residue:
        raise ConfigError(
            f"labels of sequences are written as .{', .'.join(TABLES)} or .h5ad, of letters not as .h5ad"
        )


def write_found(found: Found, output: str | Path, *, overwrite: bool = False) -> None:
    """Write predictions as a table (``.tsv``, ``.csv``, ``.parquet``), or as ``.h5ad`` with a row a sequence.

    Raises
    ------
    ConfigError
        If the ending names none of these, or letters are labelled and it is ``.h5ad``.
    OutputError
        If the file exists and ``overwrite`` is not set.
    """
    target, facts = Path(output), found.labelling.facts
    _check_ending(target, per_residue=found.labelling.per_residue)
    if target.suffix != ".h5ad":
        write_table(target, [found.columns()], facts, schema="biolm.sequence_labels/1", overwrite=overwrite)
        return
    refuse_existing(target, overwrite=overwrite)
    _write_h5ad(found, target, dict(facts), overwrite=overwrite)


def _write_h5ad(found: Found, target: Path, facts: dict[str, Any], *, overwrite: bool) -> None:
    import anndata
    import pandas as pd

    key, columns = found.labelling.key, found.columns()
    names = pd.Index(columns.pop("name")).astype(str)
    kept = {name: values for name, values in columns.items() if not name.startswith(f"{key}_p_")}
    table = pd.DataFrame(kept, index=names)
    if found.labelling.classes:
        table[key] = pd.Categorical(kept[key])
    made = anndata.AnnData(obs=table)
    if found.labelling.classes:
        made.obsm[f"{key}_probabilities"] = found.scores.astype(np.float32)
        facts = {**facts, "classes": np.array(found.labelling.classes)}
    made.uns["biolm"] = {key: {key: value for key, value in facts.items() if value is not None}}
    with replacing(target, overwrite=overwrite) as temporary:
        made.write_h5ad(temporary)
