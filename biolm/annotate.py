"""Name cells or sequences from labelled ones: ``biolm.annotate.fit``, ``biolm.annotate.predict``."""

from __future__ import annotations

from biolm.tasks.annotate.annotator import Annotator, load_annotator
from biolm.tasks.annotate.fit import fit
from biolm.tasks.annotate.gene_labels import label_genes
from biolm.tasks.annotate.predict import predict, predict_file

__all__ = ["Annotator", "fit", "label_genes", "load_annotator", "predict", "predict_file"]
