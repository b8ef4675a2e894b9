"""Make the table of biological processes: ``python data/go/make.py RAW_DATA [OUTPUT_FOLDER]``.

RAW_DATA holds ``genes/human_go_bp.tsv.gz``. The result depends on the input alone: rows are sorted and gzip
carries no time.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILE = "processes.tsv.gz"
FEWEST, MOST = 5, 500


def main(raw: Path, output: Path) -> None:
    """Write the table and print what goes into the README."""
    genes: dict[tuple[str, str], set[str]] = defaultdict(set)
    with gzip.open(raw / "genes/human_go_bp.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            # "ND" stands for no data: the root term, given to genes that nobody has studied.
            if line["ensembl_id"] and line["evidence"] != "ND":
                genes[line["go_id"], line["go_name"]].add(line["ensembl_id"].removeprefix("ENSG").lstrip("0"))
    rows = [
        f"{term}\t{name}\t{' '.join(sorted(held, key=int))}\n"
        for (term, name), held in sorted(genes.items())
        if FEWEST <= len(held) <= MOST
    ]
    text = "term\tname\tgenes\n" + "".join(rows)
    (output / FILE).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    named = sum(row.count(" ", row.rindex("\t")) + 1 for row in rows)
    print(f"{len(rows)} terms, {named} annotations, {(output / FILE).stat().st_size} bytes")
    # Compressed bytes depend on the version of zlib, so the text is what is checked.
    print(f"sha256 of the text {hashlib.sha256(text.encode()).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else HERE)
