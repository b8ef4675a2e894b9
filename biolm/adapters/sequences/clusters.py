"""Clusters of similar sequences by shared k-mers, so that near-copies never lie on both sides of a split.

Dimensions: ``n`` records · ``m`` distinct k-mers of all of them.

Two sequences of identity ``p`` whose differences lie at random share about ``p ** k`` of their k-mers (the
relation that Mash uses, Ondov et al. 2016), give or take a spread that follows from overlapping k-mers. Pairs
are linked that share at least that many of the longer one's k-mers less two standard deviations, and so is a
fragment with the sequence that holds it at 90 % identity; one domain in common is not enough. Linked records,
directly or through others, are one cluster.

Unrelated sequences share k-mers too, the more the longer they are. No pair is linked by as few as chance
gives: the expectation is that of a Markov chain of first order with the transitions of all records, for the
lengths of the pair, and the bound is such that chance links one record in a hundred at most (a Chernoff bound
of the compound Poisson law of overlapping matches; Reinert, Schbath & Waterman 2000).

No alignment is made. Of pairs exactly as identical as asked for, 95 of 100 and more are linked at 60 % of 300
residues, 75 % of 1,000 bases and 85 % of 300 bases. Nearer to chance fewer are: 60 of 100 at 50 % of 300
residues, 57 at 80 % of 150 bases. Real homologues differ less in conserved stretches, so they are linked at
somewhat lower identities than random ones; pairs of a little less identity than asked for are linked too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences.kind import looks_like
from biolm.errors import ConfigError
from biolm.io.atomic import replacing
from biolm.io.sequences.block import SequenceBlock
from biolm.io.sequences.letters import look_up

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["cluster_sequences", "usual_identity", "words_of", "write_clusters"]

_RESIDUES = b"ACDEFGHIKLMNPQRSTVWY"
_BASES = b"ACGT"
_NONE = 255
_MOST = 40_000_000  # k-mers that are compared; of more, the same fraction of all sequences is
_ROWS = 512
_FRAGMENT = 0.9  # identity at which a piece belongs to the whole
# SplitMix64 (Steele, Lea & Flood 2014): spreads k-mers so that a fraction of them can be taken at random.
# k-mers that a pair must share at least, so that short sequences are not linked by chance.
_FEWEST = 3
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def cluster_sequences(
    block: SequenceBlock, *, identity: float | None = None, k: int = 0
) -> NDArray[np.int64]:
    """Number of the cluster of each record.

    Parameters
    ----------
    block
        Proteins, or DNA, of which either strand counts.
    identity
        Pairs at least so identical share a cluster, as far as chance lets them be told; by default 0.5 of
        residues and 0.8 of bases.
    k
        Letters of a k-mer; 0 for 6 residues or 12 bases.

    Returns
    -------
    ``(n,)`` from 0, in the order of first appearance. The result depends on nothing but the letters.

    Raises
    ------
    ConfigError
        If ``identity`` or ``k`` is out of range.

    Examples
    --------
    >>> first = "MKVLAAGIVGLLLAGCSSNAKIDQLSSDVQTLNAKVDQLS"
    >>> cluster_sequences(SequenceBlock.of([first, first[:30], first[::-1]])).tolist()
    [0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    protein = looks_like(block) in ("protein", "unknown")
    k = k or (6 if protein else 12)
    identity = usual_identity(block) if identity is None else identity
    if not 0 < identity <= 1:
        raise ConfigError(f"identity must be over 0 and at most 1, not {identity}")
    if not 2 <= k <= (9 if protein else 16):
        raise ConfigError(f"k must be 2 to 9 residues or 2 to 16 bases, not {k}")
    incidence, sizes, sampled = _incidence(block, k, protein=protein)
    # Of sampled k-mers two relatives share fewer.
    fewest = max(1, round(_FEWEST * sampled))
    match, growth = _chance(block, k, protein=protein)
    links, other = [], incidence.T.tocsr()
    for start in range(0, incidence.shape[0], _ROWS):
        # (rows, n) k-mers that each pair shares; the pattern's other half comes with other rows.
        shared = (incidence[start : start + _ROWS] @ other).tocoo()
        first, second = shared.coords[0] + start, shared.coords[1]
        low, high = np.minimum(sizes[first], sizes[second]), np.maximum(sizes[first], sizes[second])
        # Two ways into a cluster: alike over the longer one, or a piece of it that is nearly the same.
        least = np.minimum(_fewest_shared(identity, k, high), _fewest_shared(_FRAGMENT, k, low))
        chance = _chance_bound(low * high * (match / sampled), growth, len(block))
        keep = (shared.data >= np.maximum(least, fewest)) & (shared.data > chance) & (first < second)
        links.append(np.stack([first[keep], second[keep]]))
    pairs = np.concatenate(links, axis=1) if links else np.zeros((2, 0), np.int64)
    graph = coo_array((np.ones(pairs.shape[1], np.int8), (pairs[0], pairs[1])), shape=(len(block),) * 2)
    _, labels = connected_components(graph, directed=False)
    _, first_seen, numbers = np.unique(labels, return_index=True, return_inverse=True)
    order: NDArray[np.int64] = np.argsort(np.argsort(first_seen))[numbers].astype(np.int64)
    return order


def usual_identity(block: SequenceBlock) -> float:
    """The identity at which sequences share a cluster by default: 0.5 of residues, 0.8 of bases."""
    return 0.5 if looks_like(block) in ("protein", "unknown") else 0.8


def _fewest_shared(identity: float, k: int, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """k-mers that a pair of an identity shares at least: the expectation less two standard deviations."""
    expected = identity**k
    # Neighbouring k-mers overlap, so that they match together.
    overlaps = sum(identity ** (k + apart) - expected**2 for apart in range(1, k))
    spread = expected * (1 - expected) + 2 * overlaps
    fewest: NDArray[np.float64] = sizes * expected - 2 * np.sqrt(sizes * spread)
    return fewest


def _chance(block: SequenceBlock, k: int, *, protein: bool) -> tuple[float, float]:
    """Probability that two places of unrelated records begin the same k-mer, and that a match goes on."""
    codes, size = _codes(block, protein=protein)
    inside = np.ones(max(len(codes) - 1, 0), bool)
    inside[block.offsets[1:-1][block.offsets[1:-1] < len(codes)] - 1] = False
    first, second = codes[:-1].astype(np.int64), codes[1:].astype(np.int64)
    known = inside & (first != _NONE) & (second != _NONE)
    counts = np.bincount(first[known] * size + second[known], minlength=size**2).reshape(size, size)
    # One of each, so that no letter is impossible.
    joint = (counts + 1) / (counts + 1).sum()
    begin = joint.sum(1)
    same = begin**2
    steps = (joint / begin[:, None]) ** 2
    before = 1.0
    for _ in range(k - 1):
        before = float(same.sum())
        same = same @ steps
    match = float(same.sum())
    return match * (1 if protein else 2), match / before


def _chance_bound(expected: NDArray[np.float64], growth: float, n: int) -> NDArray[np.float64]:
    """k-mers that a pair shares by chance with a probability of at most 1 in ``100 n``."""
    clumps = expected * (1 - growth)
    bound = np.full(len(expected), np.inf)
    for part in np.linspace(0.05, 0.95, 19):
        power = -np.log(growth) * part
        one = (1 - growth) * np.exp(power) / (1 - growth * np.exp(power))
        bound = np.minimum(bound, (clumps * (one - 1) + np.log(100 * max(n, 1))) / power)
    return bound


def write_clusters(path: str | Path, block: SequenceBlock, labels: NDArray[np.int64]) -> None:
    """Write a tab-separated table, representative (the longest member) then member, as MMseqs2 does.

    Parameters
    ----------
    path
        File; an existing one is replaced.
    block
        The records.
    labels
        ``(n,)`` from :func:`cluster_sequences`.
    """
    order = np.lexsort((np.arange(len(block)), -block.lengths, labels))
    leads = order[np.unique(labels[order], return_index=True)[1]]
    with replacing(Path(path), overwrite=True) as temporary:
        lines = [
            f"{block.names[leads[label]]}\t{name}\n" for label, name in zip(labels, block.names, strict=True)
        ]
        temporary.write_text("".join(lines), encoding="utf-8")


def _incidence(block: SequenceBlock, k: int, *, protein: bool) -> tuple[csr_array, NDArray[np.int64], float]:
    """``(n, m)`` which record holds which of the k-mers that several hold, ``(n,)`` k-mers of each record.

    The last number is the fraction of all k-mers that was taken.
    """
    from scipy.sparse import csc_array

    n = len(block)
    words, record = words_of(block, k, protein=protein)
    sampled = min(1.0, _MOST / max(len(words), 1))
    if sampled < 1:
        taken = _mixed(words) < np.uint64(sampled * 2**64)
        words, record = words[taken], record[taken]
    words, record = np.divmod(np.unique(words * n + record), n)
    sizes = np.bincount(record, minlength=n)
    begins = np.flatnonzero(np.diff(words, prepend=-1))
    counts = np.diff(begins, append=len(words))
    # Most k-mers lie in one record alone and can link nothing.
    kept = np.repeat(counts > 1, counts)
    starts = np.concatenate([[0], np.cumsum(counts[counts > 1])])
    ones = np.ones(int(starts[-1]), np.int32)
    incidence = csc_array((ones, record[kept], starts), shape=(n, len(starts) - 1))
    return incidence.tocsr(), sizes, sampled


def words_of(block: SequenceBlock, k: int, *, protein: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of every k-mer without unknown letters, and the record that it lies in.

    A k-mer of DNA and its reverse complement have the same number.

    Parameters
    ----------
    block
        Records.
    k
        Letters of a k-mer: at most 14 residues or 31 bases.
    protein
        Whether they are proteins.
    """
    codes, size = _codes(block, protein=protein)
    inside = len(codes) - k + 1
    if inside < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    words, mirrored = np.zeros(inside, np.int64), np.zeros(inside, np.int64)
    known = np.ones(inside, bool)
    for place in range(k):
        piece = codes[place : place + inside]
        words = words * size + piece
        known &= piece != _NONE
        # Codes of A, C, G, T are such that a base and its partner add up to 3.
        mirrored += (3 - piece.astype(np.int64)) << (2 * place)
    if not protein:
        # A k-mer and its reverse complement are one: either strand may be written down.
        words = np.minimum(words, mirrored)
    record = np.repeat(np.arange(len(block)), block.lengths)
    # Records lie end to end; a k-mer over a border is in none.
    known &= record[:inside] == record[k - 1 :]
    return words[known], record[:inside][known]


def _codes(block: SequenceBlock, *, protein: bool) -> tuple[NDArray[np.uint8], int]:
    """``(r,)`` number of each letter, :data:`_NONE` for unknown ones; and how many letters there are."""
    alphabet = _RESIDUES if protein else _BASES
    table = np.full(256, _NONE, np.uint8)
    for code, letter in enumerate(alphabet):
        table[[letter, letter + 32]] = code
    if not protein:
        table[[ord("U"), ord("u")]] = alphabet.index(b"T")
    return look_up(block.letters, table.tobytes()), len(alphabet)


def _mixed(words: NDArray[np.int64]) -> NDArray[np.uint64]:
    state = words.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in _MIX:
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    mixed: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return mixed
