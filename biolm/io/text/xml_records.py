"""Records of an XML file one after another, in bounded memory; DTDs and entities are never read.

A DOCTYPE may stand there (BioC and MEDLINE have one) but what it names is not fetched. A file that declares
or uses an entity of its own is refused: expanding one may read other files or fill the memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from biolm.errors import InputError
from biolm.io.text.source import open_bytes

__all__ = ["clean_xml", "texts_of", "xml_attribute", "xml_records", "xml_text"]

_CHUNK = 1 << 16


class _Collector:
    """Builds the elements of the wanted names and forgets all others."""

    def __init__(self, path: Path, wanted: Collection[str], parser: Any) -> None:
        self.path, self.wanted, self.parser = path, wanted, parser
        self.builder: TreeBuilder | None = None
        self.depth, self.line = 0, 0
        self.done: list[tuple[Element, int]] = []
        # Else expat hands text over in pieces at every line end.
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.data
        parser.EntityDeclHandler = self.entity
        parser.ExternalEntityRefHandler = self.entity
        parser.SkippedEntityHandler = self.entity
        # Nothing is fetched or expanded: entities are how XML reads files and fills memories.
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.builder is None:
            if name not in self.wanted:
                return
            self.builder, self.depth, self.line = TreeBuilder(), 0, self.parser.CurrentLineNumber
        self.depth += 1
        self.builder.start(name, attributes)

    def end(self, name: str) -> None:
        if self.builder is None:
            return
        self.builder.end(name)
        self.depth -= 1
        if not self.depth:
            self.done.append((self.builder.close(), self.line))
            self.builder = None

    def data(self, text: str) -> None:
        if self.builder is not None:
            self.builder.data(text)

    def entity(self, *given: object) -> NoReturn:
        raise InputError(
            f"{self.path}, line {self.parser.CurrentLineNumber} declares or uses the entity {given[0]!r}; "
            "entities are never expanded or fetched, so replace them by their text"
        )


def xml_records(path: Path, wanted: Collection[str]) -> Iterator[tuple[Element, int]]:
    """Elements of some names, whole, with the line on which each begins.

    Parameters
    ----------
    path
        Of the file.
    wanted
        Names of the elements.

    Raises
    ------
    InputError
        If the XML is broken, cut off, or uses entities of its own.
    """
    parser = expat.ParserCreate()
    collector = _Collector(path, wanted, parser)
    with open_bytes(path) as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                parser.Parse(chunk, not chunk)
            except expat.ExpatError as error:
                raise InputError(
                    f"{path}, line {error.lineno} is broken XML ({expat.errors.messages[error.code]}); "
                    "fetch it again"
                ) from error
            yield from collector.done
            collector.done.clear()
            if not chunk:
                return


def texts_of(element: Element | None) -> str:
    """All text inside an element, that of inline markup (``<i>``, ``<sup>``, MathML) included."""
    return "" if element is None else "".join(element.itertext())


def clean_xml(text: str) -> tuple[str, int]:
    """A text without the characters that XML cannot hold, which become U+FFFD, and how many they were."""
    clean = "".join(letter if _fits(letter) else "\ufffd" for letter in text)
    return clean, sum(a != b for a, b in zip(text, clean, strict=True))


def _fits(letter: str) -> bool:
    code = ord(letter)
    return letter in "\t\n\r" or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


def xml_text(text: str) -> str:
    """Escaped text; a carriage return as a reference, as parsers turn bare ones into line ends."""
    return escape(clean_xml(text)[0], {"\r": "&#13;"})


def xml_attribute(text: str) -> str:
    """A quoted, escaped attribute."""
    return quoteattr(clean_xml(text)[0], {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})
