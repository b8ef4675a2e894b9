"""Tag schemes of token files: IOB1, IOB2, BIOES (BILOU) and IO; recognised over a whole file, converted.

A tag is ``O``, or a prefix, a dash and a type. Entities are ``(first, last + 1, type)`` in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from biolm.errors import InputError

__all__ = ["SCHEMES", "SchemeEvidence", "decode_tags", "encode_tags", "recognise_scheme", "split_tag"]

SCHEMES = ("IOB2", "IOB1", "BIOES", "BILOU", "IO")
"""The first that fits a file is taken; a file with nothing but ``B-`` and ``O`` fits IOB2."""

_LETTERS = {"IOB2": "BIO", "IOB1": "BIO", "BIOES": "BIOES", "BILOU": "BILOU", "IO": "IO"}
_SAME = {"L": "E", "U": "S"}
Entity = tuple[int, int, str]


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag.

    Examples
    --------
    >>> split_tag("B-Disease"), split_tag("O"), split_tag("S-MESH:D001943")
    (('B', 'Disease'), ('O', ''), ('S', 'MESH:D001943'))
    """
    if tag == "O":
        return "O", ""
    prefix, dash, kind = tag.partition("-")
    if not dash or not kind or prefix not in "BIESLU" or len(prefix) != 1:
        raise InputError(
            f"label {tag!r} is of no scheme that biolm knows; labels are O, or one of B- I- E- S- L- "
            "U- and a type"
        )
    return prefix, kind


@dataclass(slots=True)
class SchemeEvidence:
    """What the sentences of a file rule out; feed it with :meth:`add`, then ask :meth:`scheme`.

    Examples
    --------
    >>> evidence = SchemeEvidence()
    >>> evidence.add(["I-X", "B-X", "O"])
    >>> evidence.scheme()
    'IOB1'
    """

    seen: set[str] = field(default_factory=set)
    against: dict[str, str] = field(default_factory=dict)

    def add(self, tags: Sequence[str], where: str = "") -> None:
        """Take the tags of one sentence; ``where`` says which, for messages.

        Parameters
        ----------
        tags
            Of one sentence.
        where
            Which sentence, for messages.
        """
        before = ("O", "")
        for number, tag in enumerate([*tags, "O"]):
            here = split_tag(tag)
            if number < len(tags):
                self.seen.add(here[0])
            for scheme in _broken(before, here):
                self.against.setdefault(scheme, f"{where}{before[0]}-{before[1]} before {tag}")
            before = here

    def scheme(self) -> str:
        """The scheme that every sentence fits.

        Raises
        ------
        InputError
            If none does.
        """
        for scheme in SCHEMES:
            if self.seen - {"O"} <= set(_LETTERS[scheme]) and scheme not in self.against:
                return scheme
        place = self.against.get("IOB2") or next(iter(self.against.values()), "")
        raise InputError(
            f"the labels ({', '.join(sorted(self.seen))}) follow none of {', '.join(SCHEMES)} over the whole "
            f"file; IOB2 is broken first at {place}; correct them or name the scheme (`scheme`)"
        )


def _broken(before: tuple[str, str], here: tuple[str, str]) -> list[str]:
    """Schemes that do not allow one tag after another."""
    (left, left_kind), (right, right_kind) = before, here
    same = left != "O" and left_kind == right_kind
    broken = []
    # IOB2 begins every entity with B.
    if right == "I" and not same:
        broken.append("IOB2")
    # IOB1 writes B only where two entities of a type touch.
    if right == "B" and not same:
        broken.append("IOB1")
    left, right = _SAME.get(left, left), _SAME.get(right, right)
    opened, goes_on = left in "BI", right in "IE"
    if left != "O" or right != "O":
        if opened != goes_on or (goes_on and not same):
            broken += ["BIOES", "BILOU"]
        if "B" in (left, right):
            broken.append("IO")
    return broken


def recognise_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of all sentences together.

    Examples
    --------
    >>> recognise_scheme([["B-X", "I-X"], ["O", "B-X"]]), recognise_scheme([["S-X", "O", "B-X", "E-X"]])
    ('IOB2', 'BIOES')
    """
    evidence = SchemeEvidence()
    for number, tags in enumerate(sentences, 1):
        evidence.add(tags, f"sentence {number}, ")
    return evidence.scheme()


def decode_tags(tags: Sequence[str], scheme: str) -> list[Entity]:
    """Entities of one sentence, read strictly: a tag that continues nothing begins an entity in IOB1 only.

    Parameters
    ----------
    tags
        Of one sentence.
    scheme
        One of :data:`SCHEMES`.

    Examples
    --------
    >>> decode_tags(["B-X", "I-X", "B-X", "O", "I-X"], "IOB2")
    [(0, 2, 'X'), (2, 3, 'X')]
    >>> decode_tags(["I-X", "I-X", "B-X"], "IOB1")
    [(0, 2, 'X'), (2, 3, 'X')]
    """
    entities: list[Entity] = []
    start, kind = -1, ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, name = split_tag(tag)
        prefix = _SAME.get(prefix, prefix)
        goes_on = start >= 0 and name == kind and prefix in "IE"
        if start >= 0 and not goes_on:
            if scheme not in ("BIOES", "BILOU"):
                entities.append((start, place, kind))
            start = -1
        if goes_on:
            if prefix == "E":
                entities.append((start, place + 1, kind))
                start = -1
        elif prefix == "S":
            entities.append((place, place + 1, name))
        elif prefix == "B" or (prefix == "I" and scheme in ("IOB1", "IO")):
            start, kind = place, name
    return entities


def encode_tags(entities: Iterable[Entity], length: int, scheme: str = "IOB2") -> list[str]:
    """Tags of one sentence from entities that do not overlap.

    Parameters
    ----------
    entities
        Of one sentence.
    length
        Its words.
    scheme
        ``IOB1``, ``IOB2``, ``BIOES`` or ``BILOU``.

    Raises
    ------
    InputError
        If two of them overlap.

    Examples
    --------
    >>> encode_tags([(0, 2, "X"), (2, 3, "X")], 3, "BIOES")
    ['B-X', 'E-X', 'S-X']
    >>> encode_tags([(0, 2, "X"), (2, 3, "X")], 3, "IOB1")
    ['I-X', 'I-X', 'B-X']
    """
    tags = ["O"] * length
    last = {"BIOES": ("E", "S"), "BILOU": ("L", "U")}.get(scheme)
    before = (-1, "")
    for start, end, kind in sorted(entities):
        if any(tag != "O" for tag in tags[start:end]):
            raise InputError(f"entities overlap at word {start}; tags hold one entity a word")
        first = "B"
        if scheme == "IO" or (scheme == "IOB1" and before != (start, kind)):
            first = "I"
        tags[start:end] = [f"{first}-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        if last is not None:
            tags[end - 1] = f"{last[1] if end - start == 1 else last[0]}-{kind}"
        before = (end, kind)
    return tags
