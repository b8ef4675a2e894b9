"""Score variants of one protein.

Dimensions: ``m`` variants · ``p`` places that any of them changes · ``c`` letters · ``k`` methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock
from biolm.tasks.variants.mutations import Mutation

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel, SequenceOptions

__all__ = [
    "ProteinVariant",
    "Substitutions",
    "WholeSequences",
    "letter_ids",
    "marginal_sums",
    "sequence_borders",
]

# Letters of a block: of sequences that are read once, and of those whose letters are masked one by one.
_READ, _HIDDEN = 1 << 18, 1 << 13


@dataclass(frozen=True, slots=True)
class ProteinVariant:
    """One variant.

    Parameters
    ----------
    sequence
        The mutated protein; '' where it has no score, as behind a stop or a frame shift.
    mutations
        What was changed; None where that is no list of substitutions, as for insertions and deletions.
    where
        Its line, for messages.
    """

    sequence: str
    mutations: tuple[Mutation, ...] | None
    where: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Substitutions:
    """What variants change in the unchanged protein: all that a marginal of theirs is a sum of.

    Parameters
    ----------
    model, wild
        An encoder with a token for each residue; the unchanged protein.
    places
        ``(p,)`` places that any variant changes.
    ids
        ``(c,)`` tokens of the letters that are there or come there.
    sums
        Arrays by name: ``start`` ``(m,)`` is NaN for variants without a marginal and 0 for others; a change
        of the variant ``variant`` at ``places[place]`` goes from the letter ``wild`` to ``mutant``.
    """

    model: SequenceModel
    wild: str
    places: NDArray[np.int64]
    ids: NDArray[np.int64]
    sums: Mapping[str, NDArray[Any]]

    @classmethod
    def of(
        cls, model: SequenceModel, wild: str, variants: Sequence[ProteinVariant], method: str
    ) -> Substitutions:
        """The changes of some variants.

        Parameters
        ----------
        model
            An encoder with a token for each residue.
        wild
            The unchanged protein.
        variants
            ``m`` variants with their mutations.
        method
            Names the marginal in messages.

        Raises
        ------
        InputError
            If no variant is made of substitutions, and one could be scored by another method.
        ConfigError
            If the model has no token for each residue.
        """
        if not model.tokenizer.one_to_one:
            raise ConfigError(
                f"model {model.name} has no token for each residue; use pseudo-perplexity or one-pass"
            )
        if variants and all(v.mutations is None for v in variants) and any(v.sequence for v in variants):
            raise InputError(
                f"{variants[0].where}: the {method} needs mutations such as A24G, which insertions and "
                "deletions have not; use pseudo-perplexity or one-pass"
            )
        every = [(row, change) for row, each in enumerate(variants) for change in each.mutations or ()]
        # Only letters that occur: a column each of a table over all places.
        residues = sorted({letter for _, change in every for letter in (change.wild, change.mutant)})
        column = {letter: place for place, letter in enumerate(residues)}
        ids = letter_ids(model, residues)
        places = np.unique([change.place for _, change in every]).astype(np.int64)
        start = np.where([each.mutations is None for each in variants], np.nan, 0.0)
        rows = []
        for variant, change in every:
            if change.wild == change.mutant:
                continue
            before, after = column[change.wild], column[change.mutant]
            # One residue that the model cannot read makes the variant's sum meaningless, not smaller.
            if min(ids[before], ids[after]) < 0:
                start[variant] = np.nan
                continue
            rows.append((variant, np.searchsorted(places, change.place), before, after))
        table = np.array(rows, np.int64).reshape(-1, 4)
        names = ("variant", "place", "wild", "mutant")
        sums = {"start": start, **{name: table[:, at].copy() for at, name in enumerate(names)}}
        return cls(model=model, wild=wild, places=places, ids=ids, sums=sums)

    def borders(self, method: str, options: SequenceOptions) -> NDArray[np.int64]:
        """Where blocks of ``places`` begin and end; the unmasked protein is one pass.

        Parameters
        ----------
        method
            How they are scored.
        options
            Sizes of windows and batches.
        """
        from biolm.tasks.variants.likelihood import masked_step

        if method == "wt-marginal":
            return np.array([0, len(self.places)])
        step = masked_step(self.model, self.model.tokenize(SequenceBlock.of([self.wild])), options)
        return np.append(np.arange(0, len(self.places), step), len(self.places))

    def table(self, method: str, first: int, last: int, options: SequenceOptions) -> NDArray[np.float32]:
        """``(·, c)`` log-probabilities of the letters at ``places[first:last]``.

        After Meier et al. (2021): ``masked-marginal`` masks each place in turn, one pass a place;
        ``wt-marginal`` masks nothing and takes one pass in all.

        Parameters
        ----------
        method
            ``wt-marginal`` or ``masked-marginal``.
        first, last
            Two of :meth:`borders`.
        options
            Budget, device, precision, longest window.
        """
        from biolm.tasks.variants.likelihood import Groups, masked, read_once

        tokens = self.model.tokenize(SequenceBlock.of([self.wild]))
        places = self.places[first:last]
        if method == "wt-marginal":
            targets = np.tile(self.ids.clip(0), (len(self.wild), 1))
            return read_once(self.model, tokens, targets, options)[places]
        targets = np.tile(self.ids.clip(0), (len(places), 1))
        groups = Groups.single(np.zeros(len(places), np.int64), places, targets)
        return masked(self.model, tokens, groups, options)


def marginal_sums(sums: Mapping[str, NDArray[Any]], table: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(m,)`` sum over its mutations of log p(mutant) - log p(wild type), both in the unchanged protein.

    Parameters
    ----------
    sums
        As of :class:`Substitutions`.
    table
        ``(p, c)`` log-probabilities of all its places.

    Returns
    -------
    0 for a variant without mutations, NaN where its changes are no substitutions or the model has no token
    for a letter of them.
    """
    scores: NDArray[np.float64] = np.array(sums["start"], np.float64)
    doubled = table.astype(np.float64)
    place = sums["place"]
    np.add.at(scores, sums["variant"], doubled[place, sums["mutant"]] - doubled[place, sums["wild"]])
    return scores


@dataclass(kw_only=True)
class WholeSequences:
    """How much likelier whole mutated proteins are than the unchanged one.

    ``pseudo-perplexity`` and ``one-pass`` give log pseudo-perplexity of the wild type minus that of the
    variant, which are means over residues, so that insertions and deletions can be compared. ``causal`` gives
    the difference of log-likelihoods, which are sums.

    Parameters
    ----------
    model, wild
        The model; the unchanged protein.
    sequences
        ``m`` mutated ones.
    methods
        ``k`` among ``pseudo-perplexity``, ``one-pass`` and ``causal``.
    options
        Budget, device, precision, longest window.
    """

    model: SequenceModel
    wild: str
    sequences: Sequence[str]
    methods: Sequence[str]
    options: SequenceOptions

    def scores(self, first: int, last: int) -> NDArray[np.float64]:
        """``(·, k)`` scores of the sequences ``first`` to ``last``, two of :func:`sequence_borders`.

        NaN for '' and where the model has no token for a letter that the wild type does not have.

        Parameters
        ----------
        first, last
            Sequences, ``last`` not included; two of :func:`sequence_borders`.
        """
        texts = [text.upper() for text in self.sequences[first:last]]
        # Assays list one mutant several times; each is read once.
        unique = [text for text in dict.fromkeys(texts) if text and self._unread.isdisjoint(text)]
        row = {text: place for place, text in enumerate(unique)}
        block = np.full((len(unique) + 1, len(self.methods)), np.nan)
        for place, (method, zero) in enumerate(zip(self.methods, self._zeros, strict=True)):
            block[:-1, place] = self._measure(unique, method) - zero if unique else 0
        return block[[row.get(text, -1) for text in texts]]

    @cached_property
    def _zeros(self) -> list[float]:
        """Likelihood of the wild type by each method."""
        return [float(self._measure([self.wild.upper()], method)[0]) for method in self.methods]

    @cached_property
    def _unread(self) -> set[str]:
        """Letters that only variants have and the model does not know."""
        residues = sorted(set("".join(self.sequences).upper()) - set(self.wild.upper()))
        ids = letter_ids(self.model, residues)
        return {letter for letter, number in zip(residues, ids, strict=True) if number < 0}

    def _measure(self, texts: list[str], method: str) -> NDArray[np.float64]:
        from biolm.tasks.variants.likelihood import token_scores

        scores = token_scores(self.model, self.model.tokenize(SequenceBlock.of(texts)), method, self.options)
        # Decoders score whole sequences; pseudo-perplexities of two lengths compare by the mean.
        return scores.sums if method == "causal" else scores.means


def sequence_borders(sequences: Sequence[str], methods: Sequence[str]) -> NDArray[np.int64]:
    """Where blocks of sequences begin and end; they depend on the sequences and methods alone.

    Parameters
    ----------
    sequences
        Of the variants.
    methods
        By which they are scored.
    """
    most = _HIDDEN if "pseudo-perplexity" in methods else _READ
    borders, residues = [0], 0
    for place, text in enumerate(sequences):
        # Fixed by the sequences, not by the machine: a block is what a shard or a resumed job counts in.
        if residues and residues + len(text) > most:
            borders.append(place)
            residues = 0
        residues += len(text)
    return np.array([*borders, len(sequences)])


def letter_ids(model: SequenceModel, letters: Sequence[str]) -> NDArray[np.int64]:
    """``(c,)`` tokens of single letters, -1 for those that the model does not know.

    Models whose tokens are several letters have 0 for all.

    Parameters
    ----------
    model
        The model.
    letters
        One residue each.
    """
    if not len(letters):
        return np.zeros(0, np.int64)
    if not model.tokenizer.one_to_one:
        return np.zeros(len(letters), np.int64)
    tokens = model.tokenize(SequenceBlock.of(list(letters)), policy="unknown")
    ids = tokens.ids[tokens.offsets[:-1] + model.preprocessor.special[0]].astype(np.int64)
    unknown = model.tokenizer.special.unknown
    # X is how an unknown residue is written, so its token is the right one.
    unread = [number == unknown and letter != "X" for letter, number in zip(letters, ids, strict=True)]
    return np.where(unread, -1, ids)
