"""Label sequences, or each of their letters, by what labelled ones taught."""

from __future__ import annotations

from biolm.tasks.annotate_sequences.annotator import SequenceAnnotator, load_sequence_annotator
from biolm.tasks.annotate_sequences.fit import fit_sequences
from biolm.tasks.annotate_sequences.predict import Found, predict_sequences, write_found

__all__ = [
    "Found",
    "SequenceAnnotator",
    "fit_sequences",
    "load_sequence_annotator",
    "predict_sequences",
    "write_found",
]
