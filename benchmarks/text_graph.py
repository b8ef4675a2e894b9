"""Text with a graph: masked tokens of BC5CDR abstracts beside the nodes of their identifiers, with controls.

``python benchmarks/text_graph.py SHARED/data/text``. Arms: the document's own nodes, those of another
document (wrong graph), none. Nodes are the MeSH identifiers of the training documents, links the pairs that
share an abstract.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from biolm.batch import Batch, Tokens
from biolm.io.text import Document, read_documents
from biolm.io.text.document import split_ids
from biolm.models.families.hf import from_hf
from biolm.text.fusion import FusionSettings, Grounded, train_fused, wrong_nodes
from biolm.text.models import model_folder
from biolm.text.pieces import load_pieces

LONGEST, TRAIN, TEST = 126, 160, 60


def main() -> None:
    """Print a line an arm."""
    torch.set_num_threads(1)
    data = Path(sys.argv[1])
    train = list(read_documents(data / "bc5cdr_relations" / "CDR_TrainingSet.PubTator.txt.gz"))[:TRAIN]
    test = list(read_documents(data / "bc5cdr_test" / "CDR_TestSet.PubTator.txt"))[:TEST]
    ids = sorted({each for d in train for m in d.mentions for each in split_ids(m.ids)})
    row_of = {name: row for row, name in enumerate(ids)}
    pairs = sorted({pair for d in train for pair in combinations(sorted(nodes_of(d, row_of)), 2)})
    order = np.random.default_rng(0).permutation(len(pairs))
    links = np.array(pairs, np.int64)[order]
    cut = len(links) // 10
    folder = model_folder("minilm")
    core, tokenizer = from_hf(folder), load_pieces(folder)
    made = [[grounded(d, core, tokenizer, row_of, n) for n, d in enumerate(side)] for side in (train, test)]
    print(
        f"{len(ids)} nodes, {len(links)} links, {sum(len(g.masked) for g in made[1])} masked tokens in "
        "the test"
    )
    arms = {
        "own nodes": made,
        "wrong nodes": [wrong_nodes(side, 1) for side in made],
        "no nodes": [[replace(g, nodes=g.nodes[:0]) for g in side] for side in made],
    }
    for name, (left, right) in arms.items():
        for seed in range(2):
            scores = train_fused(
                left,
                right,
                tokenizer.size,
                links=links[cut:],
                held_links=links[:cut],
                nodes=len(ids),
                settings=FusionSettings(seed=seed, epochs=6),
            )
            print(name, seed, {key: round(value, 4) for key, value in scores.items()}, flush=True)


def nodes_of(document: Document, row_of: dict[str, int]) -> set[int]:
    """Nodes that a document's mentions link to."""
    return {row_of[i] for m in document.mentions for i in split_ids(m.ids) if i in row_of}


@torch.inference_mode()
def grounded(
    document: Document, core: object, tokenizer: object, row_of: dict[str, int], number: int
) -> Grounded:
    """The first window of a document, a sixth of its mentions' pieces and of the others masked."""
    pieces = tokenizer(document.text)
    ids = tokenizer.framed(pieces.ids[:LONGEST])
    rng = np.random.default_rng(number)
    rows = np.sort(rng.choice(np.arange(1, len(ids) - 1), max(1, len(ids) // 6), replace=False))
    targets = ids[rows].copy()
    masked = ids.copy()
    masked[rows] = tokenizer.number("[MASK]")
    tokens = Tokens(ids=masked.astype(np.int32), offsets=np.array([0, len(ids)]), index=np.zeros(1, np.int64),
                    segments=np.zeros(len(ids), np.int32))  # fmt: skip
    states = core(Batch.from_tokens(tokens), logits=False).last_hidden_state.float().numpy()
    nodes = np.array(sorted(nodes_of(document, row_of)), np.int64)
    return Grounded(states, rows, targets, nodes)


if __name__ == "__main__":
    main()
