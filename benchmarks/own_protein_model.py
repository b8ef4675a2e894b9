"""Train a small model of proteins and set its held-out perplexity beside n-grams.

    python benchmarks/own_protein_model.py FASTA [FASTA ...] -o FOLDER [--recipe FILE] [--set KEY=VALUE ...]

Sequences alike at 50 % identity, by shared k-mers, are one cluster and held out together (``clusters.tsv`` in
the folder). The recipe ``workflows/pretrain/protein-mini.yaml`` is trained on the others. Then every method
guesses the same masked residues: the model from the sequence with its holes; a unigram; a 3-gram from the two
residues before; and one from the residues on either side. The n-grams see their neighbours unhidden, which
favours them, and mix longer with shorter contexts by weights found on a part of the training data.

Dimensions: ``t`` tokens · ``m`` masked residues · ``v`` vocabulary.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import biolm
from biolm.adapters.sequences.clusters import cluster_sequences, write_clusters
from biolm.io.sequences import SequenceStore, build_store, open_sequences
from biolm.objectives.base import Prepared
from biolm.training.config import RunConfig
from biolm.training.config.read import read_config
from biolm.training.data.loader import Reader, Stream
from biolm.training.run.job import make_objective
from biolm.training.run.prepare import prepare

RECIPE = Path(__file__).resolve().parent.parent / "workflows/pretrain/protein-mini.yaml"
# Neighbours that each n-gram reads, as offsets from the residue.
CONTEXTS = {"unigram": (), "3-gram": (-1, -2), "both neighbours": (-1, 1)}
TUNED_ON = 0.1  # fraction of the training residues that the weights of a mixture are found on


@dataclass(frozen=True)
class Places:
    """Residues to guess, ``(m,)``, and their neighbours by offset; 0, no residue, beyond the ends."""

    targets: NDArray[np.int64]
    near: dict[int, NDArray[np.int64]]


def places(ids: NDArray[np.int64], offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> Places:
    """Tokens ``rows`` of packed sequences."""
    document = np.searchsorted(offsets, rows, side="right") - 1
    near = {}
    for step in (-2, -1, 1):
        other = (rows + step).clip(0, len(ids) - 1)
        inside = (rows + step >= offsets[document]) & (rows + step < offsets[document + 1])
        near[step] = np.where(inside, ids[other], 0)
    return Places(ids[rows], near)


class NGram:
    """Frequencies of a residue given some neighbours, mixed with those given fewer.

    Parameters
    ----------
    train
        Residues to count; the last tenth finds the weights of the mixture, by expectation maximisation.
    context
        Offsets of the neighbours.
    size
        ``v``.
    """

    def __init__(self, train: Places, context: tuple[int, ...], size: int) -> None:
        self.context, self.size = context, size
        cut = int(len(train.targets) * (1 - TUNED_ON))
        self.counts = [
            np.bincount(
                self._codes(train, order)[:cut] * size + train.targets[:cut], minlength=size ** (order + 1)
            ).reshape(-1, size)
            for order in range(len(context) + 1)
        ]
        self.weights = np.full(len(self.counts), 1 / len(self.counts))
        rest = Places(train.targets[cut:], {step: column[cut:] for step, column in train.near.items()})
        each = self._each(rest)
        for _ in range(50):
            share = self.weights[:, None] * each
            self.weights = (share / share.sum(0)).mean(1)

    def _codes(self, given: Places, order: int) -> NDArray[np.int64]:
        code = np.zeros(len(given.targets), np.int64)
        for step in self.context[:order]:
            code = code * self.size + given.near[step]
        return code

    def _each(self, given: Places) -> NDArray[np.float64]:
        """``(orders, m)`` probability of each residue by each order."""
        rows = []
        for order, counts in enumerate(self.counts):
            seen = counts[self._codes(given, order)]
            rows.append((seen[np.arange(len(seen)), given.targets] + 0.05) / (seen.sum(1) + 0.05 * self.size))
        return np.array(rows)

    def loss(self, given: Places) -> float:
        """Mean cross-entropy in nats."""
        return float(-np.log(self.weights @ self._each(given)).mean())


def clusters(files: list[Path], folder: Path) -> dict[str, int]:
    """Write ``clusters.tsv``; sizes."""

    def opened() -> Iterator[object]:
        for path in files:
            with open_sequences(path) as source:
                yield source

    build_store(opened(), folder / "all")
    store = SequenceStore(folder / "all")
    block = store.block(np.arange(len(store.lengths)), np.zeros(len(store.lengths), np.int64), store.lengths)
    block = replace(block, names=store.names)
    labels = cluster_sequences(block, identity=0.5)
    write_clusters(folder / "clusters.tsv", block, labels)
    return {"sequences": len(labels), "clusters": int(labels.max()) + 1}


def held_out(config: RunConfig) -> tuple[Places, list[Prepared], int]:
    """Training residues, held-out batches as the run's validation masks them, ``v``."""
    job = prepare(config)
    examples = job.examples.read(job.train.rows)
    ids, offsets = examples.ids.astype(np.int64), examples.offsets
    special = np.isin(ids, job.vocabulary.special_ids)
    train = places(np.where(special, 0, ids), offsets, np.flatnonzero(~special))
    assert job.valid is not None
    reader = Reader(
        examples=job.examples,
        plan=job.valid,
        prepare=make_objective(job).prepare,
        seed=config.seed,
        frozen_epoch=True,
    )
    return train, [prepared for _, prepared in Stream(reader=reader, epochs=1)], job.vocabulary.size


@torch.inference_mode()
def model_loss(folder: Path, batches: list[Prepared]) -> float:
    """Mean cross-entropy of a saved model at the masked residues."""
    core = biolm.load(folder).core.eval()
    total, count = 0.0, 0
    for prepared in batches:
        logits = core(prepared.batch, logits=prepared.rows).logits
        total += float(torch.nn.functional.cross_entropy(logits, prepared.targets.long(), reduction="sum"))
        count += len(prepared.targets)
    return total / count


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="A small model of proteins beside n-grams.")
    parser.add_argument("fasta", nargs="+", type=Path)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder for the run, made if missing"
    )
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], help="change a setting of the recipe")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    facts: dict[str, object] = {}
    if not (given.output / "clusters.tsv").exists():
        facts |= clusters(given.fasta, given.output)
    paths = json.dumps([str(path) for path in given.fasta])
    config = read_config(
        given.recipe, [f"data.paths={paths}", f"data.groups={given.output / 'clusters.tsv'}", *given.set]
    )
    if not (given.output / "run").exists():
        biolm.pretrain(config, given.output / "run")
    train, batches, size = held_out(config)
    hidden = [
        places(_plain(prepared), prepared.original.offsets.numpy().astype(np.int64), prepared.rows.numpy())
        for prepared in batches
    ]
    asked = Places(
        np.concatenate([part.targets for part in hidden]),
        {step: np.concatenate([part.near[step] for part in hidden]) for step in (-2, -1, 1)},
    )
    facts |= {"training residues": len(train.targets), "held-out residues": len(asked.targets)}
    losses = {name: NGram(train, context, size).loss(asked) for name, context in CONTEXTS.items()}
    losses["model"] = model_loss(given.output / "run/model", batches)
    facts["perplexity"] = {name: round(float(np.exp(loss)), 3) for name, loss in losses.items()}
    print(json.dumps(facts, indent=1))


def _plain(prepared: Prepared) -> NDArray[np.int64]:
    """Letters without holes; special tokens count as no residue."""
    ids = prepared.original.ids.numpy().astype(np.int64)
    ends = prepared.original.offsets.numpy()
    ids[ends[:-1][np.diff(ends) > 0]] = 0
    ids[ends[1:][np.diff(ends) > 0] - 1] = 0
    return ids


if __name__ == "__main__":
    main()
