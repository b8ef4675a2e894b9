"""Whether neighbouring genes share processes of the Gene Ontology, beside chance and co-expression.

    python benchmarks/genes_go.py CELLS.h5ad HUMAN_GO_BP.tsv.gz [-m genetext] [-k 5] [--genes 1500]

The most expressed genes of the file that have annotations (those inferred electronically are left out, and
so are terms of fewer than 3 or more than 100 of these genes). For every gene its k nearest, by the vectors
of a model (static and, where it reads tokens, contextual) and by co-expression: the correlation of
log-normalised counts over cells. Printed is the fraction of such pairs with a common term, beside the mean
and the largest of 200 permutations in which the genes swap names, and the fold over it.

The vectors of the built-in genetext were made from names of these terms, so its figure is circular: a check
of the tool, not of the model. A table of random vectors stands beside it.
"""

from __future__ import annotations

import argparse
import gzip
import logging
from pathlib import Path

import anndata
import numpy as np
import scanpy
import scipy.sparse as sp

from biolm.errors import ConfigError
from biolm.jobs.bind import loaded
from biolm.tasks.genes.vectors import contextual, static
from biolm.tasks.search.exact import directions, exact_neighbours

PERMUTATIONS = 200


def main() -> None:
    """Print a line for every kind of neighbours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells_file", type=Path)
    parser.add_argument("terms_file", type=Path)
    parser.add_argument("-m", "--model", default="genetext")
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--genes", type=int, default=1500)
    given = parser.parse_args()
    logging.getLogger("biolm").setLevel(logging.ERROR)
    adata = anndata.read_h5ad(given.cells_file)
    annotated = annotations(given.terms_file)
    total = np.asarray(adata.X.sum(0)).ravel()
    known = [i for i in np.argsort(-total, kind="stable") if adata.var_names[i] in annotated and total[i] > 0]
    adata = adata[:, known[: given.genes]].copy()
    names = adata.var_names.to_numpy().astype(str)
    tables = vectors(adata, given.model, names)
    held = np.logical_and.reduce([table.any(1) for table in tables.values()])
    shared = common_terms([annotated[name] for name in names[held]])
    print(f"{held.sum()} genes, {given.k} neighbours; fraction of pairs with a common process")
    print(f"{'neighbours by':34}{'share':>8}{'null mean':>11}{'null max':>10}{'fold':>7}")
    for title, table in tables.items():
        unit = directions((table[held] - table[held].mean(0)).astype(np.float32))
        own = np.arange(len(unit))
        near, _ = exact_neighbours(unit, unit, given.k, metric="cosine", groups=(own, own))
        share = shared[own[:, None], near].mean()
        rng = np.random.default_rng(0)
        null = []
        for _ in range(PERMUTATIONS):
            swap = rng.permutation(len(unit))
            null.append(shared[swap[:, None], swap[near]].mean())
        print(f"{title:34}{share:8.4f}{np.mean(null):11.4f}{np.max(null):10.4f}{share / np.mean(null):7.1f}")


def annotations(path: Path) -> dict[str, set[str]]:
    """Terms of each symbol, those inferred electronically left out."""
    found: dict[str, set[str]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split("\t")
        symbol, term, evidence = (header.index(name) for name in ("symbol", "go_id", "evidence"))
        for line in file:
            row = line.rstrip("\n").split("\t")
            if row[symbol] and row[evidence] != "IEA":
                found.setdefault(row[symbol], set()).add(row[term])
    return found


def common_terms(terms: list[set[str]]) -> np.ndarray:
    """``(m, m)`` whether two genes share a term of 3 to 100 of the genes."""
    every = sorted(set().union(*terms))
    number = {term: place for place, term in enumerate(every)}
    rows = [(gene, number[term]) for gene, held in enumerate(terms) for term in sorted(held)]
    gene, term = np.array(rows).T
    table = sp.csr_matrix((np.ones(len(rows)), (gene, term)), (len(terms), len(every)))
    size = np.asarray(table.sum(0)).ravel()
    table = table[:, (size >= 3) & (size <= 100)]
    return (table @ table.T).toarray() > 0


def vectors(adata: anndata.AnnData, name: str, genes: np.ndarray) -> dict[str, np.ndarray]:
    """A table ``(m, ·)`` for each kind of neighbours; zeros for genes without a vector."""
    model = loaded(name)
    found = {f"{model.name}, static": static(model, adata, minimum_match=0)}
    try:
        found[f"{model.name}, contextual"] = contextual(adata, model=model, device="cpu", minimum_match=0)
    except ConfigError:
        print(f"{model.name} reads no tokens, so there are no contextual vectors")
    place = {gene: number for number, gene in enumerate(genes)}
    tables = {}
    for title, one in found.items():
        tables[title] = np.zeros((len(genes), one.vectors.shape[1]))
        tables[title][[place[gene] for gene in one.names]] = one.vectors
    counts = adata.copy()
    scanpy.pp.normalize_total(counts, target_sum=1e4)
    scanpy.pp.log1p(counts)
    tables["co-expression over cells"] = centred(counts.X.toarray().T)
    tables["random vectors"] = np.random.default_rng(1).standard_normal((len(genes), 48))
    return tables


def centred(table: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1, whose cosine is the correlation."""
    table = table - table.mean(1, keepdims=True)
    return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)


if __name__ == "__main__":
    main()
