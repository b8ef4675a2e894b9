"""Biological processes of the Gene Ontology and their human genes; ``data/go/README.md`` says where from."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache

from biolm.resources import shipped

__all__ = ["Process", "processes"]


@dataclass(frozen=True, slots=True)
class Process:
    """One term: its id, its name, and the Ensembl ids of its genes."""

    term: str
    name: str
    genes: tuple[str, ...]


@cache
def processes() -> tuple[Process, ...]:
    """Every term of the shipped table, by id.

    Examples
    --------
    >>> found = {process.name: process for process in processes()}["mitotic spindle assembly"]
    >>> found.term, found.genes[0][:4]
    ('GO:0090307', 'ENSG')
    """
    text = gzip.decompress(shipped("go/processes.tsv.gz").read_bytes()).decode("utf-8")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return tuple(
        Process(term, name, tuple(f"ENSG{int(number):011d}" for number in genes.split()))
        for term, name, genes in rows
    )
