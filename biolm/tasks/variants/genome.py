"""Score variants of a genome by windows around them.

Dimensions: ``m`` variants · ``k`` columns of scores · ``d`` width of the model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.intervals import Variant, Window, check_reference
from biolm.io.sequences import SequenceBlock, SequenceStore, build_store, holds_store, opened
from biolm.io.sequences.letters import reverse_complement

if TYPE_CHECKING:
    from biolm.batch import Tokens
    from biolm.models.sequence_model import SequenceModel, SequenceOptions

__all__ = ["COLUMNS", "check_variant", "inner_window", "open_reference", "score_windows"]

COLUMNS = ("LLR", "REF_LL", "ALT_LL", "COS", "L2")
"""Log-likelihood of the alternative minus that of the reference, both, and distances of embeddings."""


@contextmanager
def open_reference(path: str | Path) -> Iterator[SequenceStore]:
    """A genome behind a memory map: a store as it is, a FASTA as a store that lasts as long as the block.

    Raises
    ------
    InputError
        If it is neither.
    """
    place = Path(path)
    if place.is_dir():
        if not holds_store(place):
            raise InputError(f"{place} is no store of sequences; give one, or a FASTA")
        yield SequenceStore(place)
        return
    with tempfile.TemporaryDirectory(prefix="biolm-genome-") as folder:
        yield SequenceStore(build_store(opened([place]), Path(folder) / "genome"), str(place))


def check_variant(store: SequenceStore, variant: Variant, file: str) -> None:
    """Refuse a variant of another genome, before any model runs.

    Parameters
    ----------
    store
        The genome.
    variant
        The variant.
    file
        The VCF, for the message.

    Raises
    ------
    InputError
        If a contig is missing or holds other letters; the line is named.
    """
    try:
        check_reference(store, variant, file)
    except InputError as error:
        text = str(error)
        where = f"line {variant.line} of {file}"
        # Some messages of the reference name the line already.
        raise InputError(text if text.startswith("line ") else f"{where}: {text}") from None


def inner_window(store: SequenceStore, variant: Variant, width: int) -> Window:
    """Letters around a variant with either allele, inside the contig.

    Near an end a window moves inwards, so that both have ``width`` letters and no N stands for what is not
    there; only a contig shorter than that gives shorter windows. ``place`` is that of the reference allele.

    Parameters
    ----------
    store
        The genome.
    variant
        Place and alleles.
    width
        Of the window.

    Raises
    ------
    InputError
        If the window is shorter than an allele.

    Examples
    --------
    >>> inner_window(store, variant, 512).place  # doctest: +SKIP
    256
    """
    longest = max(len(variant.reference), len(variant.alternative))
    if width < longest:
        raise InputError(
            f"a window of {width} bases cannot hold the variant of line {variant.line}, which has "
            f"{longest}; use wider windows (`window`)"
        )
    length = int(store.lengths[store.row(variant.contig)])
    end = variant.start + len(variant.reference)
    begins, sides = [], []
    for allele in (variant.reference, variant.alternative):
        # Length of the contig with this allele: its window must lie inside that.
        changed = length - len(variant.reference) + len(allele)
        begin = max(0, min(variant.start - (width - longest) // 2, changed - width))
        first = store.window(variant.contig, begin, variant.start).tobytes()
        stop = min(end + width - len(first) - len(allele), length)
        rest = store.window(variant.contig, end, stop).tobytes()
        begins.append(begin)
        sides.append((first + allele.encode("ascii") + rest).upper())
    return Window(reference=sides[0], alternative=sides[1], place=variant.start - begins[0])


def score_windows(
    model: SequenceModel,
    windows: Sequence[Window],
    method: str,
    options: SequenceOptions,
    *,
    whole: NDArray[np.bool_] | None = None,
    both_strands: bool = True,
    average: bool = False,
    distances: bool = False,
) -> NDArray[np.float64]:
    """Scores of variants.

    ``causal``, ``one-pass`` and ``pseudo-perplexity`` compare the log-likelihoods of whole windows, sums over
    their tokens. The marginals compare the alleles alone, given the same letters around them: the tokens that
    differ are masked together (``masked-marginal``), or read where the reference is shown (``wt-marginal``).

    Parameters
    ----------
    model
        A model of DNA.
    windows
        ``m`` windows.
    method
        One of :data:`~biolm.tasks.variants.methods.METHODS`.
    options
        Budget, device, precision, longest window.
    whole
        ``(m,)`` variants whose alleles differ in length. What follows such an allele is shifted, so that it
        has no marginal. None for no such variant.
    both_strands
        Take the mean with the reverse complement.
    average
        Mean over the tokens of a window in place of their sum; not for marginals.
    distances
        Also compare the embeddings of both windows.

    Returns
    -------
    ``(m, k)`` by :data:`COLUMNS`; NaN for a marginal of alleles with different numbers of letters or
    tokens, and for distances that were not asked for.
    """
    strands = []
    for reverse in (False, True)[: 1 + both_strands]:
        sides = [_block(windows, side, reverse=reverse) for side in ("reference", "alternative")]
        scores = np.full((len(windows), len(COLUMNS)), np.nan)
        scores[:, 1], scores[:, 2] = _likelihoods(model, sides, method, options, average=average)
        # A marginal is read in the unchanged sequence at one token; a change of length has no such token.
        if whole is not None and method.endswith("marginal"):
            scores[whole] = np.nan
        scores[:, 0] = scores[:, 2] - scores[:, 1]
        # No change is no change, though nothing differs that a marginal could be read at.
        scores[[window.reference == window.alternative for window in windows], 0] = 0
        if distances:
            scores[:, 3:] = _distances(model, sides, options)
        strands.append(scores)
    mean: NDArray[np.float64] = np.mean(strands, axis=0)
    return mean


def _block(windows: Sequence[Window], side: str, *, reverse: bool) -> SequenceBlock:
    pieces = [np.frombuffer(getattr(window, side), np.uint8) for window in windows]
    if reverse:
        # A model of DNA reads one strand, and a variant is the same on both.
        pieces = [reverse_complement(piece) for piece in pieces]
    return SequenceBlock.of([piece.tobytes().decode("ascii") for piece in pieces])


def _likelihoods(
    model: SequenceModel,
    sides: list[SequenceBlock],
    method: str,
    options: SequenceOptions,
    *,
    average: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from biolm.tasks.variants.likelihood import token_scores

    first, second = (model.tokenize(side) for side in sides)
    if not method.endswith("marginal"):
        scores = [token_scores(model, tokens, method, options) for tokens in (first, second)]
        one, other = (each.means if average else each.sums for each in scores)
        return one, other
    return _marginals(model, first, second, method, options)


def _marginals(
    model: SequenceModel, first: Tokens, second: Tokens, method: str, options: SequenceOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities of the tokens in which the windows differ; NaN where they differ in number."""
    from biolm.tasks.variants.likelihood import Groups, masked, read_once

    before, after = model.preprocessor.special
    rows, places, targets = [], [], []
    for row in range(len(first)):
        one, other = first[row].ids, second[row].ids
        # Token by token only where both windows have as many; an indel shifts all that follow.
        if len(one) == len(other):
            differ = np.flatnonzero(one != other)
            rows.append(np.full(len(differ), row))
            places.append(differ - before)
            targets.append(np.stack([one[differ], other[differ]], axis=1))
    sums = np.full((2, len(first)), np.nan)
    if not sum(len(piece) for piece in rows):
        return sums[0], sums[1]
    owner, place = np.concatenate(rows), np.concatenate(places).astype(np.int64)
    pairs = np.concatenate(targets).astype(np.int64)
    if method == "masked-marginal":
        groups, starts = np.unique(owner, return_index=True)
        bounds = np.append(starts, len(owner))
        log_probabilities = masked(model, first, Groups(groups, bounds, place, pairs), options)
    else:
        inner = first.lengths - before - after
        ends = np.concatenate([[0], np.cumsum(inner)])
        flat = ends[owner] + place
        every = np.zeros((ends[-1], 2), np.int64)
        every[flat] = pairs
        log_probabilities = read_once(model, first, every, options)[flat]
    # Windows of one length whose tokens are alike have nothing to read, and stay NaN.
    owners = np.unique(owner)
    for side in (0, 1):
        sums[side, owners] = np.bincount(owner, log_probabilities[:, side].astype(np.float64), len(first))[
            owners
        ]
    return sums[0], sums[1]


def _distances(
    model: SequenceModel, sides: list[SequenceBlock], options: SequenceOptions
) -> NDArray[np.float64]:
    """``(m, 2)`` one minus the cosine, and the Euclidean distance, of the embeddings of both windows."""
    first, second = (model.embed(side, options).astype(np.float64) for side in sides)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    # The angle by the chord of unit vectors: 1 - cos loses its digits where windows are nearly alike.
    units = [each / np.linalg.norm(each, axis=1, keepdims=True).clip(1e-30) for each in (first, second)]
    cosine = np.where(lengths > 0, ((units[0] - units[1]) ** 2).sum(1) / 2, np.nan)
    return np.stack([cosine, np.linalg.norm(first - second, axis=1)], axis=1)
