"""Options that commands of text share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from biolm.cli.arguments import Common, part
from biolm.common_options import Overwrite, input_argument, output_option
from biolm.io.text.formats import OnDuplicate, OnEmpty, OnMismatch, ReadOptions, Scheme
from biolm.options import Option

if TYPE_CHECKING:
    from biolm.io.text import Document, ReadReport

__all__ = [
    "AnswerMismatch",
    "KeyVariable",
    "PieceBatch",
    "TextInput",
    "Timeout",
    "TransformersFolder",
    "documents_of",
]

AnswerMismatch = Annotated[str, Option(help="An answer not at its place: error or skip.")]
KeyVariable = Annotated[
    str, Option(help="Environment variable with the server's key.", shown="no key", needs=("server",))
]
PieceBatch = Annotated[int, Option(help="Pieces of a batch.", min=1, panel="Run")]
Timeout = Annotated[
    float, Option(help="Seconds without a byte from the server.", min=0.01, needs=("server",))
]
TransformersFolder = Annotated[Path, output_option("Folder to write; transformers reads it too.")]

_FORMATS = "bioc-xml, bioc-json, pubtator, brat, conll, jsonl, medline, nbib, text or lines."


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextInput(Common):
    """Input and options of every command that reads documents."""

    input: Annotated[Path, input_argument("File or folder of documents, gzipped or not.")]
    input_format: Annotated[str | None, Option(help=_FORMATS, shown="recognised")] = None
    on_mismatch: OnMismatch = "error"
    on_duplicate: OnDuplicate = "error"
    on_empty: OnEmpty = "error"
    scheme: Scheme = None
    overwrite: Overwrite = False

    def reading(self) -> ReadOptions:
        """How to read the documents."""
        return part(self, ReadOptions, format=self.input_format)


def documents_of(chosen: TextInput, path: Path | None = None) -> tuple[list[Document], ReadReport]:
    """All documents of the input or of another file, and what the reader reports, which is also logged.

    Parameters
    ----------
    chosen
        Arguments of the command.
    path
        Another file than the input.
    """
    from biolm.io.text import ReadReport, read_documents
    from biolm.progress import log

    report = ReadReport()
    documents = list(read_documents(path or chosen.input, chosen.reading(), report=report))
    log.info("%s: %s", path or chosen.input, report)
    return documents, report
