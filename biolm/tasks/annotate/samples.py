"""Labelled sequences in memory: what is labelled, what it is held out with, and what methods read of it.

Dimensions: ``n`` sequences · ``s`` samples (sequences, or letters of them) · ``d`` width · ``m`` columns of
the table of k-mers or of letters round a letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Policy, Tally, admitted, check_kind
from biolm.adapters.sequences.clusters import cluster_sequences
from biolm.adapters.sequences.file import SequenceFile
from biolm.adapters.sequences.reading import kept_letters, with_masks
from biolm.adapters.sequences.spectrum import kmer_table, window_table
from biolm.errors import ConfigError, InputError
from biolm.io.label_table import STRINGS, LabelTable, read_label_table
from biolm.io.sequences import SequenceBlock, open_sequences
from biolm.io.sequences.block import concatenate_blocks
from biolm.models.sequence_model import SequenceModel, SequenceOptions
from biolm.progress import log
from biolm.scoring.splits import Split, holdout
from biolm.tasks.annotate.labelled import coded
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["Samples", "read_block", "read_samples", "table_of_letters", "vectors_of"]

_MISSING = ("", "?", "nan", "NaN", "NA", "None")
_BINS = 5  # classes of numbers that a split keeps even


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled samples.

    Parameters
    ----------
    block
        ``n`` sequences that have a label.
    label
        Name of the column.
    values
        ``(s,)`` codes of classes or numbers; -1 or NaN for letters without a label.
    classes
        Names of the classes; empty for numbers.
    groups
        ``(n,)`` what each sequence is held out with.
    per_residue
        Whether letters are the samples, rather than sequences.
    """

    block: SequenceBlock
    label: str
    values: NDArray[Any]
    classes: tuple[str, ...]
    groups: NDArray[np.int64]
    per_residue: bool

    @property
    def owner(self) -> NDArray[np.int64]:
        """``(s,)`` sequence of each sample."""
        rows = np.arange(len(self.block))
        return np.repeat(rows, self.block.lengths) if self.per_residue else rows

    @property
    def known(self) -> NDArray[np.bool_]:
        """``(s,)`` samples with a label; of sequences all have one."""
        return self.values >= 0 if self.classes else ~np.isnan(self.values)

    def split(self, settings: FitSettings) -> Split:
        """Sequences to learn from and those to evaluate on, with the labels as even as may be."""
        # A sequence of many residues has many labels, so there is nothing to keep even.
        names = np.zeros(len(self.block)) if self.per_residue else self.values
        if not self.classes and not self.per_residue:
            names = np.searchsorted(np.quantile(names, np.linspace(0, 1, _BINS + 1)[1:-1]), names)
        if len(np.unique(self.groups)) < 2:
            raise InputError(
                "all labelled sequences are of one group, so none can be held out; give more diverse ones, a "
                "higher identity (`identity`) or a random split (`split='random'`)"
            )
        return holdout(names.astype(str), share=settings.test_share, groups=self.groups, seed=settings.seed)

    def rows(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labelled samples of some sequences."""
        return np.flatnonzero(np.isin(self.owner, sequences) & self.known)


def read_block(
    source: SequenceFile, model: SequenceModel, letters: Policy, tally: Tally
) -> tuple[SequenceBlock, dict[str, NDArray[np.bool_]]]:
    """The records of a file that the model may read, cleaned; and what was kept of their letters.

    Parameters
    ----------
    source
        The file.
    model
        The model.
    letters
        What is done with residues or bases that the model does not know.
    tally
        Counts them.

    Returns
    -------
    The records, and by name which letters of those that were shortened are still there.

    Raises
    ------
    InputError
        If they are of the other kind, a letter is refused or no record is left.
    """
    with open_sequences(source.path, label=source.label) as reader:
        whole = with_masks(concatenate_blocks(list(reader.blocks())), model.tokenizer)
    check_kind(whole, model.kind, name=source.label)
    kept = kept_letters(whole, model.tokenizer)
    block = admitted(whole, model.tokenizer, letters, tally)
    if sentence := tally.sentence():
        log.warning("%s", sentence)
    if not len(block):
        raise InputError(
            f"every record of {source.label} was left out; read unknown residues or bases as such "
            "(`letters='unknown'`)"
        )
    # Of letters that were left out their labels must go too; of a name that occurs twice nobody knows which.
    spans = zip(whole.names, whole.offsets[:-1].tolist(), whole.offsets[1:].tolist(), strict=True)
    times = Counter(whole.names)
    return block, {name: kept[a:b] for name, a, b in spans if times[name] == 1 and not kept[a:b].all()}


def read_samples(
    source: SequenceFile,
    labels: str | Path,
    label: str,
    model: SequenceModel,
    settings: FitSettings,
    tally: Tally | None = None,
) -> Samples:
    """Records and their labels.

    Parameters
    ----------
    source
        The file.
    labels, label
        As of :func:`biolm.annotate.fit`.
    model
        The loaded model.
    settings
        The user's choices.
    tally
        Counts residues or bases that the model does not know.

    Raises
    ------
    InputError
        If a file cannot be read, or the labels are all the same or missing.
    """
    whole, shortened = read_block(source, model, settings.letters, Tally() if tally is None else tally)
    table = read_label_table(labels, whole.names)
    # Files of name and string (FASTA of labels) have no header, so any name means their one column.
    if label not in table.columns and tuple(table.columns) == (STRINGS,):
        label = STRINGS
    texts = table.column(label)
    if tuple(table.columns) == (STRINGS,) and not settings.per_residue and not settings.numbers:
        raise InputError(
            f"{labels} gives each record a string of letters, not a class; give a table of names and "
            "classes, or learn a label for each letter (`per_residue=True`)"
        )
    left_out = [*_MISSING, *settings.leave_out]
    # An empty record has no vector to learn from.
    kept = np.flatnonzero(~np.isin(texts, left_out) & (whole.lengths > 0))
    kept = _sampled(kept, whole.lengths, settings)
    if not len(kept):
        raise InputError(f"no record of {source.label} has a label in the column {label!r} of {labels}")
    block, texts = whole.take(kept), texts[kept]
    cells = _letters(block, texts, shortened, settings) if settings.per_residue else texts
    values, classes = _encoded(cells, label, left_out, settings)
    return Samples(block, label, values, classes, _groups(block, table, kept, settings), settings.per_residue)


def _sampled(rows: NDArray[np.intp], lengths: NDArray[np.int64], settings: FitSettings) -> NDArray[np.intp]:
    """At most ``max_rows`` samples, whole sequences."""
    sizes = lengths[rows] if settings.per_residue else np.ones(len(rows), np.int64)
    if sizes.sum() <= settings.max_cells:
        return rows
    order = np.random.default_rng(settings.seed).permutation(len(rows))
    # Two at least: one to learn from and one to measure on.
    many = max(2, int(np.searchsorted(np.cumsum(sizes[order]), settings.max_cells, side="right")))
    return np.sort(rows[order[:many]])


def _letters(
    block: SequenceBlock,
    texts: NDArray[np.str_],
    shortened: Mapping[str, NDArray[np.bool_]],
    settings: FitSettings,
) -> NDArray[np.str_]:
    """``(s,)`` label of each letter: one character each, or numbers separated by commas or spaces.

    Labels of a record as it stands in the file lose those of gaps and stops, which are not read.
    """
    letters: list[str] = []
    for row, text in enumerate(texts.tolist()):
        each = text.replace(",", " ").split() if settings.numbers else list(text)
        kept = shortened.get(block.names[row])
        if kept is not None and len(each) == len(kept):
            each = [cell for cell, stays in zip(each, kept.tolist(), strict=True) if stays]
        if len(each) != block.lengths[row]:
            raise InputError(
                f"record {block.names[row]!r} has {block.lengths[row]} residues or bases but {len(each)} "
                "labels; "
                f"give one {'number' if settings.numbers else 'character'} for each letter"
            )
        letters += each
    return np.array(letters)


def _encoded(
    cells: NDArray[np.str_], label: str, missing: list[str], settings: FitSettings
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Codes and classes, or numbers."""
    known = ~np.isin(cells, missing)
    if settings.numbers:
        try:
            values = np.where(known, cells, "nan").astype(np.float64)
        except ValueError as error:
            raise InputError(
                f"the labels {label!r} are to be numbers but hold text ({error}); learn classes"
            ) from error
        # "not >" so that NaN, of no known number at all, is refused too.
        if not np.nanstd(values) > 0:
            raise InputError(f"all labels {label!r} are the same number; there is nothing to learn")
        return values, ()
    classes, codes = coded(
        cells, known, f"the label {label!r}", "sequence", ", or learn numbers (`numbers=True`)"
    )
    return codes, classes


def _groups(
    block: SequenceBlock, table: LabelTable, kept: NDArray[np.intp], settings: FitSettings
) -> NDArray[np.int64]:
    if settings.batch is not None:
        names = table.column(settings.batch)[kept]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)
    if settings.split == "random":
        return np.arange(len(block))
    return cluster_sequences(block, identity=settings.identity)


def vectors_of(
    model: SequenceModel, block: SequenceBlock, *, per_residue: bool, pool: str | None, settings: Any
) -> NDArray[np.float32]:
    """``(s, d)`` vectors of sequences or of their letters.

    Parameters
    ----------
    model
        To embed with.
    block
        The sequences.
    per_residue
        Whether each residue or base has a vector.
    pool
        How a sequence's vector is made.
    settings
        Device, precision and batch.

    Raises
    ------
    ConfigError
        If the model reads several residues or bases as one token where each has a label.
    """
    options = SequenceOptions(pool=pool, batch_tokens=settings.batch_tokens, device=settings.device)
    parts = []
    for start in range(0, len(block), model.block_rows):
        part = block.part(start, min(start + model.block_rows, len(block)))
        if not per_residue:
            parts.append(model.embed(part, options))
            continue
        states, _ = model.residues(part, options)
        if len(states) != len(part.letters):
            raise ConfigError(
                f"model {model.name} makes {len(states):,} tokens of {len(part.letters):,} residues or "
                "bases; "
                "labels of letters need a model of single letters, and sequences without gaps"
            )
        parts.append(states)
    return np.concatenate(parts)


def table_of_letters(block: SequenceBlock, model: SequenceModel, *, per_residue: bool) -> Any:
    """What a method without a model reads: ``(s, m)`` k-mers, or letters round each letter.

    Parameters
    ----------
    block
        The sequences.
    model
        Says whether residues or bases are counted.
    per_residue
        Whether each residue or base is a row.
    """
    return window_table(block) if per_residue else kmer_table(block, protein=model.kind == "protein")
