"""Make the compact gene table from the raw tables: ``python data/genes/make.py RAW_DATA [OUTPUT_FOLDER]``.

RAW_DATA holds ``genes/`` (GENCODE, NCBI aliases, orthologs) and ``cells/hsmm_80.h5ad`` (names and
ids of GENCODE v17). The result depends on the input alone: rows are sorted and gzip carries no time.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py

Row = tuple[str, ...]
Candidates = dict[str, set[str]]
Tables = tuple[list[Row], list[Row]]

RETIRED = "retired"
ALIAS, AMBIGUOUS, MAIN = "alias", "ambiguous", "main"

# Mouse genes that Ensembl 105 pairs with none or with a pseudogene, and whose human gene is named apart.
BY_HAND = {
    "Lyz1": "LYZ",
    "Lyz2": "LYZ",
    "Hbb-bs": "HBB",
    "Hbb-bt": "HBB",
    "H2-Aa": "HLA-DQA1",
    "Mt2": "MT2A",
}
# Biotypes of the pieces that receptors of B and T cells are put together from.
SEGMENT = re.compile(r"(IG|TR)_[VDJ]_")
# Human names that a mouse gene can have had too: capitals and digits.
SPELLED = re.compile(r"[A-Z][A-Z0-9]{1,11}")


def read(path: Path, *, delimiter: str) -> Iterator[list[str]]:
    """Rows of a gzipped table, quotes taken as plain characters."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def gencode(path: Path) -> list[Row]:
    """``(ensembl, symbol, biotype)``; the symbol is empty where GENCODE repeats the id."""
    return [(r[0], "" if r[1] == r[0] else r[1], r[4]) for r in read(path, delimiter=",")]


def earlier_release(path: Path) -> list[tuple[str, str]]:
    """``(name, ensembl)`` as GENCODE v17 had them, from the annotation that came with HSMM."""
    with h5py.File(path) as file:
        columns = []
        for key in ("gene_symbol_source", "source_id"):
            node = file["var"][key]
            values = node["categories"][:][node["codes"][:]] if isinstance(node, h5py.Group) else node[:]
            columns.append([value.decode() for value in values])
    return [(name, ensembl.split(".")[0]) for name, ensembl in zip(*columns, strict=True)]


def by_symbol(genes: Iterable[Row]) -> Candidates:
    """Current symbol to its ids."""
    found: Candidates = defaultdict(set)
    for ensembl, symbol, biotype in genes:
        if symbol and biotype != RETIRED:
            found[symbol].add(ensembl)
    return found


def human(raw: Path) -> Tables:
    """Human genes, and their earlier names and aliases."""
    genes = gencode(raw / "genes/gencode_homo_sapiens.csv.gz")
    current, known = by_symbol(genes), {row[0] for row in genes}
    aliases = list(read(raw / "genes/human_alias.tsv.gz", delimiter="\t"))[1:]
    pairs = [(row[0], row[2]) for row in aliases if row[2]]
    pairs += earlier_release(raw / "cells/hsmm_80.h5ad")
    # NCBI counts genes without an Ensembl id too, so its flags say more than the pairs alone.
    unsafe = {row[0] for row in aliases if row[5] == "1" or row[6] == "1"}

    names: Candidates = {name: set() for name in unsafe - current.keys()}
    retired: dict[str, str] = {}
    for name, ensembl in sorted(pairs):
        if ensembl not in known and name in current:
            retired[ensembl] = name  # the same gene under an id of an earlier release
        elif name not in current and name != ensembl:
            names.setdefault(name, set()).add(ensembl)
    linked: Candidates = defaultdict(set)
    for name, _, ensembl, _, is_current, *_ in aliases:
        if is_current == "1":
            linked[name].add(ensembl)
    rows = [name_row(name, ids, name in unsafe) for name, ids in names.items()]
    rows += main_genes(genes, linked)
    genes += [(ensembl, symbol, RETIRED) for ensembl, symbol in retired.items()]
    return genes, rows


def main_genes(genes: list[Row], linked: Candidates) -> list[Row]:
    """The gene meant by a symbol that several ids carry: NCBI's, else the only protein-coding one."""
    biotype = {row[0]: row[2] for row in genes}
    rows = []
    for symbol, ids in by_symbol(genes).items():
        coding = {ensembl for ensembl in ids if biotype[ensembl] == "protein_coding"}
        choices = [choice for choice in (ids & linked.get(symbol, set()), coding) if len(choice) == 1]
        if len(ids) > 1 and choices:
            rows.append((symbol, *choices[0], MAIN))
    return rows


def name_row(name: str, ids: set[str], unsafe: bool) -> Row:
    """``(name, ids, status)``."""
    return name, ",".join(sorted(ids)), AMBIGUOUS if unsafe or len(ids) > 1 else ALIAS


def mouse(raw: Path, human_genes: list[Row], human_names: list[Row]) -> Tables:
    """Mouse genes, and earlier symbols where man and mouse were renamed together.

    No table of mouse aliases is at hand, but most mouse genes are named after the human one and renamed with
    it (``ATP5B, Atp5b`` became ``ATP5F1B, Atp5f1b``). So an unambiguous earlier name of a human gene, spelled
    as in mouse, is an alias of the mouse gene that has today's human name, unless a mouse gene is called so.
    Of the 165 old symbols in one-to-one pairs of Ensembl 105 that this finds, it finds 161 in that pair.
    """
    genes = gencode(raw / "genes/gencode_mus_musculus.csv.gz")
    current = by_symbol(genes)
    taken = {symbol.upper() for symbol in current}
    upper: Candidates = defaultdict(set)
    for symbol, ids in current.items():
        upper[symbol.upper()] |= ids
    human_symbol = {row[0]: row[1] for row in human_genes if row[2] != RETIRED}
    names = main_genes(genes, {})
    for name, ids, status in human_names:
        today = upper.get(human_symbol.get(ids, "").upper(), set())
        if status == ALIAS and len(today) == 1 and name not in taken and SPELLED.fullmatch(name):
            names.append(name_row(name.capitalize(), today, False))
    return genes, names


def resolver(genes: list[Row], names: list[Row]) -> dict[str, str]:
    """Name to its one id in the table of genes: the symbol's only or main gene, or a safe alias."""
    known = {row[0] for row in genes}
    found = {name: ids for name, ids, status in names if status != AMBIGUOUS and ids in known}
    return found | {symbol: min(ids) for symbol, ids in by_symbol(genes).items() if len(ids) == 1}


def ortholog_ids(
    pairs: list[list[str]],
    human: tuple[dict[str, str], Candidates],
    mouse_id: dict[str, str],
    mice: list[Row],
) -> set[tuple[str, str]]:
    """``(human ensembl, mouse ensembl)``: what Ensembl lists, else the gene of the same name.

    Of the mouse genes with a listed pair and a human namesake, 99 % are listed with that namesake, so the
    name stands in where nothing is listed (``Ccl5``). Segments of receptor genes are left out: they are
    numbered apart in the two species.
    """
    human_id, current = human
    listed = {
        (human_id[human_symbol], mouse_id[mouse_symbol])
        for human_symbol, mouse_symbol, *_ in pairs
        if human_symbol in human_id and mouse_symbol in mouse_id
    }
    paired = {ensembl for _, ensembl in listed}
    biotype = {row[0]: row[2] for row in mice}
    for symbol in by_symbol(mice).keys() & mouse_id.keys():
        ensembl, name = mouse_id[symbol], BY_HAND.get(symbol, symbol.upper())
        known = name in current and name in human_id
        if known and ensembl not in paired and not SEGMENT.match(biotype[ensembl]):
            listed.add((human_id[name], ensembl))
    return listed


def weighted(pairs: set[tuple[str, str]], human_genes: list[Row], mouse_genes: list[Row]) -> list[Row]:
    """``(human ensembl, mouse ensembl, weight)``; the weights of a mouse gene's pairs add up to 1.

    A human gene weighs one over the number of mouse genes that it is paired with: one that stands for this
    mouse gene alone says most about it. Where one of several has the mouse gene's name, it weighs half.
    """
    symbol = {row[0]: row[1].upper() for row in (*human_genes, *mouse_genes)}
    partners = Counter(human for human, _ in pairs)
    groups: dict[str, list[str]] = defaultdict(list)
    for human, mouse in sorted(pairs):
        groups[mouse].append(human)
    rows = []
    for mouse, humans in groups.items():
        weights = [1 / partners[human] for human in humans]
        same = [symbol[human] == symbol[mouse] for human in humans]
        others = sum(weight for weight, one in zip(weights, same, strict=True) if not one)
        if sum(same) == 1 and others:
            weights = [others if one else weight for one, weight in zip(same, weights, strict=True)]
        total = sum(weights)
        rows += [
            (human, mouse, f"{weight / total:.4g}") for human, weight in zip(humans, weights, strict=True)
        ]
    return sorted(rows)


def write(path: Path, header: Row, rows: list[Row]) -> None:
    """A tab-separated, gzipped table, rows in the order given."""
    text = "\n".join("\t".join(row) for row in [header, *rows])
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{path.name}\t{len(rows):,} rows\t{path.stat().st_size:,} bytes")


def main(raw: Path, output: Path) -> None:
    """Write the five tables."""
    pairs = list(read(raw / "genes/human_mouse_orthologs.tsv.gz", delimiter="\t"))[1:]
    human_genes, human_names = human(raw)
    mouse_genes, mouse_names = mouse(raw, human_genes, human_names)
    human_id = resolver(human_genes, human_names), by_symbol(human_genes)
    linked = ortholog_ids(pairs, human_id, resolver(mouse_genes, mouse_names), mouse_genes)
    for species, genes, names in (
        ("human", human_genes, human_names),
        ("mouse", mouse_genes, mouse_names),
    ):
        # Genes without a symbol and each status stand together, so that a reader can slice.
        genes.sort(key=lambda row: (row[1] == "", row[2] == RETIRED, row[0]))
        names.sort(key=lambda row: (row[2], row[0]))
        write(output / f"{species}.tsv.gz", ("ensembl", "symbol", "biotype"), genes)
        write(output / f"{species}_names.tsv.gz", ("name", "ensembl", "status"), names)
    write(
        output / "orthologs.tsv.gz", ("human", "mouse", "weight"), weighted(linked, human_genes, mouse_genes)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent)
