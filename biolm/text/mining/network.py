"""Which genes, or which identifiers, are named together: one vote a document.

Dimensions: ``n`` documents · ``m`` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.errors import InputError
from biolm.extras import advice
from biolm.io.atomic import replacing
from biolm.scoring.rates import adjusted
from biolm.text.mining.tokens import is_stop_word, terms_of

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["CoMentions", "co_mentions", "draw_cloud", "draw_network", "gene_symbols_in", "graph_of"]


@dataclass(frozen=True, slots=True)
class CoMentions:
    """A pair of names.

    Parameters
    ----------
    names
        In order.
    both, left, right
        Documents that name both, and each.
    npmi
        Normalised pointwise mutual information, in [-1, 1].
    p, q
        One-sided Fisher's exact test, and adjusted by Benjamini and Hochberg over all pairs that could meet.
    """

    names: tuple[str, str]
    both: int
    left: int
    right: int
    npmi: float
    p: float
    q: float


def gene_symbols_in(text: str, species: str = "human") -> set[str]:
    """Current symbols that a text names as they are written, hyphens kept; English words are left out.

    Symbols of one letter, and words such as ``CAN`` that are common in capitals too, look like any word.

    Parameters
    ----------
    text
        Any.
    species
        ``human`` or ``mouse``.

    Examples
    --------
    >>> sorted(gene_symbols_in("BRCA1 and HLA-DRB1, but not the WAS of AND"))
    ['BRCA1', 'HLA-DRB1']
    """
    from biolm.vocab.gene_table import gene_table

    known = gene_table().species(species).ids
    symbols = set()
    for term, _ in terms_of(text):
        name = term.rstrip("+")
        if len(name) > 1 and name in known and not is_stop_word(name.lower()):
            symbols.add(name)
    return symbols


def co_mentions(documents: Iterable[Iterable[str]], *, least: int = 2) -> list[CoMentions]:
    """Pairs that meet, by falling NPMI.

    Parameters
    ----------
    documents
        Names of each document; a name counts once in each.
    least
        Fewest documents that name both.

    Examples
    --------
    >>> [pair] = co_mentions([["A", "B"], ["B", "A", "A"], ["C"], []])
    >>> pair.names, pair.both, pair.npmi
    (('A', 'B'), 2, 1.0)
    """
    from scipy.stats import hypergeom

    sets = [set(names) for names in documents]
    total = len(sets)
    single: dict[str, int] = {}
    pairs: dict[tuple[str, str], int] = {}
    for names in sets:
        for name in names:
            single[name] = single.get(name, 0) + 1
        # Sorted, so that (A, B) and (B, A) are one pair.
        for pair in combinations(sorted(names), 2):
            pairs[pair] = pairs.get(pair, 0) + 1
    # Every pair of names that are frequent enough could meet: those that never do are tests too.
    frequent = sum(count >= least for count in single.values())
    tests = frequent * (frequent - 1) // 2
    rows = [(pair, both) for pair, both in pairs.items() if both >= least]
    if not rows:
        return []
    left = np.array([single[a] for (a, _), _ in rows])
    right = np.array([single[b] for (_, b), _ in rows])
    met = np.array([both for _, both in rows])
    # met - 1: sf is the probability of strictly more.
    p = hypergeom.sf(met - 1, total, left, right)
    # Without the pairs that never met, FDR would be too good by far.
    padded = np.concatenate([p, np.ones(max(0, tests - len(p)))])
    q = adjusted(padded)[: len(p)]
    joint = met / total
    ratio = np.log(joint * total * total / (left * right))
    npmi = np.where(joint < 1, ratio / -np.log(np.minimum(joint, 1 - 1e-15)), 1.0)
    edges = [
        CoMentions(pair, both, int(a), int(b), round(float(n), 12), float(p_value), float(q_value))
        for (pair, both), a, b, n, p_value, q_value in zip(rows, left, right, npmi, p, q, strict=True)
    ]
    return sorted(edges, key=lambda each: (-each.npmi, each.q, each.names))


def graph_of(pairs: Sequence[CoMentions], *, most_q: float = 0.05, seed: int = 0) -> nx.Graph[str]:
    """Graph of significant pairs; nodes hold their centralities and communities (Louvain).

    Parameters
    ----------
    pairs
        Of genes.
    most_q
        Largest false discovery rate.
    seed
        Of the communities.

    Raises
    ------
    InputError
        If no pair is significant.
    """
    import networkx as nx

    graph: nx.Graph[str] = nx.Graph()
    for pair in pairs:
        if pair.q <= most_q and pair.npmi > 0:
            graph.add_edge(*pair.names, npmi=pair.npmi, both=pair.both, q=pair.q)
    if not graph:
        raise InputError(f"no pair is named together more often than by chance (q <= {most_q})")
    # Unweighted: a path is short in edges, not in NPMI, which is no distance.
    between = nx.betweenness_centrality(graph)
    groups = nx.community.louvain_communities(graph, weight="npmi", seed=seed)
    # Louvain numbers groups as it happens; by size and name they keep their colours.
    ordered = sorted(groups, key=lambda group: (-len(group), min(group)))
    for number, group in enumerate(ordered):
        for name in group:
            graph.nodes[name].update(community=number, degree=graph.degree(name), betweenness=between[name])
    return graph


def draw_network(graph: nx.Graph[str], path: Path, *, seed: int = 0, overwrite: bool = False) -> None:
    """Draw a graph: colour by community, size by degree, width by NPMI.

    Parameters
    ----------
    graph
        As :func:`graph_of` makes it.
    path
        ``.png``, ``.svg`` or ``.pdf``.
    seed
        Of the layout.
    overwrite
        Replace an existing picture.
    """
    import networkx as nx
    from matplotlib.figure import Figure

    places: Mapping[str, Any] = nx.spring_layout(graph, seed=seed, weight="npmi", k=1.8 / np.sqrt(len(graph)))
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.add_subplot()
    colours = [data["community"] for _, data in graph.nodes(data=True)]
    sizes = [60 + 60 * data["degree"] for _, data in graph.nodes(data=True)]
    widths = [0.5 + 3 * data["npmi"] for *_, data in graph.edges(data=True)]
    nx.draw_networkx_edges(graph, places, ax=axes, width=widths, edge_color="#bbbbbb")
    nx.draw_networkx_nodes(graph, places, ax=axes, node_size=sizes, node_color=colours, cmap="tab20")
    nx.draw_networkx_labels(graph, places, ax=axes, font_size=8)
    axes.set_axis_off()
    with replacing(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=150)


def draw_cloud(weights: Mapping[str, float], path: Path, *, seed: int = 0, overwrite: bool = False) -> None:
    """Draw a word cloud; bigger for more weight.

    Parameters
    ----------
    weights
        Of each term, above 0.
    path
        ``.png``.
    seed
        Of the places.
    overwrite
        Replace an existing picture.

    Raises
    ------
    ConfigError
        If the extra ``mining`` is not installed.
    """
    from biolm.errors import ConfigError

    try:
        from wordcloud import WordCloud
    except ImportError as error:
        raise ConfigError(f"word clouds need wordcloud: {advice('mining')}") from error
    cloud = WordCloud(width=900, height=600, background_color="white", random_state=seed, colormap="viridis")
    image = cloud.generate_from_frequencies(
        {name: float(value) for name, value in weights.items() if value > 0}
    )
    with replacing(path, overwrite=overwrite) as temporary:
        image.to_file(str(temporary))
