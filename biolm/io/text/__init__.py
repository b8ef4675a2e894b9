"""Documents: BioC, PubTator, BRAT, CoNLL, JSONL, MEDLINE and plain text into one type, and back."""

from biolm.io.text.document import Document, Mention, Passage, Relation
from biolm.io.text.formats import ReadOptions, read_documents, write_documents
from biolm.io.text.losses import Losses
from biolm.io.text.raw import ReadReport

__all__ = [
    "Document",
    "Losses",
    "Mention",
    "Passage",
    "ReadOptions",
    "ReadReport",
    "Relation",
    "read_documents",
    "write_documents",
]
