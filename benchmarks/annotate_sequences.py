"""Label real sequences: EC class of proteins, species of 1 kb windows, beside k-mers on the same split.

    python benchmarks/annotate_sequences.py SEQUENCES -o FOLDER --protein MODEL --dna MODEL [--methods ...]

Proteins: those of E. coli and Enterococcus with an EC number; the first digit is the class. Whole clusters of
proteins alike at 50 % identity are held out. Windows: 1 kb of five genomes, from the 20 kb pieces of
``own_dna_model.py``; the pieces that the DNA model never saw are held out (column ``piece``).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from own_dna_model import pieces

from biolm import annotate
from biolm.io.label_table import read_label_table
from biolm.io.sequences import open_sequences
from biolm.io.sequences.block import concatenate_blocks

SETS = ("escherichia", "enterococcus")
WINDOW, LEARNED, HELD_OUT = 1000, 400, 100  # bases, windows of each species to learn from and to hold out


def write_proteins(folder: Path, output: Path) -> None:
    """All proteins with an EC number under names of their own, and their classes."""
    fasta, table = [], ["id\tec_first\n"]
    for name in SETS:
        place = folder / "proteins"
        with open_sequences(place / f"prokka_{name}.fasta.gz") as source:
            block = concatenate_blocks(list(source.blocks()))
        # Some names occur twice: rows follow the records.
        classes = read_label_table(place / f"prokka_{name}.labels.tsv.gz", block.names).column("ec_first")
        for row in np.flatnonzero(classes != "").tolist():
            fasta.append(f">{name}_{row}\n{block.text(row)}\n")
            table.append(f"{name}_{row}\t{classes[row]}\n")
    (output / "proteins.fasta").write_text("".join(fasta), encoding="ascii")
    (output / "proteins.tsv").write_text("".join(table), encoding="ascii")


def write_windows(folder: Path, output: Path) -> None:
    """Windows of each genome, from pieces that the model of DNA saw and others; half of them reversed."""
    draws = np.random.default_rng(0)
    fasta, table = [], ["id\tspecies\tpiece\n"]
    turned = str.maketrans("ACGT", "TGCA")
    for side, (texts, many) in enumerate(zip(pieces(folder), (LEARNED, HELD_OUT), strict=True)):
        for species, each in texts.items():
            found = [
                text[at : at + WINDOW] for text in each for at in range(0, len(text) - WINDOW + 1, WINDOW)
            ]
            for number in draws.permutation(len(found))[:many].tolist():
                text = found[number]
                text = text[::-1].translate(turned) if draws.random() < 0.5 else text
                name = f"{species.replace(' ', '_')}_{side}_{number}"
                fasta.append(f">{name}\n{text}\n")
                table.append(f"{name}\t{species}\t{'held out' if side else 'learned'}\n")
    (output / "windows.fasta").write_text("".join(fasta), encoding="ascii")
    (output / "windows.tsv").write_text("".join(table), encoding="ascii")


def table_of(name: str, reports: dict[str, dict[str, Any]]) -> str:
    """Scores as Markdown, methods first."""
    first = next(iter(reports.values()))
    head = f"{name}: {first['train_sequences']:,} to learn from, {first['test_sequences']:,} held out"
    lines = [
        f"{head} ({first['split']})",
        "",
        "| | macro-F1 | 95 % | accuracy | ECE |",
        "|---|---|---|---|---|",
    ]
    rows = {row["name"]: row for report in reports.values() for row in (report["held_out"], *report["parts"])}
    rows |= {row["name"]: row for row in first["baselines"]}
    for row in rows.values():
        span = f"{row['low']:.3f}-{row['high']:.3f}"
        lines.append(
            f"| {row['name']} | {row['macro_f1']:.3f} | {span} | {row['accuracy']:.3f} | {row['ece']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fit, score, print tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sequences", type=Path, help="folder with proteins/ and dna/")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--protein", type=Path, help="model of proteins")
    parser.add_argument("--dna", type=Path, help="model of DNA")
    parser.add_argument("--methods", nargs="+", default=["linear", "knn", "head", "lora"])
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    tasks = []
    if chosen.protein:
        write_proteins(chosen.sequences, chosen.output)
        tasks.append(("proteins", "ec_first", chosen.protein, None))
        tasks.append(("proteins, random split", "ec_first", chosen.protein, None))
    if chosen.dna:
        write_windows(chosen.sequences, chosen.output)
        tasks.append(("windows", "species", chosen.dna, "piece"))
    result = {}
    for name, label, model, batch in tasks:
        file = name.split(",")[0]
        alone = name.endswith("random split")
        reports = {}
        for method in [m for m in chosen.methods if m == "linear"] if alone else chosen.methods:
            began = time.process_time()
            annotator = annotate.fit(
                chosen.output / f"{file}.fasta",
                labels=chosen.output / f"{file}.tsv",
                label=label,
                model=model,
                method=method,
                batch=batch,
                split="random" if alone else "clusters",
                epochs=chosen.epochs,
                device="cpu",
            )
            reports[method] = dict(annotator.heads[0].report) | {"cpu_seconds": time.process_time() - began}
            print(f"{name}, {method}: {reports[method]['cpu_seconds']:.0f} CPU seconds", flush=True)
        if not reports:
            continue
        result[name] = reports
        print(table_of(name, reports), flush=True)
    (chosen.output / "annotate_scores.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
