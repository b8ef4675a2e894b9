"""Targets and inputs of expression models, kept apart: what is predicted has no part in the input.

Dimensions: ``n`` spots · ``g`` genes · ``k`` targets · ``c`` context genes · ``d`` components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.scoring.quality import log_normalised

__all__ = ["GenePanel", "choose_targets", "normalised_targets", "raw_log_targets", "standardised"]

LEAST_EXPRESSED = 0.1
"""Fraction of the spots of each training section in which a gene must have counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenePanel:
    """Which genes a model predicts and which it reads; never one in both.

    Parameters
    ----------
    targets
        ``(k,)`` names.
    context
        ``(c,)`` names.
    tokens
        ``(c,)`` context genes that have a token of their own; all of them count for library size and
        components.
    components
        ``(d, c)`` axes of the context genes' principal components, or None.
    centre
        ``(c,)`` mean that is taken off before.

    Raises
    ------
    InputError
        If a gene is in both.
    """

    targets: NDArray[np.str_]
    context: NDArray[np.str_]
    tokens: NDArray[np.bool_]
    components: NDArray[np.float64] | None = None
    centre: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        both = sorted(set(self.targets.tolist()) & set(self.context.tolist()))
        if both:
            raise InputError(f"{both[0]} is both a target and an input; leave it out of one of them")

    def context_counts(self, counts: Any, genes: NDArray[np.str_]) -> Any:
        """``(n, c)`` counts of the context genes of a section ``(n, g)``, in the panel's order.

        Everything that the model reads (values, ranks, library size) comes from this table, so the counts of
        a target can have no part in it. Genes that the section lacks are zero.

        Parameters
        ----------
        counts
            ``(n, g)`` of a section.
        genes
            ``(g,)`` their names.
        """
        return _columns(counts, genes, self.context)

    def target_counts(self, counts: Any, genes: NDArray[np.str_]) -> Any:
        """``(n, k)`` counts of the targets.

        Parameters
        ----------
        counts
            ``(n, g)`` of a section.
        genes
            ``(g,)`` their names.

        Raises
        ------
        InputError
            If the section lacks one.
        """
        missing = sorted(set(self.targets.tolist()) - set(genes.tolist()))
        if missing:
            raise InputError(
                f"the section lacks {len(missing)} of the genes to predict, such as {missing[0]}"
            )
        return _columns(counts, genes, self.targets)

    def scores(self, context: Any) -> NDArray[np.float64]:
        """``(n, d)`` principal components of log-normalised context counts.

        Raises
        ------
        InputError
            If the panel has no components.
        """
        if self.components is None or self.centre is None:
            raise InputError("this panel has no principal components; fit it on training sections")
        table = log_normalised(context)
        return np.asarray(table @ self.components.T) - self.components @ self.centre

    def fit_components(self, contexts: Sequence[Any], components: int) -> GenePanel:
        """The panel with principal components of the context counts of training sections, without labels.

        Parameters
        ----------
        contexts
            ``(n, c)`` context counts of each training section.
        components
            How many are kept.
        """
        from scipy.sparse import vstack
        from sklearn.decomposition import PCA

        table = vstack([log_normalised(context) for context in contexts], format="csr")
        count = min(components, min(table.shape) - 1)
        fitted = PCA(count, svd_solver="arpack", random_state=0).fit(table)
        # The sign of an axis is arbitrary: make the largest weight positive, as on any machine.
        axes = fitted.components_
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
        return replace(self, components=axes * signs[:, None], centre=fitted.mean_)


def choose_targets(
    tables: Sequence[Any], genes: Sequence[NDArray[np.str_]], count: int, *, tokens: int = 64
) -> GenePanel:
    """The most variable genes of training sections to predict, and the others to read.

    Candidates have counts in at least 10 % of the spots of *each* training section. They are ordered by the
    variance of their depth-normalised log1p values, averaged over the sections; ties by name.

    Parameters
    ----------
    tables
        Counts ``(n, g)`` of each training section. Test sections have no part in the choice.
    genes
        ``(g,)`` names of each.
    count
        ``k``.
    tokens
        Context genes that have a token of their own: the most variable that are no targets.

    Raises
    ------
    InputError
        If the sections share fewer candidates than twice the targets.
    """
    shared = set(genes[0].tolist()).intersection(*(set(names.tolist()) for names in genes[1:]))
    names = np.array(sorted(shared), np.str_)
    expressed = np.ones(len(names), bool)
    variance = np.zeros(len(names))
    for table, own in zip(tables, genes, strict=True):
        part = _columns(table, own, names)
        expressed &= np.asarray((part > 0).mean(0)).ravel() >= LEAST_EXPRESSED
        # Depth is taken over all genes of the section, as an analysis does before it chooses.
        normal = _scaled_by(part, np.asarray(table.sum(1)).ravel())
        mean = np.asarray(normal.mean(0)).ravel()
        # Within each section: between sections, depth and staining vary more than biology.
        variance += np.asarray(normal.multiply(normal).mean(0)).ravel() - mean**2
    candidates = np.flatnonzero(expressed)
    if len(candidates) < 2 * count:
        raise InputError(
            f"only {len(candidates)} genes are expressed in {LEAST_EXPRESSED:.0%} of the spots of every "
            f"training section, too few to predict {count} from the others; predict fewer"
        )
    # Equal variances by name, so that the order of the files does not choose.
    order = candidates[np.lexsort((names[candidates], -variance[candidates]))]
    rest = np.sort(order[count:])
    with_token = np.isin(rest, order[count : count + tokens])
    return GenePanel(targets=names[order[:count]], context=names[rest], tokens=with_token)


def normalised_targets(counts: Any, targets: Any) -> NDArray[np.float64]:
    """``(n, k)`` log1p of target counts per 10,000 of the spot's depth over all genes.

    Parameters
    ----------
    counts
        ``(n, g)`` of all genes.
    targets
        ``(n, k)`` of the targets.
    """
    depth = np.asarray(counts.sum(1)).ravel()
    return np.asarray(_scaled_by(targets, depth).toarray())


def raw_log_targets(targets: Any) -> NDArray[np.float64]:
    """``(n, k)`` log1p of the counts as they are, which mostly follows tissue thickness."""
    return np.log1p(np.asarray(targets.toarray(), np.float64))


def standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns with mean 0 and standard deviation 1 within a section; constant columns become 0."""
    mean, sd = values.mean(0), values.std(0)
    return np.asarray((values - mean) / np.where(sd > 1e-12, sd, 1.0))


def _scaled_by(part: Any, depth: NDArray[np.float64]) -> Any:
    from scipy.sparse import csr_matrix, diags

    scale = 1e4 / np.where(depth > 0, depth, 1.0)
    return (diags(scale) @ csr_matrix(part, dtype=np.float64)).tocsr().log1p()


def _columns(counts: Any, genes: NDArray[np.str_], wanted: NDArray[np.str_]) -> Any:
    """Columns of ``counts`` by name, summed where a name repeats, zero where it is missing."""
    from scipy.sparse import csr_matrix

    where = {name: place for place, name in enumerate(wanted.tolist())}
    target = np.array([where.get(name, -1) for name in genes.tolist()], np.int64)
    kept = np.flatnonzero(target >= 0)
    selector = csr_matrix(
        (np.ones(len(kept)), (kept, target[kept])), shape=(len(genes), len(wanted)), dtype=np.float64
    )
    return (csr_matrix(counts, dtype=np.float64) @ selector).tocsr()
