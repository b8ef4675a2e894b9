"""Score variants of one protein.

Dimensions: ``m`` variants · ``p`` places that any of them changes · ``c`` letters · ``k`` methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock
from biolm.progress import progress
from biolm.tasks.variants.mutations import Mutation

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel, SequenceOptions

__all__ = ["ProteinVariant", "letter_ids", "sequence_borders", "sequence_scores", "table_scores"]

# Letters of a block: of sequences that are read once, and of those whose letters are hidden one by one.
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


def table_scores(
    model: SequenceModel,
    wild: str,
    variants: Sequence[ProteinVariant],
    method: str,
    options: SequenceOptions,
    *,
    show: bool = False,
) -> NDArray[np.float64]:
    """Sum over its mutations of log p(mutant) - log p(wild type), both in the unchanged protein.

    After Meier et al. (2021): ``masked-marginal`` hides each changed place in turn, one pass a place;
    ``wt-marginal`` hides nothing and takes one pass in all.

    Parameters
    ----------
    model
        An encoder with a token for each residue.
    wild
        The unchanged protein.
    variants
        Variants, all with their mutations.
    method
        ``wt-marginal`` or ``masked-marginal``.
    options
        Budget, device, precision, longest window.
    show
        Whether to draw progress.

    Returns
    -------
    ``(m,)``; 0 for a variant without mutations, NaN where its changes are no substitutions or the model has
    no token for a letter of them.

    Raises
    ------
    InputError
        If no variant is made of substitutions, and one could be scored by another method.
    ConfigError
        If the model has no token for each residue.
    """
    from biolm.tasks.variants.likelihood import Groups, masked, read_once

    if not model.tokenizer.one_to_one:
        raise ConfigError(
            f"model {model.name} has no token for each residue; use pseudo-perplexity or one-pass"
        )
    if variants and all(each.mutations is None for each in variants) and any(v.sequence for v in variants):
        raise InputError(
            f"{variants[0].where}: the {method} needs mutations such as A24G, which insertions and deletions "
            "have not; use pseudo-perplexity or one-pass"
        )
    every = [(row, change) for row, each in enumerate(variants) for change in each.mutations or ()]
    letters = sorted({letter for _, change in every for letter in (change.wild, change.mutant)})
    column = {letter: place for place, letter in enumerate(letters)}
    ids = letter_ids(model, letters)
    places = np.unique([change.place for _, change in every]).astype(np.int64)
    tokens = model.tokenize(SequenceBlock.of([wild]))
    with progress(method, len(places), show=show, unit="places") as advance:
        if method == "masked-marginal":
            targets = np.tile(ids.clip(0), (len(places), 1))
            groups = Groups.single(np.zeros(len(places), np.int64), places, targets)
            table = masked(model, tokens, groups, options, advance)
        else:
            table = read_once(model, tokens, np.tile(ids.clip(0), (len(wild), 1)), options)[places]
    scores = np.where([each.mutations is None for each in variants], np.nan, 0.0)
    row_of = {place: row for row, place in enumerate(places.tolist())}
    for variant, change in every:
        if change.wild == change.mutant:
            continue
        if min(ids[column[change.wild]], ids[column[change.mutant]]) < 0:
            scores[variant] = np.nan
            continue
        held = table[row_of[change.place]]
        scores[variant] += float(held[column[change.mutant]]) - float(held[column[change.wild]])
    return scores


def sequence_scores(
    model: SequenceModel,
    wild: str,
    sequences: Sequence[str],
    methods: Sequence[str],
    options: SequenceOptions,
    *,
    start: int = 0,
) -> Iterator[NDArray[np.float64]]:
    """How much likelier whole mutated proteins are than the unchanged one, block by block.

    ``pseudo-perplexity`` and ``one-pass`` give log pseudo-perplexity of the wild type minus that of the
    variant, which are means over residues, so that insertions and deletions can be compared. ``causal`` gives
    the difference of log-likelihoods, which are sums.

    Parameters
    ----------
    model
        The model.
    wild
        The unchanged protein.
    sequences
        The mutated ones.
    methods
        Among ``pseudo-perplexity``, ``one-pass`` and ``causal``.
    options
        Budget, device, precision, longest window.
    start
        First sequence, one of :func:`sequence_borders`.

    Yields
    ------
    ``(·, k)`` scores of consecutive sequences by each method; NaN for '' and where the model has no token for
    a letter that the wild type does not have.
    """
    from biolm.tasks.variants.likelihood import token_scores

    wild = wild.upper()
    letters = sorted(set("".join(sequences).upper()) - set(wild))
    strange = {
        letter for letter, number in zip(letters, letter_ids(model, letters), strict=True) if number < 0
    }

    def measure(texts: list[str], method: str) -> NDArray[np.float64]:
        scores = token_scores(model, model.tokenize(SequenceBlock.of(texts)), method, options)
        return scores.sums if method == "causal" else scores.means

    zeros = [float(measure([wild], method)[0]) for method in methods]
    borders = sequence_borders(sequences, methods).tolist()
    for first, last in pairwise(borders[borders.index(start) :]):
        texts = [text.upper() for text in sequences[first:last]]
        unique = [text for text in dict.fromkeys(texts) if text and strange.isdisjoint(text)]
        row = {text: place for place, text in enumerate(unique)}
        block = np.full((len(unique) + 1, len(methods)), np.nan)
        for place, (method, zero) in enumerate(zip(methods, zeros, strict=True)):
            block[:-1, place] = measure(unique, method) - zero if unique else 0
        yield block[[row.get(text, -1) for text in texts]]


def sequence_borders(sequences: Sequence[str], methods: Sequence[str]) -> NDArray[np.int64]:
    """Where blocks of sequences begin and end; they depend on the sequences and methods alone."""
    most = _HIDDEN if "pseudo-perplexity" in methods else _READ
    borders, letters = [0], 0
    for place, text in enumerate(sequences):
        if letters and letters + len(text) > most:
            borders.append(place)
            letters = 0
        letters += len(text)
    return np.array([*borders, len(sequences)])


def letter_ids(model: SequenceModel, letters: Sequence[str]) -> NDArray[np.int64]:
    """``(c,)`` tokens of single letters, -1 for those that the model does not know.

    Models whose tokens are several letters have 0 for all.
    """
    if not len(letters):
        return np.zeros(0, np.int64)
    if not model.tokenizer.one_to_one:
        return np.zeros(len(letters), np.int64)
    tokens = model.tokenize(SequenceBlock.of(list(letters)), policy="unknown")
    ids = tokens.ids[tokens.offsets[:-1] + model.language.special[0]].astype(np.int64)
    unknown = model.tokenizer.special.unknown
    strange = [number == unknown and letter != "X" for letter, number in zip(letters, ids, strict=True)]
    return np.where(strange, -1, ids)
