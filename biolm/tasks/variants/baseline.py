"""What a model's scores are held against: BLOSUM62, and the rank correlation with measurements.

Dimensions: ``m`` variants · ``s`` bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.tasks.variants.proteins import ProteinVariant

__all__ = ["blosum_scores", "rank_correlation"]

# Bootstrap samples; fewer for large tables, whose interval is narrow.
_SAMPLES, _FEWEST, _DRAWN = 1000, 200, 20_000_000
# Gap costs of BLASTP beside BLOSUM62.
_OPEN, _EXTEND = -12.0, -1.0


def blosum_scores(wild: str, variants: Sequence[ProteinVariant]) -> NDArray[np.float64]:
    """How alike each variant is to the wild type by BLOSUM62, without any model.

    For substitutions the sum over mutations of S(wild, mutant) - S(wild, wild). Without mutations the score
    of a global alignment minus that of the wild type with itself, with gap costs of BLASTP (11, 1).

    Parameters
    ----------
    wild
        The unchanged protein.
    variants
        ``m`` of them.

    Returns
    -------
    ``(m,)``, 0 for the wild type; NaN where a letter is not in the matrix or the variant has no sequence.
    """
    matrix, column = _blosum()
    scores = np.zeros(len(variants))
    for row, each in enumerate(variants):
        if not each.sequence:
            scores[row] = np.nan
            continue
        if each.mutations is None:
            scores[row] = _aligned(wild.upper(), each.sequence.upper())
            continue
        for change in each.mutations:
            wild_type, mutant = column.get(change.wild), column.get(change.mutant)
            if wild_type is None or mutant is None:
                scores[row] = np.nan
            else:
                # Less the score of staying the same, which differs between residues (W 11, A 4).
                scores[row] += matrix[wild_type, mutant] - matrix[wild_type, wild_type]
    return scores


def rank_correlation(
    scores: NDArray[np.float64], measured: NDArray[np.float64], *, seed: int = 0
) -> dict[str, float]:
    """Spearman's rank correlation with its 95 % percentile bootstrap interval over variants.

    Variants that lack a score or a measurement do not count.

    Parameters
    ----------
    scores, measured
        ``(m,)``.
    seed
        Of the bootstrap.

    Returns
    -------
    ``spearman``, ``low``, ``high`` and ``variants``; NaN for fewer than three variants or constant values.

    Examples
    --------
    >>> rank_correlation(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 9]))["spearman"]
    0.8
    """
    finite = np.isfinite(scores) & np.isfinite(measured)
    first, second = scores[finite], measured[finite]
    summary = {
        "spearman": float("nan"),
        "low": float("nan"),
        "high": float("nan"),
        "variants": float(finite.sum()),
    }
    # Fewer points or a constant have no rank correlation.
    if len(first) < 3 or not np.ptp(first) or not np.ptp(second):
        return summary
    summary["spearman"] = round(_spearman(first, second), 6)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(max(_FEWEST, min(_SAMPLES, _DRAWN // len(first)))):
        rows = rng.integers(0, len(first), len(first))
        # A resample of one value has no correlation, and says nothing of the interval.
        if np.ptp(first[rows]) and np.ptp(second[rows]):
            drawn.append(_spearman(first[rows], second[rows]))
    if drawn:
        low, high = np.quantile(drawn, [0.025, 0.975])
        summary["low"], summary["high"] = round(float(low), 6), round(float(high), 6)
    return summary


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


@cache
def _blosum() -> tuple[NDArray[np.float64], dict[str, int]]:
    from Bio.Align import substitution_matrices

    tools: Any = substitution_matrices
    matrix = tools.load("BLOSUM62")
    return np.asarray(matrix), {letter: place for place, letter in enumerate(matrix.alphabet)}


def _aligned(wild: str, sequence: str) -> float:
    if set(wild + sequence) - _blosum()[1].keys():
        return float("nan")
    aligner = _aligner()
    # Less the wild type with itself, as for substitutions, so that both kinds compare.
    return float(aligner.score(wild, sequence) - aligner.score(wild, wild))


@cache
def _aligner() -> Any:
    from Bio import Align
    from Bio.Align import substitution_matrices

    # Biopython says nothing of the types of its aligner.
    tools: Any = Align
    matrices: Any = substitution_matrices
    return tools.PairwiseAligner(
        mode="global",
        substitution_matrix=matrices.load("BLOSUM62"),
        open_gap_score=_OPEN,
        extend_gap_score=_EXTEND,
    )
