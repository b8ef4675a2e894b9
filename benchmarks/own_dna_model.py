"""Train a small model of DNA and set its held-out perplexity beside Markov chains of order 1 to 6.

    python benchmarks/own_dna_model.py SEQUENCES -o FOLDER [--recipe FILE] [--set KEY=VALUE ...]

``SEQUENCES`` is the folder with the genomes. Each is cut into pieces of 20 kb, of which every tenth is held
out; a recipe, ``workflows/pretrain/dna-mini.yaml`` by default, is
trained on the others, and so are the chains, on all
of their bases. Then all guess the same bases: those of held-out windows but their first 64. Perplexity 4 is
pure chance.

Dimensions: ``n`` windows · ``w`` bases of a window · ``k`` order.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import biolm
from biolm.batch import Batch
from biolm.io.sequences import SequenceBlock, open_sequences
from biolm.models.sequence_model import SequenceModel

RECIPE = Path(__file__).resolve().parent.parent / "workflows/pretrain/dna-mini.yaml"
GENOMES = {
    "E. coli": "ecoli_536.fna.gz",
    "S. aureus": "saureus_NCTC8325.fna.gz",
    "K. pneumoniae": "kpneumoniae_HS11286.fna.gz",
    "L. kirschneri": "leptospira_kirschneri_H1.gbk.gz",
    "human": "sapiens_1Mo.fa.gz",
}
PIECE, EVERY = 20_000, 10
WINDOW, SKIPPED, HELD_OUT = 512, 64, 40  # bases, bases that only serve as context, windows of each species
ORDERS = range(1, 7)


def pieces(folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Pieces of each genome: those to learn from, and those that are held out."""
    train: dict[str, list[str]] = {}
    held: dict[str, list[str]] = {}
    for species, name in GENOMES.items():
        with open_sequences(folder / "dna" / name) as source:
            texts = [block.text(row) for block in source.blocks() for row in range(len(block))]
        cut = [text[at : at + PIECE] for text in texts for at in range(0, len(text), PIECE)]
        held[species] = cut[EVERY - 1 :: EVERY]
        train[species] = [piece for number, piece in enumerate(cut) if number % EVERY != EVERY - 1]
    return train, held


def write_fasta(path: Path, texts: dict[str, list[str]]) -> None:
    """Write pieces under names of their own."""
    lines = [
        f">{species.replace(' ', '_')}_{number}\n{text}\n"
        for species, each in texts.items()
        for number, text in enumerate(each)
    ]
    path.write_text("".join(lines), encoding="ascii")


def coded(text: str) -> NDArray[np.int64]:
    """Bases as 0 to 3; others are 4."""
    table = np.full(256, 4, np.int64)
    table[np.frombuffer(b"ACGT", np.uint8)] = np.arange(4)
    return np.asarray(table[np.frombuffer(text.upper().encode("ascii"), np.uint8)])


def contexts(codes: NDArray[np.int64], k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of the ``k`` bases before each base from the k-th on, and whether all are known."""
    size = len(codes) - k
    number, known = np.zeros(size, np.int64), codes[k:] < 4
    for place in range(k):
        piece = codes[place : place + size]
        number, known = number * 4 + piece.clip(0, 3), known & (piece < 4)
    return number, known


def chain(texts: list[str], k: int) -> NDArray[np.float64]:
    """``(4^k, 4)`` log-probabilities of the next base, one seen of each to begin with."""
    counts = np.ones(4 ** (k + 1))
    for text in texts:
        codes = coded(text)
        if len(codes) > k:
            number, known = contexts(codes, k)
            counts += np.bincount((number * 4 + codes[k:])[known], minlength=len(counts))
    table = counts.reshape(-1, 4)
    return np.asarray(np.log(table / table.sum(1, keepdims=True)))


def chain_scores(table: NDArray[np.float64], k: int, windows: list[str]) -> NDArray[np.float64]:
    """Log-probability of each masked base of the windows."""
    found = []
    for text in windows:
        codes = coded(text)[SKIPPED - k :]
        found.append(table[contexts(codes, k)[0], codes[k:]])
    return np.concatenate(found)


@torch.inference_mode()
def model_scores(model: SequenceModel, windows: list[str]) -> NDArray[np.float64]:
    """Log-probability of each masked base under a causal model, among the four bases."""
    tokens = model.tokenize(SequenceBlock.of(windows))
    bases = [model.tokenizer.vocabulary[base] for base in "ACGT"]
    before = model.preprocessor.special[0]
    found = []
    for row in range(len(windows)):
        batch = Batch.from_tokens(tokens, np.array([row]))
        said = model.core(batch).logits[:, bases].log_softmax(-1)
        codes = torch.from_numpy(coded(windows[row]))
        # The logits at a token are of the next one.
        places = torch.arange(SKIPPED, len(codes)) + before - 1
        found.append(said[places, codes[SKIPPED:]].double().numpy())
    return np.concatenate(found)


def held_out_windows(texts: list[str], seed: int = 0) -> list[str]:
    """Windows of known bases from held-out pieces."""
    cut = [text[at : at + WINDOW] for text in texts for at in range(0, len(text) - WINDOW + 1, WINDOW)]
    cut = [text.upper() for text in cut if set(text.upper()) <= set("ACGT")]
    chosen = np.random.default_rng(seed).permutation(len(cut))[:HELD_OUT]
    return [cut[row] for row in chosen]


def main() -> None:
    """Train, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sequences", type=Path, help="folder with dna/")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], help="another setting of the recipe")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    train, held = pieces(chosen.sequences)
    if not (chosen.output / "run" / "model").is_dir():
        write_fasta(chosen.output / "train.fasta", train)
        began = time.process_time()
        place = f"data.paths=[{chosen.output / 'train.fasta'}]"
        biolm.pretrain(chosen.recipe, chosen.output / "run", changes=[place, *chosen.set])
        print(f"trained in {(time.process_time() - began) / 60:.1f} CPU minutes")
    model = biolm.load(chosen.output / "run" / "model")
    assert isinstance(model, SequenceModel)
    windows = {species: held_out_windows(texts) for species, texts in held.items()}
    rows = {chosen.recipe.stem: {name: model_scores(model, some) for name, some in windows.items()}}
    everything = [text for texts in train.values() for text in texts]
    for k in ORDERS:
        table = chain(everything, k)
        rows[f"Markov chain, k = {k}"] = {n: chain_scores(table, k, some) for n, some in windows.items()}
    own = {name: chain(texts, 6) for name, texts in train.items()}
    rows["k = 6 of the species alone"] = {n: chain_scores(own[n], 6, some) for n, some in windows.items()}
    print("| | " + " | ".join([*GENOMES, "all"]) + " |\n|---" * 1 + "|---" * (len(GENOMES) + 1) + "|")
    result = {}
    for name, found in rows.items():
        each = {species: float(np.exp(-scores.mean())) for species, scores in found.items()}
        each["all"] = float(np.exp(-np.concatenate(list(found.values())).mean()))
        result[name] = each
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in each.values()) + " |")
    (chosen.output / "scores.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
