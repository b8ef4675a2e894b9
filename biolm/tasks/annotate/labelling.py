"""Labels of sequences, or of each of their letters, as a table: in memory and in files.

Dimensions: ``n`` sequences · ``s`` samples (sequences or letters) · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.adapters.sequences.file import SequenceFile
from biolm.errors import ConfigError
from biolm.io.anndata.convert import write_anndata
from biolm.io.provenance import plain, stamp
from biolm.io.sequences import SequenceBlock
from biolm.io.table import TABLES, write_table
from biolm.jobs.merging import Merging
from biolm.jobs.spool import Arrays, Parts
from biolm.tasks.annotate.annotator import Annotator, default_key
from biolm.tasks.annotate.names import UNKNOWN
from biolm.tasks.annotate.samples import table_of_letters, vectors_of
from biolm.tasks.annotate.settings import PredictSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Labelling", "SequencePrediction", "check_ending", "merge_labels"]


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
    def of(cls, annotator: Annotator, settings: PredictSettings, tally: Tally) -> Labelling:
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
        (head,) = annotator.heads
        facts = {
            "label": head.label,
            "model": annotator.reference["facts"],
            "annotator": annotator.provenance,
            "held_out": head.report.get("held_out"),
            **tally.as_dict(),
        }
        rejects = settings.reject and bool(head.classes)
        return cls(
            key=settings.key or default_key(head.label),
            classes=head.classes,
            per_residue=annotator.embedding["per_residue"],
            threshold=float(head.frozen.threshold) if rejects else None,
            facts=plain(facts),
        )

    def columns(self, block: SequenceBlock, scores: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """A table with a row for each sample.

        Parameters
        ----------
        block
            The ``n`` sequences.
        scores
            ``(s, c)`` calibrated probabilities, or numbers ``(s, 1)``.
        """
        key, names = self.key, np.array(block.names)
        columns: dict[str, NDArray[Any]] = {"name": names}
        if self.per_residue:
            lengths = block.lengths
            columns["name"] = np.repeat(names, lengths)
            columns["position"] = np.arange(len(block.letters)) - np.repeat(block.offsets[:-1], lengths) + 1
            columns["letter"] = block.letters.view("S1").astype(np.str_)
        if not self.classes:
            return {**columns, key: scores[:, 0].astype(np.float32)}
        confidence = np.asarray(scores.max(1), np.float32)
        low = np.zeros(len(scores), bool) if self.threshold is None else confidence < self.threshold
        labels = np.array([*self.classes, UNKNOWN])
        columns[key] = labels[np.where(low, len(labels) - 1, scores.argmax(1))]
        columns[f"{key}_confidence"] = confidence
        for number, name in enumerate(self.classes):
            columns[f"{key}_p_{name}"] = scores[:, number].astype(np.float32)
        return columns

    def table(self, block: SequenceBlock, scores: NDArray[np.float64]) -> AnnData:
        """An AnnData with a row for each sample, named by its sequence and, of letters, by its position.

        Parameters
        ----------
        block, scores
            As of :meth:`columns`.
        """
        import anndata
        import pandas as pd

        key, columns, facts = self.key, self.columns(block, scores), dict(self.facts)
        names = pd.Index(columns["name"]).astype(str)
        if self.per_residue:
            places = zip(names, columns["position"], strict=True)
            # Names of rows must differ in AnnData, and a sequence has a row a letter here.
            names = pd.Index([f"{name}:{place}" for name, place in places])
        else:
            del columns["name"]
        kept = {name: values for name, values in columns.items() if not name.startswith(f"{key}_p_")}
        table = pd.DataFrame(kept, index=names)
        if self.classes:
            table[key] = pd.Categorical(kept[key])
        adata = anndata.AnnData(obs=table)
        if self.classes:
            adata.obsm[f"{key}_probabilities"] = scores.astype(np.float32)
            facts = {**facts, "classes": np.array(self.classes)}
        # None cannot be written into h5ad.
        adata.uns["biolm"] = {key: {key: value for key, value in facts.items() if value is not None}}
        return adata

    def write(self, parts: Parts, target: Path) -> int:
        """Write a table of all blocks of a job, by the ending of a path that does not exist yet.

        Parameters
        ----------
        parts
            Results of the blocks.
        target
            The path.

        Returns
        -------
        How many sequences there are.
        """
        names, lengths = parts.joined("names").tolist(), parts.joined("lengths")
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # The shards kept the letters, so that merging needs no sequence file.
        block = SequenceBlock(names, [""] * len(names), np.asarray(parts.joined("letters")), offsets)
        scores = parts.joined("scores")
        if target.suffix == ".h5ad":
            write_anndata(self.table(block, scores), target)
        else:
            columns = [self.columns(block, scores)]
            write_table(target, columns, self.facts, schema="biolm.sequence_labels/1")
        return len(names)


def scores_of(annotator: Annotator, block: SequenceBlock, settings: PredictSettings) -> NDArray[np.float64]:
    """Probabilities ``(s, c)``, or numbers ``(s, 1)``, of sequences or their residues.

    Parameters
    ----------
    annotator
        What labels them.
    block
        Sequences of the kind that the model reads.
    settings
        ``batch_tokens`` and ``device``.
    """
    (head,), model = annotator.heads, annotator.model
    per_residue = bool(annotator.embedding["per_residue"])
    scorer = head.frozen.scorer
    rows = len(block.letters) if per_residue else len(block)
    # A scorer of k-mers alone needs no forward pass; zeros have the shape that it is given.
    vectors = np.zeros((rows, model.width), np.float32)
    if scorer.reads_vectors:
        pool = annotator.embedding["pool"]
        vectors = vectors_of(model, block, per_residue=per_residue, pool=pool, settings=settings)
    table = table_of_letters(block, model, per_residue=per_residue)
    return head.frozen.probabilities(vectors, table) if head.classes else scorer.logits(vectors, table)


@dataclass(frozen=True, kw_only=True)
class SequencePrediction:
    """Sequences and an annotator.

    Parameters
    ----------
    source
        The file.
    annotator
        What labels them.
    settings
        The user's choices.
    labelling
        How scores become labels.
    block
        All sequences.
    ends
        ``(k + 1,)`` sequences at which blocks begin and end.
    tally
        Residues or bases that the model does not know.
    """

    source: SequenceFile
    annotator: Annotator
    settings: PredictSettings
    labelling: Labelling
    block: SequenceBlock
    ends: NDArray[np.int64]
    tally: Tally
    kind: str = "sequence labels"

    @property
    def key(self) -> str:
        """Name of the result."""
        return self.labelling.key

    def blocks(self, first: int, last: int) -> Iterator[SequenceBlock]:
        """The blocks ``first`` to ``last`` of records."""
        for number in range(first, last):
            yield self.block.part(int(self.ends[number]), int(self.ends[number + 1]))

    def compute(self, block: SequenceBlock) -> Arrays:
        """Scores of one block, and the records that they are of."""
        return {
            "names": np.array(block.names, str),
            "lengths": block.lengths,
            "letters": block.letters,
            "scores": scores_of(self.annotator, block, self.settings),
        }

    def check(self, target: Path | None) -> None:
        """Refuse a format that cannot hold what is labelled."""
        if target is None and self.settings.overwrite:
            raise ConfigError("`overwrite` is for jobs that write a file; leave it out")
        if target is not None and self.settings.shard is None:
            check_ending(target, per_residue=self.labelling.per_residue)

    def same(self) -> dict[str, Any]:
        """What makes two jobs the same: what was read, how, and what is said of it."""
        names = ("reject", "letters", "device", "batch_tokens")
        options = {name: getattr(self.settings, name) for name in names}
        step = self.settings.block_rows or self.annotator.model.block_rows
        return {
            "input": {"stamp": stamp(self.source.path), "records": len(self.block)},
            "options": {**options, "block_rows": step},
        }

    def facts(self) -> dict[str, Any]:
        """How scores become labels: merging reads neither the sequences nor the annotator."""
        return {"labelling": asdict(self.labelling)}

    def write(self, parts: Parts, target: Path, form: str) -> None:  # noqa: ARG002  # the ending says it
        """Write a table with a row for each sample.

        Parameters
        ----------
        parts
            Results of all blocks.
        target
            Path that does not exist yet.
        form
            Format of the output.
        """
        self.labelling.write(parts, target)

    def table(self, parts: Iterable[Arrays], given: AnnData | None, *, copy: bool) -> AnnData:  # noqa: ARG002
        """A new AnnData with a row for each sample.

        Parameters
        ----------
        parts
            Results of all blocks.
        given
            What the user gave.
        copy
            Leave that as it is.
        """
        return self.labelling.table(self.block, np.concatenate([part["scores"] for part in parts]))


def merge_labels(merging: Merging) -> int:
    """Write the labels of all shards as the whole job would; how many sequences there are."""
    merging.refuse_data("labels of sequences")
    merging.refuse_form()
    content = merging.facts["labelling"]
    labelling = Labelling(**{**content, "classes": tuple(content["classes"])})
    check_ending(merging.target, per_residue=labelling.per_residue)
    merging.write(lambda target: labelling.write(merging.parts, target))
    return sum(len(part["lengths"]) for part in merging.parts)


def check_ending(target: Path, *, per_residue: bool) -> None:
    """Refuse an output whose ending names no format for labels.

    Parameters
    ----------
    target
        The output.
    per_residue
        Whether each residue or base has a label.

    Raises
    ------
    ConfigError
        If it does not, or letters would be rows of an ``.h5ad``.
    """
    if target.suffix.lower().removeprefix(".") in TABLES:
        return
    if target.suffix != ".h5ad" or per_residue:
        raise ConfigError(
            f"labels of sequences are written as .{', .'.join(TABLES)} or .h5ad, of letters not as .h5ad"
        )
