"""Names of cell types from marker genes, by a language model that is asked several times and checked.

No answer is taken at its word: names must stand in the Cell Ontology, genes that an answer rests on among
the markers and in the gene table. The same model is asked about random genes of equal number; one that
names those too is not believed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from biolm.errors import ConfigError, InputError
from biolm.tasks.annotate.ontology import Ontology
from biolm.vocab.gene_table import gene_table

__all__ = ["CellName", "NamingSettings", "control_rate", "marker_prompt", "name_cells", "ontology_distance"]

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class NamingSettings:
    """How names are asked for.

    Parameters
    ----------
    repeats
        Times that each list is asked about.
    least_agreement
        Fraction of the answers that must agree.
    controls
        Random lists asked about; the name of a list is believed only where fewer than half of the answers to
        these name a type.
    tissue, species
        Said in the prompt where given.
    seed
        Of the random lists.
    """

    repeats: int = 5
    least_agreement: float = 0.6
    controls: int = 4
    tissue: str = ""
    species: str = "human"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.repeats < 2 or self.controls < 1:
            raise ConfigError("ask at least twice (repeats), and about at least one random list (controls)")


@dataclass(frozen=True, slots=True)
class CellName:
    """What a list of markers was named.

    Parameters
    ----------
    name, term
        The ontology's name and id; ``unknown`` and an empty id where there is none to trust.
    agreement
        Fraction of the answers that mean this type or a kind of it.
    confident
        Agreed on, supported by markers, and not by a model that names random genes as well.
    flags
        Why not.
    answers
        What was answered, each time.
    """

    name: str
    term: str
    agreement: float
    confident: bool
    flags: tuple[str, ...]
    answers: tuple[str, ...] = field(repr=False)


def marker_prompt(genes: Sequence[str], settings: NamingSettings) -> str:
    """The question about one list of genes.

    Parameters
    ----------
    genes
        Markers of a cluster.
    settings
        Choices of the job.
    """
    where = f" of {settings.tissue}" if settings.tissue else ""
    return (
        f"A cluster of {settings.species} cells{where} expresses these marker genes, the strongest first:\n"
        f"{', '.join(genes)}\n"
        "Which cell type is it? Use a name of the Cell Ontology. If the genes do not point to one "
        "type, say unknown.\n"
        "Answer in two lines:\nCell type: NAME or unknown\nGenes: those of the list that say so"
    )


def _parsed(answer: str) -> tuple[str, list[str]]:
    """The name and the genes of an answer."""
    named = re.search(r"cell type\s*[:=]\s*(.+)", answer, re.IGNORECASE)
    lines = answer.strip().splitlines()
    name = (named[1] if named else lines[0] if lines else "").strip(" .*_\"'")
    genes = re.search(r"genes?\s*[:=]\s*(.+)", answer, re.IGNORECASE)
    return name, re.findall(r"[\w.-]+", genes[1]) if genes else []


def _term(name: str, ontology: Ontology) -> str | None:
    """Id of a name, also in the plural or without the word cell."""
    # Models write "T cells" and "Natural killer" where the ontology has "T cell" and "natural killer cell".
    plain = name.lower()
    single = re.sub(r"s$", "", plain)
    for way in (plain, single, f"{single} cell", single.replace("-", " ")):
        if (term := ontology.find(way)) is not None:
            return term
    return None


def ontology_distance(ontology: Ontology, first: str, second: str) -> int | None:
    """Steps between two terms over their nearest common ancestor; None where they have none.

    Parameters
    ----------
    ontology
        With both terms.
    first, second
        Identifiers.

    Examples
    --------
    >>> cells = Ontology({"T": "T cell", "4": "CD4 T cell", "8": "CD8 T cell"}, {"4": ("T",), "8": ("T",)})
    >>> ontology_distance(cells, "4", "T"), ontology_distance(cells, "4", "8")
    (1, 2)
    """
    left, right = (_steps(ontology, term) for term in (first, second))
    shared = left.keys() & right.keys()
    return min((left[term] + right[term] for term in shared), default=None)


def _steps(ontology: Ontology, term: str) -> dict[str, int]:
    steps, edge, step = {term: 0}, [term], 0
    while edge:
        step += 1
        edge = [up for each in edge for up in ontology.parents.get(each, ()) if up not in steps]
        steps |= dict.fromkeys(edge, step)
    return steps


def control_rate(
    ask: Callable[[str, int], str], size: int, ontology: Ontology, settings: NamingSettings
) -> float:
    """Fraction of random lists of genes that the model names as a type of the ontology.

    Parameters
    ----------
    ask
        Answers a list of genes with a seed.
    size
        Genes of a list.
    ontology
        Of cell types.
    settings
        Choices of the job.
    """
    # Sorted, so that a seed draws the same genes whatever order the table has.
    symbols = sorted(gene_table().species(settings.species).ids)
    rng = np.random.default_rng(settings.seed)
    named = 0
    for number in range(settings.controls):
        genes = [str(gene) for gene in rng.choice(symbols, size, replace=False)]
        name, _ = _parsed(ask(marker_prompt(genes, settings), number))
        named += _term(name, ontology) is not None
    return named / settings.controls


def name_cells(
    markers: Mapping[str, Sequence[str]],
    ask: Callable[[str, int], str],
    ontology: Ontology,
    settings: NamingSettings | None = None,
) -> dict[str, CellName]:
    """Name each list of marker genes.

    Parameters
    ----------
    markers
        Genes of each cluster, the strongest first.
    ask
        Given a prompt and a number (the seed of that time), answers.
    ontology
        The Cell Ontology, or another.
    settings
        See :class:`NamingSettings`.

    Raises
    ------
    InputError
        If a list is empty.
    """
    settings = settings or NamingSettings()
    empty = [name for name, genes in markers.items() if not genes]
    if empty or not markers:
        raise InputError(f"cluster {empty[0] if empty else ''!r} has no marker genes; give at least one")
    rates: dict[int, float] = {}
    names = {}
    for cluster, genes in markers.items():
        # Once a length of list: longer random lists look like a type more often.
        if len(genes) not in rates:
            rates[len(genes)] = control_rate(ask, len(genes), ontology, settings)
        prompt = marker_prompt(genes, settings)
        answers = tuple(ask(prompt, number) for number in range(settings.repeats))
        names[cluster] = _chosen_names(genes, answers, ontology, rates[len(genes)], settings)
    return names


def _chosen_names(
    genes: Sequence[str], answers: tuple[str, ...], ontology: Ontology, rate: float, settings: NamingSettings
) -> CellName:
    parsed = [_parsed(answer) for answer in answers]
    terms = [_term(name, ontology) for name, _ in parsed]
    flags = []
    outside = sorted(
        {
            name
            for (name, _), term in zip(parsed, terms, strict=True)
            if term is None and name.lower() != UNKNOWN
        }
    )
    if outside:
        flags.append(f"not in the ontology: {', '.join(outside)[:120]}")
    chosen = _agreed([term for term in terms if term], ontology)
    agreeing = (
        [n for n, term in enumerate(terms) if term and chosen in ontology.ancestors(term)] if chosen else []
    )
    agreement = len(agreeing) / len(answers)
    flags += _unsupported(genes, [parsed[n][1] for n in agreeing], settings) if agreeing else []
    if chosen and agreement < settings.least_agreement:
        flags.append(f"only {agreement:.0%} of the answers agree")
    # A model that finds a type in most random lists finds one everywhere.
    if chosen and rate >= 0.5:
        flags.append(f"the model names {rate:.0%} of random gene lists too")
    confident = bool(chosen) and agreement >= settings.least_agreement and not flags
    name = ontology.names[chosen] if chosen and confident else UNKNOWN
    if chosen and not confident:
        flags.append(f"most frequent answer: {ontology.names[chosen]}")
    return CellName(name, chosen if confident else "", agreement, confident, tuple(flags), answers)


def _agreed(terms: Sequence[str], ontology: Ontology) -> str:
    """The most specific term that most answers are or are a kind of.

    Answers at different depth agree: "T cell" and "CD4 T cell" are both a T cell. An ancestor that nobody
    named does not win, or everything would agree on "cell".
    """
    if not terms:
        return ""
    votes = Counter({term: sum(term in ontology.ancestors(other) for other in terms) for term in set(terms)})
    most = max(votes.values())
    deepest = [term for term, count in votes.items() if count == most]
    # Sorted, so that of terms equally deep the same one is taken every time.
    return max(sorted(deepest), key=lambda term: len(ontology.ancestors(term)))


def _unsupported(genes: Sequence[str], cited: Sequence[Sequence[str]], settings: NamingSettings) -> list[str]:
    """Flags for genes that are no markers or no genes, and for answers that cite none."""
    known = gene_table().species(settings.species)
    listed = {gene.upper() for gene in genes}
    named = {gene for each in cited for gene in each}
    flags = []
    foreign = sorted(gene for gene in named if gene.upper() not in listed)
    no_genes = [gene for gene in foreign if not known.upper_ids.get(gene.upper())]
    if no_genes:
        flags.append(f"cites what is no gene: {', '.join(no_genes)[:80]}")
    elif foreign:
        flags.append(f"cites genes that are not in the list: {', '.join(foreign)[:80]}")
    if not any(gene.upper() in listed for gene in named):
        flags.append("no marker of the list is cited")
    return flags
