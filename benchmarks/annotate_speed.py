"""Frozen annotation of 100,000 cells: everything after embedding, in CPU seconds and peak memory.

Usage: ``python benchmarks/annotate_speed.py [CELLS]``. Blocks of counts are drawn at random in the shape of a
10x run (15,000 genes, about 1,000 of them found in a cell) beside vectors as wide as the built-in model's;
drawing them is not timed. The annotators know 20,000 cells of 20 classes, the most that a fit keeps.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from scipy.sparse import random as random_sparse

from biolm.io.cells import CellBlock
from biolm.tasks.annotate.calibrate import probabilities
from biolm.tasks.annotate.expression import ExpressionSpace
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

GENES, FOUND, WIDTH, CLASSES, REFERENCE, ROWS = 15_000, 1_000, 48, 20, 20_000, 8192


def main() -> None:
    """Time both frozen methods on the same blocks."""
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    linear = LinearMap(
        draw((WIDTH, CLASSES), np.float32), draw((GENES, CLASSES), np.float32), draw(CLASSES, np.float32)
    )
    codes = rng.integers(0, CLASSES, REFERENCE)
    knn = Neighbours.fit(draw((REFERENCE, WIDTH), np.float32), codes, CLASSES, 10)
    vocabulary = GeneVocabulary.of([f"g{number}" for number in range(GENES)], species=[])
    match: GeneMatch = vocabulary.match({"index": np.array(vocabulary.genes)})
    flat = np.full(GENES, 1 / GENES, np.float32)
    space = ExpressionSpace(vocabulary, flat, flat, np.zeros((GENES, 1), np.float32), 1.0)
    block, vectors = make_block(rng), draw((ROWS, WIDTH), np.float32)
    spent = {"linear, joint": 0.0, "knn": 0.0}
    for start in range(0, cells, ROWS):
        rows = min(ROWS, cells - start)
        part = block.part(0, rows)
        began = time.process_time()
        probabilities(linear.logits(vectors[:rows], space.table(part, match)))
        spent["linear, joint"] += time.process_time() - began
        began = time.process_time()
        probabilities(knn.logits(vectors[:rows]))
        spent["knn"] += time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for name, seconds in spent.items():
        print(f"{name}: {seconds:.1f} CPU s for {cells:,} cells")
    print(f"peak memory {peak:.2f} GiB")


def make_block(rng: np.random.Generator) -> CellBlock:
    """A block of counts."""
    counts = random_sparse(ROWS, GENES, FOUND / GENES, "csr", np.float32, random_state=rng)
    counts.data = np.ceil(counts.data * 5)
    return CellBlock(0, counts.data, counts.indices.astype(np.int32), counts.indptr.astype(np.int64), GENES)


if __name__ == "__main__":
    main()
