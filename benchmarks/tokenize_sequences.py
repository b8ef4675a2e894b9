"""Sequences to tokens, files to blocks, windows of a genome: rates of one run, beside peers.

Run it with ``python benchmarks/tokenize_sequences.py PROTEINS.fasta.gz GENOME.fna.gz``; rates are by CPU
time, the jobs taking turns.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from biolm.adapters.sequences import cluster_sequences, make_tokenizer
from biolm.io.sequences import (
    SequenceBlock,
    SequenceStore,
    build_store,
    concatenate_blocks,
    open_sequences,
    opened,
)

WINDOW = 1000


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proteins", type=Path)
    parser.add_argument("genome", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clusters", action="store_true", help="cluster the proteins as well")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(chosen.proteins, chosen.genome, Path(folder), chosen.rounds)
    if chosen.clusters:
        block = read(chosen.proteins)
        start = time.process_time()
        labels = cluster_sequences(block)
        found["clusters"] = {
            "records": len(block),
            "clusters": int(labels.max()) + 1,
            "largest": int(np.bincount(labels).max()),
            "seconds": round(time.process_time() - start, 1),
        }
    print(json.dumps(found, indent=1))


def measure(proteins: Path, genome: Path, folder: Path, rounds: int) -> dict[str, object]:
    """Rates of all jobs."""
    block = read(proteins)
    texts = [block.text(row) for row in range(200)]
    few = int(block.offsets[200])
    dna = read(genome)
    esm, nt = make_tokenizer("esm"), make_tokenizer("nt-v2")
    rates = {
        "EsmTokenizer of transformers, residues/s": (few, peer(folder, texts)),
        "residues/s": (len(block.letters), lambda: esm.tokenize(block)),
        "6-mers, bases/s": (len(dna.letters), lambda: nt.tokenize(dna)),
    }
    for path, name in ((proteins, "proteins"), (genome, "genome")):
        plain = folder / f"{name}.fasta"
        plain.write_bytes(gzip.decompress(path.read_bytes()) * 4)
        rates[f"FASTA of {name}, bytes/s"] = (plain.stat().st_size, lambda plain=plain: stream(plain))
        rates[f"FASTA of {name}, Biopython, bytes/s"] = (
            plain.stat().st_size,
            lambda plain=plain: biopython(plain),
        )
    measured = interleaved(rates, rounds)
    ratio = measured["residues/s"] / measured["EsmTokenizer of transformers, residues/s"]
    return {
        **{name: f"{rate:.3g}" for name, rate in measured.items()},
        "times EsmTokenizer": round(ratio),
        "microseconds a random window": windows(genome, folder),
    }


def interleaved(jobs: dict[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, float]:
    """Median items a CPU second of each job."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (_, job) in jobs.items():
            start = time.process_time()
            job()
            times[name].append(time.process_time() - start)
    return {name: jobs[name][0] / median(found) for name, found in times.items()}


def peer(folder: Path, texts: list[str]) -> Callable[[], object]:
    """The tokeniser of transformers over the same vocabulary."""
    from transformers import EsmTokenizer

    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(make_tokenizer("esm").vocabulary))
    tokenizer = EsmTokenizer(str(vocabulary))
    return lambda: tokenizer(texts)


def read(path: Path) -> SequenceBlock:
    """All records of a file."""
    with open_sequences(path) as source:
        return concatenate_blocks(list(source.blocks()))


def stream(path: Path) -> int:
    """Letters of a file, block by block."""
    with open_sequences(path) as source:
        return sum(len(block.letters) for block in source.blocks())


def biopython(path: Path) -> int:
    """The same by Biopython's fast parser."""
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    with path.open() as file:
        return sum(len(letters) for _, letters in SimpleFastaParser(file))


def windows(genome: Path, folder: Path, count: int = 20_000) -> dict[str, float]:
    """CPU microseconds of a random window of a store, either strand."""
    store = SequenceStore(build_store(opened([genome]), folder / "store"))
    name, length = store.names[0], int(store.lengths[0])
    starts = np.random.default_rng(0).integers(0, length - WINDOW, count).tolist()
    found = {}
    for label, reverse in (("forward", False), ("reverse complement", True)):
        start = time.process_time()
        for place in starts:
            store.window(name, place, place + WINDOW, reverse=reverse).copy()
        found[label] = round((time.process_time() - start) / count * 1e6, 2)
    return found


if __name__ == "__main__":
    main()
