"""``biolm spatial deconvolve``: what spots are mixed of, by a reference (NNLS) or without one (LDA).

Dimensions: ``n`` spots · ``g`` genes · ``c`` types or topics.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.options import check_needs, refuse_others
from biolm.report.tissue import draw_values
from biolm.scoring.quality import log_normalised
from biolm.tasks.spatial.embed import write_addition
from biolm.tasks.spatial.prepared import Prepared, load_prepared
from biolm.tasks.spatial.settings import DeconvolveSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "Deconvolved",
    "deconvolve",
    "deconvolved_text",
    "fit_topics",
    "reference_profiles",
]

LEAST_SHARED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Deconvolved:
    """Fractions of types or topics.

    Parameters
    ----------
    names
        ``(c,)``.
    fractions
        ``(n, c)`` in the order of the file; rows add up to 1, NaN for a spot without counts.
    profiles
        ``(c, g)`` expression of each, adding up to 1.
    genes
        ``(g,)``.
    provenance
        Method, residual or perplexity, convergence.
    """

    names: NDArray[np.str_]
    fractions: NDArray[np.float64]
    profiles: NDArray[np.float64]
    genes: NDArray[np.str_]
    provenance: dict[str, Any]


def deconvolve(
    source: str | Path | AnnData | Prepared,
    output: str | Path | None = None,
    *,
    reference: str | Path | AnnData | None = None,
    settings: DeconvolveSettings | None = None,
    picture: str | Path | None = None,
    key: str = "deconvolved",
    overwrite: bool = False,
) -> Deconvolved:
    """Estimate what every spot is mixed of.

    Parameters
    ----------
    source
        A section with raw counts.
    output
        h5ad file to write: a copy with ``obsm[key]``.
    reference
        Cells with types: spots are then fitted by non-negative least squares on their mean profiles. Without
        one, latent Dirichlet allocation finds topics.
    settings
        See :class:`DeconvolveSettings`.
    picture
        PNG of the fractions on the map; not drawn where LDA did not converge.
    key
        Name of the result.
    overwrite
        Whether outputs may be replaced.

    Raises
    ------
    InputError
        If values are no counts, or section and reference share too few genes.
    """
    settings = settings or DeconvolveSettings()
    check_needs(settings, reference=reference)
    if reference is not None:
        refuse_others(settings, ("label", "genes"), "is of topics and does nothing with `reference`")
    section = load_prepared(source)
    if reference is None:
        result = _by_topics(section, settings)
    else:
        result = _by_reference(section, reference, settings)
    if output is not None:
        record = {"names": result.names, **result.provenance}
        write_addition(source, Path(output), {key: result.fractions}, {key: record}, overwrite=overwrite)
    if picture is not None:
        if not result.provenance.get("converged", True):
            raise InputError("LDA did not converge, so there is nothing to draw; allow more iterations")
        shown = {str(name): result.fractions[section.order][:, n] for n, name in enumerate(result.names[:6])}
        draw_values(Path(picture), section.xy, shown, overwrite=overwrite)
    return result


def reference_profiles(
    reference: str | Path | AnnData, label: str
) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.float64]]:
    """Names of the types ``(c,)``, genes ``(g,)``, and mean counts per cell that adds up to 1, ``(c, g)``.

    Parameters
    ----------
    reference
        Cells with types.
    label
        Column of the types.

    Raises
    ------
    InputError
        If the label is not there or the values are no counts.
    """
    from scipy.sparse import csr_matrix, vstack

    from biolm.adapters.cells.counts import check_counts
    from biolm.io.cells import open_cells

    with open_cells(reference) as cells:
        check_counts(cells)
        types = cells.obs_column(label).astype(str)
        genes = cells.gene_columns()["index"]
        parts = [csr_matrix((b.data, b.indices, b.indptr), shape=(len(b), b.n_genes)) for b in cells.blocks()]
    counts = vstack(parts, format="csr").astype(np.float64)
    # A missing category of pandas reads as the text nan.
    names = np.array(sorted(set(types.tolist()) - {"", "nan"}), np.str_)
    if len(names) < 2:
        raise InputError(f"the reference's column {label!r} holds fewer than two types")
    depth = np.asarray(counts.sum(1)).ravel()
    # Every cell counts the same: a deep one must not outvote ten shallow ones of its type.
    scaled = counts.multiply(1 / np.maximum(depth, 1)[:, None]).tocsr()
    profiles = np.stack([np.asarray(scaled[np.flatnonzero(types == name)].mean(0)).ravel() for name in names])
    return names, genes, profiles / profiles.sum(1, keepdims=True)


def _by_reference(section: Prepared, reference: Any, settings: DeconvolveSettings) -> Deconvolved:
    from scipy.optimize import nnls

    if settings.label is None:
        raise ConfigError("a reference needs the column with its types (`label`)")
    names, genes, profiles = reference_profiles(reference, settings.label)
    own = {gene: place for place, gene in enumerate(section.genes.tolist())}
    shared = [place for place, gene in enumerate(genes.tolist()) if gene in own]
    if len(shared) < LEAST_SHARED:
        raise InputError(
            f"section and reference share {len(shared)} genes by name (first: {section.genes[0]} and "
            f"{genes[0]}); use the same kind of names, in the same case"
        )
    shared = _telling(profiles, shared, settings.genes)
    columns = [own[str(genes[place])] for place in shared]
    counts = np.asarray(section.counts[:, columns].toarray(), np.float64)
    depth = counts.sum(1, keepdims=True)
    design = profiles[:, shared]
    design = design / np.maximum(design.sum(1, keepdims=True), 1e-12)
    fractions, residual = np.full((len(counts), len(names)), np.nan), []
    for spot in np.flatnonzero(depth[:, 0] > 0):
        # Both sides add up to 1, so that residuals of deep and shallow spots compare.
        weights, error = nnls(design.T, counts[spot] / depth[spot])
        # NNLS leaves the sum free; fractions are what is comparable between spots.
        fractions[spot] = weights / max(weights.sum(), 1e-12)
        residual.append(error)
    metadata = {
        "method": "nnls",
        "genes": len(shared),
        "mean_residual": float(np.mean(residual)),
        "empty_spots": int((depth == 0).sum()),
    }
    return Deconvolved(
        names=names,
        fractions=section.in_file_order(fractions),
        profiles=design,
        genes=genes[shared],
        provenance=metadata,
    )


def _telling(profiles: NDArray[np.float64], shared: Sequence[int], count: int) -> list[int]:
    """Genes that differ most between types: variance of their log expression."""
    # In logarithms, lest a few abundant genes be all that is read.
    table = np.log1p(profiles[:, list(shared)] * 1e4)
    order = np.argsort(-table.var(0), kind="stable")[:count]
    return sorted(shared[place] for place in order)


def _by_topics(section: Prepared, settings: DeconvolveSettings) -> Deconvolved:
    if settings.label is not None:
        raise ConfigError("label names a column of a reference; give the reference, or leave it out")
    table = log_normalised(section.counts)
    mean = np.asarray(table.mean(0)).ravel()
    variance = np.asarray(table.multiply(table).mean(0)).ravel() - mean**2
    chosen = np.sort(np.argsort(-variance, kind="stable")[: settings.genes])
    # Chosen by variance of normalised values; LDA itself is defined on counts.
    counts = section.counts[:, chosen]
    rng = np.random.default_rng(settings.seed)
    # On the spots that it was fitted to, more topics always have the lower perplexity.
    held_out = rng.random(len(section)) < settings.held_out
    tried = {}
    for topics in settings.topics if len(settings.topics) > 1 else ():
        model = fit_topics(counts[~held_out], topics, settings)
        tried[topics] = float(model.perplexity(counts[np.flatnonzero(held_out)]))
    # The lowest perplexity on held-out spots; then fitted on all of them.
    best = min(tried, key=lambda k: tried[k]) if tried else settings.topics[0]
    model = fit_topics(counts, best, settings)
    fractions = np.asarray(model.transform(counts))
    # LDA answers its prior for an empty spot, which looks like an even mixture.
    fractions[np.asarray(counts.sum(1)).ravel() == 0] = np.nan
    profiles = model.components_ / model.components_.sum(1, keepdims=True)
    metadata = {
        "method": "lda",
        "genes": len(chosen),
        "topics": best,
        "held_out_perplexity": {str(k): round(value, 3) for k, value in tried.items()},
        "iterations": int(model.n_iter_),
        "converged": bool(model.n_iter_ < settings.iterations),
    }
    return Deconvolved(
        names=np.array([f"topic {number + 1}" for number in range(best)], np.str_),
        fractions=section.in_file_order(fractions),
        profiles=profiles,
        genes=section.genes[chosen],
        provenance=metadata,
    )


def fit_topics(counts: Any, topics: int, settings: DeconvolveSettings) -> Any:
    """Latent Dirichlet allocation on raw counts ``(n, g)``, until its perplexity stands still.

    Parameters
    ----------
    counts
        ``(n, g)``.
    topics
        How many.
    settings
        Choices of the job.

    Raises
    ------
    InputError
        If the values are no counts.
    """
    from sklearn.decomposition import LatentDirichletAllocation

    values = counts.data
    if len(values) and ((values < 0).any() or not np.array_equal(values, np.rint(values))):
        raise InputError("LDA is defined on raw counts; give them, not normalised values")
    model = LatentDirichletAllocation(
        topics,
        learning_method="batch",
        # scikit-learn stops early only where evaluate_every is set; else perp_tol is never looked at.
        max_iter=settings.iterations,
        evaluate_every=5,
        perp_tol=0.1,
        random_state=settings.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(counts)


def deconvolved_text(result: Deconvolved) -> str:
    """What was found, in a few lines."""
    mean = np.nanmean(result.fractions, 0)
    lines = [f"{name}: {value}" for name, value in result.provenance.items()]
    lines += [f"{name}: mean fraction {value:.3f}" for name, value in zip(result.names, mean, strict=True)]
    if not result.provenance.get("converged", True):
        lines.insert(0, "LDA did NOT converge; allow more iterations (`iterations`) before reading it")
    return "\n".join(lines)
