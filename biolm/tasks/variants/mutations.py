"""Mutations of proteins as people write them: ``A24G``, ``p.Ala24Gly``, several joined, places from 1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from biolm.errors import InputError

__all__ = [
    "Mutation",
    "apply_mutations",
    "check_mutations",
    "fitting_offset",
    "parse_mutations",
    "undo_mutations",
]

_NAMES = "AlaArgAsnAspCysGlnGluGlyHisIleLeuLysMetPheProSerThrTrpTyrValAsxGlxSecPylXleXaaTer"
_RESIDUES = {_NAMES[3 * at : 3 * at + 3]: letter for at, letter in enumerate("ARNDCQEGHILKMFPSTWYVBZUOJX*")}
_LETTER = f"[A-Za-z*]|{'|'.join(_RESIDUES)}"
_CHANGED = re.compile(rf"(?P<wild>{_LETTER})(?P<place>[0-9]+)(?P<mutant>{_LETTER}|[=-]|del)")
# Ranges, insertions, duplications, frame shifts and extensions of HGVS.
_OTHER = re.compile(
    rf"(?P<wild>{_LETTER})(?P<place>[0-9]+)(_(?P<last>{_LETTER})(?P<end>[0-9]+))?"
    rf"(?P<what>delins|del|ins|dup|fs|ext|(?:{_LETTER})fs)(?P<rest>[A-Za-z0-9*]*)"
)
_WILD = ("", "wt", "_wt", "wildtype", "wild-type", "=", "p.=", "p.(=)")
_DELETED, _NONE, _ANY = "-", "?", "?"


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change at one place.

    Parameters
    ----------
    wild, mutant
        Letters before and after, in upper case. ``wild`` is ``?`` where any letter may stand, as inside a
        range. ``mutant`` is ``*`` for a stop, ``-`` for a deletion and ``?`` for anything else that is no
        substitution: an insertion, duplication or frame shift.
    place
        From 0.
    """

    wild: str
    place: int
    mutant: str

    def __str__(self) -> str:
        return f"{self.wild}{self.place + 1}{self.mutant}"

    @property
    def substitutes(self) -> bool:
        """Whether one residue takes the place of another."""
        return self.wild.isalpha() and self.mutant.isalpha()


def parse_mutations(text: str, where: str = "", *, offset: int = 0) -> tuple[Mutation, ...]:
    """Mutations of one variant; none for ``wt``.

    Parameters
    ----------
    text
        Such as ``A24G:K30R``, ``A24G,K30R``, ``p.Ala24Gly``, ``R6*`` or ``R6del``.
    where
        The line, for the message.
    offset
        How much the written places exceed those of the sequence.

    Raises
    ------
    InputError
        If it is written otherwise, or names a place twice.

    Examples
    --------
    >>> [str(each) for each in parse_mutations("A24G:K30R")]
    ['A24G', 'K30R']
    >>> [str(each) for each in parse_mutations("p.[Ala24Gly;Lys30del]", offset=20)]
    ['A4G', 'K10-']
    """
    prefix = f"{where}: " if where else ""
    if text.strip().lower() in _WILD:
        return ()
    # HGVS names the protein first, with a colon that would divide mutations.
    bare = re.sub(r"^\S+:(?=p\.)", "", text.strip()).replace("p.", "")
    mutations: list[Mutation] = []
    for word in filter(None, re.split(r"[:;,+\s]+", bare.strip("[]()"))):
        changes = list(_parsed(word.strip("[]()"), offset))
        if not changes:
            raise InputError(
                f"{prefix}{text!r} is no mutation; write letter, place from 1 and new letter, such as A24G, "
                "and several as A24G:K30R"
            )
        mutations += changes
    places = [each.place for each in mutations]
    if len(set(places)) < len(places):
        raise InputError(f"{prefix}{text!r} changes one place twice; name each place once")
    return tuple(mutations)


def _parsed(word: str, offset: int) -> Iterator[Mutation]:
    """The changes that a word names; none where it is no mutation."""
    if match := _CHANGED.fullmatch(word):
        wild, mutant = _letter(match["wild"]), _letter(match["mutant"])
        mutant = {"=": wild, "DEL": _DELETED}.get(mutant, mutant)
        yield Mutation(wild, int(match["place"]) - 1 - offset, mutant)
        return
    if match := _OTHER.fullmatch(word):
        first = int(match["place"]) - 1 - offset
        last = first if match["end"] is None else int(match["end"]) - 1 - offset
        whole = match["what"] == "del" and not match["rest"]
        for place in range(first, last + 1):
            wild = match["wild"] if place == first else match["last"] if place == last else _ANY
            yield Mutation(_letter(wild), place, _DELETED if whole else _NONE)


def _letter(written: str) -> str:
    return _RESIDUES.get(written, written.upper())


def check_mutations(mutations: Sequence[Mutation], sequence: str, where: str = "") -> None:
    """Refuse mutations of another sequence; that of a stop (``*61A``) may lie behind its end.

    Parameters
    ----------
    mutations
        Of one variant.
    sequence
        The unchanged protein.
    where
        Names the variant in messages.

    Raises
    ------
    InputError
        If a place lies outside the sequence, or holds another letter than the mutation says.
    """
    prefix = f"{where}: " if where else ""
    for each in mutations:
        # A mutated stop stands one behind the last residue.
        if each.wild == "*" and each.place == len(sequence):
            continue
        if not 0 <= each.place < len(sequence):
            raise InputError(
                f"{prefix}mutation {each} lies outside the protein, whose places are 1 to {len(sequence)}; "
                "give the sequence that the places belong to"
            )
        residue = sequence[each.place].upper()
        if each.wild not in (residue, _ANY):
            raise InputError(
                f"{prefix}mutation {each} expects {each.wild} at place {each.place + 1} but the protein has "
                f"{residue} there; give the sequence that the mutations belong to"
            )


def apply_mutations(sequence: str, mutations: Sequence[Mutation]) -> str:
    """The mutated sequence, shorter where residues are deleted; all changes are substitutions or deletions.

    Parameters
    ----------
    sequence
        The unchanged protein.
    mutations
        Of one variant.

    Examples
    --------
    >>> apply_mutations("MKV", parse_mutations("K2R"))
    'MRV'
    """
    residues = list(sequence)
    for each in mutations:
        residues[each.place] = "" if each.mutant == _DELETED else each.mutant
    return "".join(residues)


def undo_mutations(sequence: str, mutations: Sequence[Mutation], where: str = "") -> str:
    """The sequence before it was mutated.

    Parameters
    ----------
    sequence
        The mutated protein.
    mutations
        That it holds.
    where
        Names the variant in messages.

    Raises
    ------
    InputError
        If it does not hold the mutations.
    """
    back = [Mutation(each.mutant, each.place, each.wild) for each in mutations]
    check_mutations(back, sequence, where)
    return apply_mutations(sequence, back)


def fitting_offset(variants: Sequence[Sequence[Mutation]], sequence: str) -> int | None:
    """The only shift of places by which the wild letters of all variants fit a sequence; None for several.

    Parameters
    ----------
    variants
        Mutations of each.
    sequence
        The unchanged protein.

    Examples
    --------
    >>> fitting_offset([parse_mutations("M11A"), parse_mutations("V13A")], "MKVL")
    10
    """
    wild_types = sorted(
        {(each.place, each.wild) for some in variants for each in some if each.wild.isalpha()}
    )
    # Insertions and stops alone name no residue that a shift could be told by.
    if not wild_types:
        return None
    text = sequence.upper()
    shifts = range(wild_types[-1][0] - len(text) + 1, wild_types[0][0] + 1)
    fitting = [shift for shift in shifts if all(text[place - shift] == wild for place, wild in wild_types)]
    return fitting[0] if len(fitting) == 1 else None
