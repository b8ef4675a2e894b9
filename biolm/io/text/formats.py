"""Read and write documents: formats by name, recognised by the ending and the content.

- ``bioc-xml``: BioC XML: every mention, relations, passages
- ``bioc-json``: the same as JSON
- ``pubtator``: title, abstract, contiguous mentions, relations between identifiers
- ``brat``: a folder of ``.txt`` and ``.ann``: mentions, relations between mentions
- ``conll``: words and tags (IOB1, IOB2, BIOES, BILOU)
- ``jsonl``: one JSON object a line; holds everything
- ``medline``: MEDLINE or PubMed XML (read only)
- ``nbib``: MEDLINE display format (read only)
- ``text``: one document a file · ``lines`` one document a line
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Annotated

from biolm.errors import ConfigError, InputError
from biolm.io.atomic import replacing
from biolm.io.damage import each_named
from biolm.io.text.bioc import raw_bioc_json, raw_bioc_xml, write_bioc_json, write_bioc_xml
from biolm.io.text.brat import raw_brat, write_brat
from biolm.io.text.conll import read_conll, write_conll
from biolm.io.text.document import Document
from biolm.io.text.jsonl import read_jsonl, write_jsonl
from biolm.io.text.losses import Losses
from biolm.io.text.medline import read_medline
from biolm.io.text.nbib import read_nbib
from biolm.io.text.pubtator import raw_pubtator, write_pubtator
from biolm.io.text.raw import Policy, RawDocument, ReadReport, settle
from biolm.io.text.source import open_text, stem_of
from biolm.options import Option, check_options

__all__ = [
    "READERS",
    "WRITERS",
    "OnDuplicate",
    "OnEmpty",
    "OnMismatch",
    "ReadOptions",
    "Scheme",
    "format_of",
    "read_documents",
    "write_documents",
]

READERS = ("bioc-xml", "bioc-json", "pubtator", "brat", "conll", "jsonl", "medline", "nbib", "text", "lines")
WRITERS = ("bioc-xml", "bioc-json", "pubtator", "brat", "conll", "jsonl", "text")
_ENDINGS = {
    ".nbib": "nbib",
    ".medline": "nbib",
    ".pubtator": "pubtator",
    ".ann": "brat",
    ".conll": "conll",
    ".iob": "conll",
    ".tsv": "conll",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}

_POLICIES = ("error", "skip", "keep")
OnMismatch = Annotated[
    Policy, Option(help="A mention that is not where the file says: error, skip or keep.", choices=_POLICIES)
]
OnDuplicate = Annotated[
    Policy, Option(help="A name that comes again: error, skip or keep.", choices=_POLICIES)
]
OnEmpty = Annotated[Policy, Option(help="A document without text: error, skip or keep.", choices=_POLICIES)]
Scheme = Annotated[str | None, Option(help="Tag scheme of a CoNLL file.", shown="recognised")]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What to do with what does not fit.

    Parameters
    ----------
    format
        One of :data:`READERS`; recognised by default.
    on_mismatch
        A mention whose text is not where it is said to be: ``error``, ``skip`` or ``keep``.
    on_duplicate
        A document name that comes again: ``error``, ``skip``, or ``keep`` under a new name (``123#2``).
    on_empty
        A document without text: ``error``, ``skip`` or ``keep``.
    scheme
        Tag scheme of a CoNLL file; recognised by default.
    """

    format: str | None = None
    on_mismatch: OnMismatch = "error"
    on_duplicate: OnDuplicate = "error"
    on_empty: OnEmpty = "error"
    scheme: Scheme = None

    def __post_init__(self) -> None:
        check_options(self)
        if self.format is not None and self.format not in READERS:
            raise ConfigError(f"format must be one of {', '.join(READERS)}, not {self.format!r}")


def format_of(path: Path) -> str:
    """The format of a file or folder.

    Raises
    ------
    InputError
        If neither name nor beginning says it.
    """
    if path.is_dir():
        return "brat" if any(path.glob("*.ann")) else "text"
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    with open_text(path) as file:
        head = file.read(4096)
    start = head.lstrip()
    if start.startswith("<"):
        return "medline" if "<collection" not in head and "BioC.dtd" not in head else "bioc-xml"
    if start.startswith(("{", "[")):
        return "bioc-json"
    first = start.partition("\n")[0]
    if "|t|" in first or "|a|" in first:
        return "pubtator"
    if first.startswith("PMID- "):
        return "nbib"
    if ending in (".txt", ""):
        return "text"
    raise InputError(f"{path}: the format cannot be inferred from its name or beginning; name it (`format`)")


def read_documents(
    path: Path | Iterable[Path], options: ReadOptions | None = None, *, report: ReadReport | None = None
) -> Iterator[Document]:
    r"""Documents of a file, of a folder, or of several files, one after another.

    Parameters
    ----------
    path
        What to read; several MEDLINE files are taken in the order of publication.
    options
        See :class:`ReadOptions`.
    report
        Counts what was read.

    Raises
    ------
    InputError
        For what the options do not allow, naming file and line or document.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "one.pubtator"
    ...     _ = file.write_text("1|t|Aspirin\n1|a|causes ulcers.\n1\t15\t21\tulcers\tDisease\tD014456\n")
    ...     [document] = read_documents(file)
    >>> document.mentions[0].spans, document.mentions[0].ids
    (((15, 21),), 'MESH:D014456')
    """
    options = options or ReadOptions()
    report = ReadReport() if report is None else report
    paths = [path] if isinstance(path, Path) else list(path)
    for each in paths:
        if not each.exists():
            raise InputError(f"there is no file {each}; check the name")
    # All are looked at before the first is read: a missing file should not show after an hour.
    kinds = [options.format or format_of(each) for each in paths]
    # Update files replace and delete records of earlier ones, so these are read together.
    if set(kinds) == {"medline"}:
        documents: Iterator[Document] = each_named(read_medline(paths, report), paths[0])
    else:
        documents = chain.from_iterable(
            each_named(_read(each, kind, options, report), each)
            for each, kind in zip(paths, kinds, strict=True)
        )
    yield from _screened(documents, options, report)


def _read(path: Path, kind: str, options: ReadOptions, report: ReadReport) -> Iterator[Document]:
    raws: dict[str, Callable[[], Iterator[RawDocument]]] = {
        "bioc-xml": lambda: raw_bioc_xml(path),
        "bioc-json": lambda: raw_bioc_json(path),
        "pubtator": lambda: raw_pubtator(path),
        "brat": lambda: raw_brat(path, report),
    }
    if kind in raws:
        yield from settle(raws[kind], report, on_mismatch=options.on_mismatch)
    elif kind == "medline":
        yield from read_medline([path], report)
    else:
        for document in _plain(path, kind, options):
            report.documents += 1
            report.mentions += len(document.mentions)
            yield document


def _plain(path: Path, kind: str, options: ReadOptions) -> Iterator[Document]:
    if kind == "conll":
        yield from read_conll(path, scheme=options.scheme)
    elif kind == "jsonl":
        yield from read_jsonl(path)
    elif kind == "nbib":
        yield from read_nbib(path)
    elif kind == "text":
        for file in sorted(path.glob("*.txt")) if path.is_dir() else [path]:
            with open_text(file) as text:
                yield Document(stem_of(file), text.read().replace("\r\n", "\n"))
    else:
        with open_text(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield Document(f"{stem_of(path)}:{number}", line.rstrip("\r\n"))


def _screened(documents: Iterator[Document], options: ReadOptions, report: ReadReport) -> Iterator[Document]:
    """Documents with a text and a name of their own."""
    seen: dict[str, int] = {}
    for document in documents:
        if not document.text.strip() and options.on_empty != "keep":
            if options.on_empty == "error":
                raise InputError(
                    f'document {document.name} is empty; take it out, or leave such out (`on_empty="skip"`)'
                )
            report.counts["empty documents, left out"] += 1
            continue
        seen[document.name] = seen.get(document.name, 0) + 1
        if seen[document.name] > 1:
            if options.on_duplicate == "error":
                raise InputError(
                    f'document {document.name} comes twice; take one out, or skip it (`on_duplicate="skip"`)'
                )
            report.counts["documents whose name came before"] += 1
            if options.on_duplicate == "skip":
                continue
            name = f"{document.name}#{seen[document.name]}"
            document = replace(document, name=name)
        yield document


def write_documents(
    documents: Iterable[Document],
    path: Path,
    *,
    format: str | None = None,  # noqa: A002  # what everybody calls it
    overwrite: bool = False,
) -> Losses:
    """Write documents in one of the formats :data:`WRITERS`; gzipped where the name ends in ``.gz``.

    Parameters
    ----------
    documents
        What to write, streamed.
    path
        File, or folder for BRAT.
    format
        By the ending where not given: .xml, .json, .pubtator, .conll or .tsv, .jsonl, .txt; none is BRAT.
    overwrite
        Replace an existing output.

    Returns
    -------
    What the format could not hold.

    Raises
    ------
    ConfigError
        If the format is not one of them.
    OutputError
        If the output exists already.
    """
    kind = format or _format_to_write(path)
    if kind not in WRITERS:
        raise ConfigError(f"format to write must be one of {', '.join(WRITERS)}, not {kind!r}")
    with replacing(path, overwrite=overwrite) as target:
        if kind == "brat":
            return write_brat(documents, target)
        with _created(target, zipped=path.suffix == ".gz") as file:
            if kind == "text":
                return _write_text(documents, file)
            write = {
                "bioc-xml": write_bioc_xml,
                "bioc-json": write_bioc_json,
                "pubtator": write_pubtator,
                "conll": write_conll,
                "jsonl": write_jsonl,
            }[kind]
            return write(documents, file)


def _format_to_write(path: Path) -> str:
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    known = _ENDINGS | {".xml": "bioc-xml", ".json": "bioc-json", ".txt": "text", "": "brat", ".ann": ""}
    return known.get(ending, ending)


@contextmanager
def _created(path: Path, *, zipped: bool) -> Iterator[IO[str]]:
    if zipped:
        with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
            yield file
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file


def _write_text(documents: Iterable[Document], file: IO[str]) -> Losses:
    losses = Losses("text")
    for document in documents:
        file.write(document.text + "\n")
        for _ in document.mentions:
            losses.add("mention", document.name)
    return losses
