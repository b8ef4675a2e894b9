"""``biolm spatial domains``: regions of like expression, over many seeds, beside what is trivial.

Dimensions: ``n`` spots · ``d`` components · ``k`` domains · ``s`` seeds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.adapters.spatial.genes import standardised
from biolm.adapters.spatial.graph import nearest
from biolm.errors import ConfigError, InputError
from biolm.io.anndata.columns import Coded
from biolm.options import refuse_others
from biolm.report.tissue import draw_labels
from biolm.scoring.quality import fit_pca
from biolm.tasks.spatial.embed import write_addition
from biolm.tasks.spatial.prepared import Prepared, load_prepared, read_obsm
from biolm.tasks.spatial.settings import DomainSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Domains", "domains", "domains_text"]

UNKNOWN = ("", "nan", "undetermined")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """Domains of a section.

    Parameters
    ----------
    labels
        ``(n,)`` number of each spot's domain in the order of the file: the run that agrees best with the
        others.
    k, chosen
        How many, and how that was found.
    agreement
        Mean adjusted Rand index between runs of different seeds.
    scores
        Adjusted Rand index with the labels given, mean and sd over the seeds: of the domains, of coordinates
        alone and of library size alone; empty without labels.
    """

    labels: NDArray[np.int64]
    k: int
    chosen: str
    agreement: float
    scores: dict[str, dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {"k": self.k, "k_chosen": self.chosen, "agreement": self.agreement, "ari": self.scores}


def _kmeans(vectors: NDArray[np.float64], k: int, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans

    # One start a run: the runs over seeds are the restarts, and how far they agree is reported.
    return np.asarray(KMeans(k, n_init=1, random_state=seed).fit_predict(vectors), np.int64)


def _mixture(vectors: NDArray[np.float64], k: int, seed: int) -> NDArray[np.int64]:
    from sklearn.mixture import GaussianMixture

    # Tied: one covariance for all domains, as small ones have too few spots for their own.
    model = GaussianMixture(k, covariance_type="tied", random_state=seed, reg_covar=1e-4)
    return np.asarray(model.fit_predict(vectors), np.int64)


_METHODS: dict[str, Callable[[NDArray[np.float64], int, int], NDArray[np.int64]]] = {
    "kmeans": _kmeans,
    "mixture": _mixture,
}
"""Clustering by name."""


def domains(
    source: str | Path | AnnData | Prepared,
    output: str | Path | None = None,
    *,
    settings: DomainSettings | None = None,
    label: str | None = None,
    vectors: str | ArrayLike | None = None,
    picture: str | Path | None = None,
    key: str = "spatial_domain",
    overwrite: bool = False,
) -> Domains:
    """Find domains of a section.

    Parameters
    ----------
    source
        A prepared section, or any h5ad with counts and ``obsm["spatial"]``.
    output
        h5ad file to write: a copy with a categorical ``obs[key]``.
    settings
        See :class:`DomainSettings`.
    label
        Column of obs with known regions, to compare with; ``undetermined`` is left out. It has no part in the
        domains nor in their number.
    vectors
        Instead of principal components: a key of ``obsm`` such as ``X_fused``, or ``(n, d)`` numbers in the
        order of the file.
    picture
        PNG of the domains on the map.
    key
        Name of the column.
    overwrite
        Whether outputs may be replaced.

    Raises
    ------
    InputError
        If the label is not there.
    """
    settings = settings or DomainSettings()
    if vectors is not None:
        used = {field.name for field in fields(settings)} - {"components", "variable_genes"}
        refuse_others(settings, used, "is of principal components and does nothing for `vectors`")
    section = load_prepared(source)
    table = _components(section, settings) if vectors is None else _given(source, section, vectors)
    if settings.smooth:
        around = nearest(section.xy, settings.smooth)
        counts = around.counts[:, None]
        # The mean of a spot and its neighbours; at the edge there are fewer.
        table = (table + around.mean(table) * counts) / (1 + counts)
    k, chosen = _number(table, settings)
    runs = _runs(table, k, settings)
    labels, agreement = _medoid(runs)
    scores = {} if label is None else _scores(section, label, runs, k, settings)
    result = Domains(
        labels=section.in_file_order(labels), k=k, chosen=chosen, agreement=agreement, scores=scores
    )
    names = np.array([f"domain {number + 1}" for number in range(k)], np.str_)
    if output is not None:
        columns = {key: Coded(result.labels, names)}
        write_addition(
            source, Path(output), {}, {key: result.as_dict()}, columns=columns, overwrite=overwrite
        )
    if picture is not None:
        panels = {f"{settings.method}, k = {k}": names[labels]}
        if label is not None:
            panels[label] = section.columns[label].astype(str)
        draw_labels(Path(picture), section.xy, panels, overwrite=overwrite)
    return result


def _given(source: Any, section: Prepared, vectors: str | ArrayLike) -> NDArray[np.float64]:
    """Vectors in the section's order."""
    if isinstance(vectors, str):
        if isinstance(source, Prepared):
            raise ConfigError("a key of obsm needs the file or AnnData it is in; give the vectors themselves")
        vectors = read_obsm(source, vectors)
    table = np.asarray(vectors, np.float64)
    if table.ndim != 2 or len(table) != len(section) or not np.isfinite(table).all():
        raise InputError(f"vectors of shape {table.shape} do not give {len(section)} spots finite numbers")
    return table[section.order]


def domains_text(result: Domains) -> str:
    """What was found, in a few lines."""
    lines = [f"{result.k} domains ({result.chosen}); seeds agree with ARI {result.agreement:.3f}"]
    lines += [
        f"{name}: ARI {one['mean']:.3f} ± {one['sd']:.3f} with the labels, {one['seeds']:g} seeds"
        for name, one in result.scores.items()
    ]
    return "\n".join(lines)


def _components(section: Prepared, settings: DomainSettings) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        # scanpy's rule bins genes by mean and warns of empty bins.
        warnings.simplefilter("ignore")
        project = fit_pca(
            section.counts, components=settings.components, variable_genes=settings.variable_genes
        )
    return np.asarray(project(section.counts), np.float64)


def _number(table: NDArray[np.float64], settings: DomainSettings) -> tuple[int, str]:
    if settings.k is not None:
        return settings.k, "given"
    from sklearn.metrics import silhouette_score

    # Fewer than eight spots a domain are no region.
    most = min(10, len(table) // 8)
    if most < 2:
        raise InputError(f"{len(table)} spots are too few to choose a number of domains; give k")
    scores = {k: silhouette_score(table, _METHODS[settings.method](table, k, 0)) for k in range(2, most + 1)}
    return max(scores, key=lambda k: scores[k]), "by silhouette, without labels"


def _runs(table: NDArray[np.float64], k: int, settings: DomainSettings) -> list[NDArray[np.int64]]:
    first, cluster = settings.seed, _METHODS[settings.method]
    return [cluster(table, k, seed) for seed in range(first, first + settings.seeds)]


def _medoid(runs: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], float]:
    """The run that agrees best with the others, and how well they agree."""
    from sklearn.metrics import adjusted_rand_score

    table = np.array([[adjusted_rand_score(a, b) for b in runs] for a in runs])
    others = ~np.eye(len(runs), dtype=bool)
    agreement = float(table[others].mean()) if len(runs) > 1 else 1.0
    return runs[int(table.sum(1).argmax())], agreement


def _scores(
    section: Prepared, label: str, runs: list[NDArray[np.int64]], k: int, settings: DomainSettings
) -> dict[str, dict[str, float]]:
    """Agreement with known regions, of the domains and of two controls that know no gene."""
    from sklearn.metrics import adjusted_rand_score

    if label not in section.columns:
        raise InputError(f"{section.name} has no column {label!r} but {', '.join(section.columns)}")
    truth = section.columns[label].astype(str)
    # Spots that people could not name are no region to agree with.
    known = ~np.isin(truth, UNKNOWN)
    if len(set(truth[known].tolist())) < 2:
        raise InputError(f"column {label!r} holds fewer than two regions to compare with")
    depth = np.log1p(np.asarray(section.counts.sum(1)))
    everything = {
        f"domains by {settings.method}": runs,
        "coordinates alone": _runs(standardised(section.xy), k, settings),
        "library size alone": _runs(standardised(depth), k, settings),
    }
    scores = {}
    for name, own in everything.items():
        values = [adjusted_rand_score(truth[known], run[known]) for run in own]
        scores[name] = {
            "mean": float(np.mean(values)),
            "sd": float(np.std(values)),
            "seeds": float(len(values)),
        }
    return scores
