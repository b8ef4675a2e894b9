"""Mutations of proteins as people write them: ``A24G``, several joined by colons, places from 1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from biolm.errors import InputError

__all__ = ["Mutation", "apply_mutations", "check_mutations", "parse_mutations", "undo_mutations"]

_WRITTEN = re.compile(r"([A-Za-z])([0-9]+)([A-Za-z])")
_WILD = ("", "wt", "_wt", "wildtype", "wild-type")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One residue in place of another.

    Parameters
    ----------
    wild, mutant
        Letters before and after, in upper case.
    place
        From 0.
    """

    wild: str
    place: int
    mutant: str

    def __str__(self) -> str:
        return f"{self.wild}{self.place + 1}{self.mutant}"


def parse_mutations(text: str, where: str = "") -> tuple[Mutation, ...]:
    """Mutations of one variant; none for ``wt``.

    Parameters
    ----------
    text
        Such as ``A24G:K30R``.
    where
        The line, for the message.

    Raises
    ------
    InputError
        If it is written otherwise, or names a place twice.

    Examples
    --------
    >>> [str(each) for each in parse_mutations("A24G:K30R")]
    ['A24G', 'K30R']
    """
    prefix = f"{where}: " if where else ""
    if text.strip().lower() in _WILD:
        return ()
    found = []
    for word in text.strip().split(":"):
        match = _WRITTEN.fullmatch(word.strip())
        if match is None:
            raise InputError(
                f"{prefix}{text!r} is no mutation; write letter, place from 1 and new letter, such as A24G, "
                "and several as A24G:K30R"
            )
        wild, place, mutant = match.groups()
        found.append(Mutation(wild.upper(), int(place) - 1, mutant.upper()))
    places = [each.place for each in found]
    if len(set(places)) < len(places):
        raise InputError(f"{prefix}{text!r} changes one place twice; name each place once")
    return tuple(found)


def check_mutations(mutations: Sequence[Mutation], sequence: str, where: str = "") -> None:
    """Refuse mutations of another sequence.

    Raises
    ------
    InputError
        If a place lies outside the sequence, or holds another letter than the mutation says.
    """
    prefix = f"{where}: " if where else ""
    for each in mutations:
        if not 0 <= each.place < len(sequence):
            raise InputError(
                f"{prefix}mutation {each} lies outside the protein, whose places are 1 to {len(sequence)}; "
                "give the sequence that the places belong to"
            )
        held = sequence[each.place].upper()
        if held != each.wild:
            raise InputError(
                f"{prefix}mutation {each} expects {each.wild} at place {each.place + 1} but the protein has "
                f"{held} there; give the sequence that the mutations belong to"
            )


def apply_mutations(sequence: str, mutations: Sequence[Mutation]) -> str:
    """The mutated sequence.

    Examples
    --------
    >>> apply_mutations("MKV", parse_mutations("K2R"))
    'MRV'
    """
    letters = list(sequence)
    for each in mutations:
        letters[each.place] = each.mutant
    return "".join(letters)


def undo_mutations(sequence: str, mutations: Sequence[Mutation], where: str = "") -> str:
    """The sequence before it was mutated.

    Raises
    ------
    InputError
        If it does not hold the mutations.
    """
    back = [Mutation(each.mutant, each.place, each.wild) for each in mutations]
    check_mutations(back, sequence, where)
    return apply_mutations(sequence, back)
