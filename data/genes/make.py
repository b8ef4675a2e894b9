"""Make the compact gene table from the raw tables: ``python data/genes/make.py RAW_DATA [OUTPUT_FOLDER]``.

RAW_DATA holds ``genes/`` (GENCODE, NCBI aliases, orthologs) and ``cells/hsmm_80.h5ad`` (names and
ids of GENCODE v17). The result depends on the input alone: rows are sorted and gzip carries no time.
"""

from __future__ import annotations

import csv
import gzip
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


def mouse(raw: Path, pairs: list[list[str]], human_genes: list[Row], human_names: list[Row]) -> Tables:
    """Mouse genes, and earlier symbols where man and mouse were renamed together.

    No table of mouse aliases is at hand. The ortholog table has symbols of Ensembl 105. An old mouse
    symbol of a one-to-one pair is today's mouse gene where it is gone itself, where it spells an
    unambiguous earlier name of the human gene, and where today's mouse symbol spells today's human
    one and is not in the ortholog table (``ARNTL, Arntl`` became ``BMAL1, Bmal1``).
    """
    genes = gencode(raw / "genes/gencode_mus_musculus.csv.gz")
    current = by_symbol(genes)
    listed = {row[1] for row in pairs}
    upper: Candidates = defaultdict(set)
    for symbol in current.keys() - listed:
        upper[symbol.upper()].add(symbol)
    human_id = resolver(human_genes, human_names)
    human_symbol = {row[0]: row[1] for row in human_genes}
    previous = {(name.upper(), ids) for name, ids, status in human_names if status == ALIAS}
    names = main_genes(genes, {})
    for human_name, old, one_to_one, _ in pairs:
        ensembl = human_id.get(human_name, "")
        if one_to_one == "1" and old not in current and (old.upper(), ensembl) in previous:
            today = upper[human_symbol[ensembl].upper()]
            if len(today) == 1 and len(current[min(today)]) == 1:
                names.append(name_row(old, current[min(today)], False))
    return genes, names


def resolver(genes: list[Row], names: list[Row]) -> dict[str, str]:
    """Name to its one id in the table of genes: the symbol's only or main gene, or a safe alias."""
    known = {row[0] for row in genes}
    found = {name: ids for name, ids, status in names if status != AMBIGUOUS and ids in known}
    return found | {symbol: min(ids) for symbol, ids in by_symbol(genes).items() if len(ids) == 1}


def ortholog_ids(pairs: list[list[str]], human_id: dict[str, str], mouse_id: dict[str, str]) -> list[Row]:
    """``(human ensembl, mouse ensembl, one_to_one)`` of the pairs whose two symbols are one gene each."""
    found: dict[tuple[str, str], bool] = {}
    for human_symbol, mouse_symbol, one_to_one, _ in pairs:
        if human_symbol in human_id and mouse_symbol in mouse_id:
            pair = human_id[human_symbol], mouse_id[mouse_symbol]
            found[pair] = found.get(pair, False) or one_to_one == "1"
    uses = Counter(ensembl for pair in found for ensembl in pair)
    return [(a, b, str(int(one and uses[a] == uses[b] == 1))) for (a, b), one in found.items()]


def write(path: Path, header: Row, rows: list[Row]) -> None:
    """A tab-separated, gzipped table, rows in the order given."""
    text = "\n".join("\t".join(row) for row in [header, *rows])
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{path.name}\t{len(rows):,} rows\t{path.stat().st_size:,} bytes")


def main(raw: Path, output: Path) -> None:
    """Write the five tables."""
    pairs = list(read(raw / "genes/human_mouse_orthologs.tsv.gz", delimiter="\t"))[1:]
    human_genes, human_names = human(raw)
    mouse_genes, mouse_names = mouse(raw, pairs, human_genes, human_names)
    linked = ortholog_ids(pairs, resolver(human_genes, human_names), resolver(mouse_genes, mouse_names))
    for species, genes, names in (
        ("human", human_genes, human_names),
        ("mouse", mouse_genes, mouse_names),
    ):
        # Genes without a symbol and each status stand together, so that a reader can slice.
        genes.sort(key=lambda row: (row[1] == "", row[2] == RETIRED, row[0]))
        names.sort(key=lambda row: (row[2], row[0]))
        write(output / f"{species}.tsv.gz", ("ensembl", "symbol", "biotype"), genes)
        write(output / f"{species}_names.tsv.gz", ("name", "ensembl", "status"), names)
    write(output / "orthologs.tsv.gz", ("human", "mouse", "one_to_one"), sorted(linked))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent)
