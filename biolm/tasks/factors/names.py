"""What the factors of a model stand for: the genes that load most on each, and their biological processes.

Dimensions: ``d`` factors · ``k`` genes with loadings · ``u`` of them with an annotation · ``t`` terms ·
``r`` rows of the table, a term of one side of a factor each.

A gene's weight on a factor is its loading times the root of its mean log count: the largest loadings by
themselves belong to genes of few cells, which hardly move a factor. The genes of each side of a factor
(largest and smallest weights) are tested for terms of the Gene Ontology by an exact test within tenths of
mean expression (:mod:`biolm.scoring.enrichment`); false discovery rates are over all terms, factors and sides
together. Genes count as independent, so that genes regulated together make p values too small where they
share a term.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.errors import ConfigError
from biolm.io.provenance import plain
from biolm.io.table import write_table
from biolm.jobs.bind import loaded
from biolm.models.model import CellModel
from biolm.models.systems.cellfactors import CellFactors
from biolm.options import Option, check_options, read_options
from biolm.report.report import write_report
from biolm.report.tables import TextTable
from biolm.scoring.enrichment import stratified_enrichment
from biolm.scoring.rates import adjusted
from biolm.vocab.gene_table import gene_table
from biolm.vocab.processes import processes

__all__ = ["FactorNames", "NameSettings", "name_factors"]

SCHEMA = "biolm.factors/1"
SIDES = ("+", "-")
_LEAST = 5  # annotated genes with loadings of a term that is tested
_TENTHS = 10


@dataclass(frozen=True, kw_only=True)
class NameSettings:
    """Choices of naming factors.

    Parameters
    ----------
    top
        Annotated genes of a side that are tested.
    shown
        Genes and terms of a side that are listed.
    max_fdr
        Terms of a larger false discovery rate are left out.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    top: Annotated[int, Option(help="Genes of a side that are tested.", min=5, max=500)] = 50
    shown: Annotated[int, Option(help="Genes and terms of a side to list.", min=1, max=50)] = 10
    max_fdr: Annotated[float, Option(help="Largest false discovery rate.", min=0, max=1)] = 0.05

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, eq=False)
class FactorNames:
    """Sides of factors with their genes and terms.

    Parameters
    ----------
    columns
        The table ``(r,)`` by name: ``factor`` (from 1), ``side``, ``signal`` over noise, ``genes`` (the
        largest weights first), ``term``, ``name``, ``count`` of the term's genes among those tested,
        ``expected``, ``p_value``, ``fdr``. A side without a term has one row, with an empty term.
    provenance
        Provenance.
    """

    columns: dict[str, NDArray[Any]]
    provenance: dict[str, Any]

    def write(self, target: str | Path, *, overwrite: bool = False) -> None:
        """Write a page (``.html``) or the table (``.tsv``, ``.csv`` or ``.parquet``).

        Parameters
        ----------
        target
            To write.
        overwrite
            Whether it may be replaced.

        Raises
        ------
        ConfigError, OutputError
            If the ending names no format, or the file exists.
        """
        path = Path(target)
        if path.suffix.lower() == ".html":
            self._page(path, overwrite=overwrite)
        else:
            write_table(path, [self.columns], self.provenance, schema=SCHEMA, overwrite=overwrite)

    def _page(self, path: Path, *, overwrite: bool) -> None:
        sides: dict[tuple[int, str], list[int]] = {}
        for row, key in enumerate(zip(self.columns["factor"].tolist(), self.columns["side"], strict=True)):
            sides.setdefault(key, []).append(row)
        lines = []
        for (factor, side), rows in sides.items():
            terms = [
                f"{self.columns['name'][row]} ({self.columns['fdr'][row]:.1g})"
                for row in rows
                if self.columns["term"][row]
            ]
            lines.append((f"{factor} {side}", self.columns["genes"][rows[0]], "; ".join(terms) or "none"))
        named = sum(line[2] != "none" for line in lines)
        note = (
            f"The {self.provenance['top']} annotated genes of each side were tested for biological processes "
            "of the Gene Ontology against genes of like mean expression; behind each term is its false "
            "discovery rate over all terms, factors and sides. A factor is a direction in which cells vary, "
            "not a process: many have no term."
        )
        table = TextTable(
            title="Factors", columns=("Factor", "Genes of largest weight", "Terms"), rows=lines, note=note
        )
        write_report(
            path,
            title=f"Factors of {self.provenance['model']}",
            summary=[f"{named} of {len(lines)} sides of factors have a term."],
            parts=[table],
            provenance=self.provenance,
            overwrite=overwrite,
        )


def name_factors(model: str | Path | CellModel = "cellfactors", **options: Any) -> FactorNames:
    """Name the factors of a model by the genes that load most on them and their biological processes.

    Parameters
    ----------
    model
        ``cellfactors``, a folder of ``biolm fit-factors``, or the loaded model.
    options
        See :class:`NameSettings`.

    Raises
    ------
    ConfigError
        If the model has no factors, or fewer than 100 annotated genes.

    Examples
    --------
    >>> names = name_factors(max_fdr=0.01).columns
    >>> "B cell receptor signaling pathway" in names["name"]
    True
    """
    settings: NameSettings = read_options(NameSettings, options, "name_factors")
    reader = loaded(model)
    if not isinstance(reader, CellFactors):
        raise ConfigError(
            f"model {reader.name} has no factors to name; choose cellfactors or a folder of biolm fit-factors"
        )
    ids = [reader.vocabulary.genes[row] for row in reader.rows.tolist()]
    terms, table = _terms(ids)
    annotated = np.flatnonzero(np.asarray(table.sum(0)).ravel() > 0)
    if len(annotated) < max(100, 2 * settings.top):
        raise ConfigError(
            f"only {len(annotated)} genes of the model have an annotation, too few to test {settings.top} "
            "against the others; fit it to more genes, or lower `top`"
        )
    table = table[:, annotated]
    order = np.argsort(reader.means[annotated], kind="stable")
    # Weighted by mean expression: a gene that few cells show can load high by chance.
    weights = reader.loadings * np.sqrt(np.maximum(reader.means, 0))[:, None]
    strata = np.empty(len(annotated), np.int64)
    # Tenths by mean expression; genes of high expression are studied, and annotated, more.
    strata[order] = np.arange(len(annotated)) * _TENTHS // len(annotated)
    sides, tests = [], []
    for factor in range(reader.loadings.shape[1]):
        for side, sign in zip(SIDES, (1, -1), strict=True):
            least_first = -sign * weights[:, factor]
            chosen = np.zeros(len(annotated), bool)
            chosen[np.argsort(least_first[annotated], kind="stable")[: settings.top]] = True
            tests.append(stratified_enrichment(chosen, table, strata))
            sides.append((factor, side, np.argsort(least_first, kind="stable")[: settings.shown]))
    # Corrected over all sides at once, since a reader looks through all of them.
    rates = adjusted(np.concatenate([p for _, _, p in tests])).reshape(len(tests), -1)
    symbols = gene_table().ensembl_to_symbol("human")
    rows = []
    for (factor, side, genes), test, fdr in zip(sides, tests, rates, strict=True):
        words = " ".join(symbols.get(ids[gene], ids[gene]) for gene in genes.tolist())
        head = (factor + 1, side, float(reader.signal[factor]), words)
        kept = [at for at in np.lexsort((test[2], fdr)) if fdr[at] <= settings.max_fdr][: settings.shown]
        for at in kept:
            count, expected, p_value = (float(values[at]) for values in test)
            rows.append((*head, *terms[at], count, expected, p_value, float(fdr[at])))
        if not kept:
            rows.append((*head, "", "", np.nan, np.nan, np.nan, np.nan))
    return FactorNames(_columns(rows), _provenance(reader, settings, len(terms), len(annotated)))


def _terms(ids: list[str]) -> tuple[list[tuple[str, str]], Any]:
    """Ids and names of the ``t`` terms that are tested, and which genes ``(t, k)`` belong to each."""
    from scipy.sparse import csr_matrix

    place = {gene: column for column, gene in enumerate(ids)}
    terms: list[tuple[str, str]] = []
    rows: list[int] = []
    columns: list[int] = []
    for process in processes():
        members = [place[gene] for gene in process.genes if gene in place]
        if len(members) >= _LEAST:
            rows += [len(terms)] * len(members)
            columns += members
            terms.append((process.term, process.name))
    return terms, csr_matrix((np.ones(len(rows), np.int64), (rows, columns)), shape=(len(terms), len(ids)))


def _columns(rows: list[tuple[Any, ...]]) -> dict[str, NDArray[Any]]:
    names = ("factor", "side", "signal", "genes", "term", "name", "count", "expected", "p_value", "fdr")
    return {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _provenance(model: CellFactors, settings: NameSettings, terms: int, genes: int) -> dict[str, Any]:
    provenance: dict[str, Any] = plain(
        {
            "model": model.name,
            "checkpoint": model.describe(),
            "biolm_version": biolm.__version__,
            "top": settings.top,
            "max_fdr": settings.max_fdr,
            "terms_tested": terms,
            "genes_annotated": genes,
            "annotations": "Gene Ontology 2022-07-01, biological process, direct annotations",
        }
    )
    return provenance
