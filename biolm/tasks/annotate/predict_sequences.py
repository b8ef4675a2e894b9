"""Label the sequences of a file, or each of their letters.

Dimensions: ``n`` sequences · ``s`` samples (sequences or letters) · ``c`` classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.errors import ConfigError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.provenance import plain
from biolm.io.sequences import SequenceBlock
from biolm.io.table import TABLES, write_table
from biolm.options import read_options, refuse_unused
from biolm.tasks.annotate.annotator import default_key
from biolm.tasks.annotate.names import UNKNOWN
from biolm.tasks.annotate.sequence_annotator import SequenceAnnotator, load_sequence_annotator
from biolm.tasks.annotate.sequences import read_block
from biolm.tasks.annotate.settings import PredictSettings

__all__ = ["Found", "predict_sequences", "write_found"]


@dataclass(frozen=True, eq=False)
class Found:
    """What an annotator says of a file.

    Parameters
    ----------
    annotator
        Which classes, which threshold.
    block
        The ``n`` sequences.
    scores
        ``(s, c)`` calibrated probabilities, or numbers ``(s, 1)``.
    key
        Name of the result.
    reject
        Whether samples below the threshold are unknown.
    tally
        Letters that the model does not know, and what was taken out.
    """

    annotator: SequenceAnnotator
    block: SequenceBlock
    scores: NDArray[np.float64]
    key: str
    reject: bool = True
    tally: Tally = field(default_factory=Tally)

    @property
    def labels(self) -> NDArray[Any]:
        """``(s,)`` names of classes, ``unknown`` where rejected; or numbers."""
        if not self.annotator.classes:
            return self.scores[:, 0].astype(np.float32)
        names = np.array([*self.annotator.classes, UNKNOWN])
        low = self.reject & (self.confidence < self.annotator.frozen.threshold)
        return names[np.where(low, len(names) - 1, self.scores.argmax(1))]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """``(s,)`` probability of the likeliest class."""
        return np.asarray(self.scores.max(1), np.float32)

    def columns(self) -> dict[str, NDArray[Any]]:
        """A table with a row for each sample."""
        names = np.array(self.block.names)
        found: dict[str, NDArray[Any]] = {"name": names}
        if self.annotator.per_residue:
            lengths = self.block.lengths
            found["name"] = np.repeat(names, lengths)
            found["position"] = (
                np.arange(len(self.block.letters)) - np.repeat(self.block.offsets[:-1], lengths) + 1
            )
            found["letter"] = self.block.letters.view("S1").astype(np.str_)
        found[self.key] = self.labels
        if self.annotator.classes:
            found[f"{self.key}_confidence"] = self.confidence
            for number, name in enumerate(self.annotator.classes):
                found[f"{self.key}_p_{name}"] = self.scores[:, number].astype(np.float32)
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
    if settings.overwrite:
        raise ConfigError("`overwrite` is for jobs that write a file; give it to write_found")
    used = (
        annotator if isinstance(annotator, SequenceAnnotator) else load_sequence_annotator(annotator, model)
    )
    tally = Tally()
    block, _ = read_block(data, used.model, settings.letters, tally)
    scores = used.scores(block, settings)
    return Found(used, block, scores, settings.key or default_key(used.label), settings.reject, tally)


def write_found(found: Found, output: str | Path, *, overwrite: bool = False) -> None:
    """Write predictions as a table (``.tsv``, ``.csv``, ``.parquet``), or as ``.h5ad`` with a row a sequence.

    Raises
    ------
    ConfigError
        If the ending names none of these, or letters are labelled and it is ``.h5ad``.
    OutputError
        If the file exists and ``overwrite`` is not set.
    """
    target = Path(output)
    facts = plain(
        {
            "label": found.annotator.label,
            "model": found.annotator.reference["facts"],
            "annotator": found.annotator.facts,
            "held_out": found.annotator.report.get("held_out"),
            **found.tally.facts(),
        }
    )
    if target.suffix.lower().removeprefix(".") in TABLES:
        write_table(target, [found.columns()], facts, schema="biolm.sequence_labels/1", overwrite=overwrite)
        return
    if target.suffix != ".h5ad" or found.annotator.per_residue:
        raise ConfigError(
            f"labels of sequences are written as .{', .'.join(TABLES)} or .h5ad, of letters not as .h5ad"
        )
    refuse_existing(target, overwrite=overwrite)
    _write_h5ad(found, target, facts, overwrite=overwrite)


def _write_h5ad(found: Found, target: Path, facts: dict[str, Any], *, overwrite: bool) -> None:
    import anndata
    import pandas as pd

    columns = found.columns()
    names = pd.Index(columns.pop("name")).astype(str)
    kept = {name: values for name, values in columns.items() if not name.startswith(f"{found.key}_p_")}
    table = pd.DataFrame(kept, index=names)
    if found.annotator.classes:
        table[found.key] = pd.Categorical(kept[found.key])
    made = anndata.AnnData(obs=table)
    if found.annotator.classes:
        made.obsm[f"{found.key}_probabilities"] = found.scores.astype(np.float32)
        facts = {**facts, "classes": np.array(found.annotator.classes)}
    made.uns["biolm"] = {found.key: {key: value for key, value in facts.items() if value is not None}}
    with replacing(target, overwrite=overwrite) as temporary:
        made.write_h5ad(temporary)
