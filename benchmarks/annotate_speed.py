"""Frozen annotation of 100,000 cells: everything but embedding, in CPU seconds and peak memory.

Usage: ``python benchmarks/annotate_speed.py [CELLS] [--method linear|knn]``. A synthetic file (20,000 genes,
2,141 of them found in a cell) is written first; that is not timed. Then ``predict_file`` reads it, names
every cell and writes a copy of the file with the names, with a model whose vectors are ready. The
annotators know 20,000 cells of 20 classes, the most that a fit keeps. One method a run, so that its peak is
its own.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _synthetic import write_h5ad
from numpy.typing import NDArray

from biolm.io.cells import CellBlock
from biolm.models.model import CellModel, EmbedOptions
from biolm.tasks.annotate.annotator import Annotator, Head
from biolm.tasks.annotate.distance import Distance, Space
from biolm.tasks.annotate.expression import ExpressionSpace
from biolm.tasks.annotate.frozen import Frozen
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.tasks.annotate.predict import predict_file
from biolm.tasks.annotate.settings import PredictSettings
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

GENES, WIDTH, CLASSES, REFERENCE = 20_000, 48, 20, 20_000
NAMES = [f"ENSG{number:011d}" for number in range(1, GENES + 1)]


class Ready(CellModel):
    """A model whose vectors cost nothing."""

    name, wants_counts, width, pools = "ready", True, WIDTH, ("mean",)

    def __init__(self) -> None:
        self.vocabulary = GeneVocabulary.of(NAMES)
        self.held = np.random.default_rng(1).standard_normal((self.block_rows, WIDTH), np.float32)

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:  # noqa: ARG002  # nothing is computed
        """Vectors drawn before."""
        return self.held[: len(block)].copy()

    def describe(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}


def main() -> None:
    """Time one method from file to file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=int, nargs="?", default=100_000)
    parser.add_argument("--method", choices=("linear", "knn"), default="linear")
    chosen = parser.parse_args()
    annotator = make_annotator(chosen.method)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "query.h5ad", Path(folder) / "named.h5ad"
        write_h5ad(source, chosen.cells, n_genes=GENES, genes=NAMES)
        began, wall = time.process_time(), time.perf_counter()
        predict_file(source, target, annotator, PredictSettings(progress=False))
        spent, wall = time.process_time() - began, time.perf_counter() - wall
        print(f"{chosen.method}: {spent:.1f} CPU s, {wall:.1f} s on the clock for {chosen.cells:,} cells")
        print(f"file of {target.stat().st_size / 1e9:.2f} GB written")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def make_annotator(method: str) -> Annotator:
    """An annotator of random weights or random reference cells, as large as a fit makes them."""
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    model = Ready()
    flat = np.full(GENES, 1 / GENES, np.float32)
    space = ExpressionSpace(model.vocabulary, flat, flat, np.zeros((GENES, 1), np.float32), 1.0)
    scorer: LinearMap | Neighbours
    if method == "linear":
        shapes = ((WIDTH, CLASSES), (GENES, CLASSES), (CLASSES,))
        scorer = LinearMap(*(draw(shape, np.float32) for shape in shapes))
    else:
        points = draw((REFERENCE, WIDTH), np.float32)
        scorer = Neighbours.fit(points, rng.integers(0, CLASSES, REFERENCE), CLASSES, 10)
    spaces = [Space("vectors", draw((WIDTH, WIDTH), np.float32), draw((CLASSES, WIDTH), np.float32))]
    if method == "linear":
        spaces.append(Space("genes", draw((GENES, 50), np.float32), draw((CLASSES, 50), np.float32)))
    frozen = Frozen(scorer, (method,), 1.0, 0.3, Distance(tuple(spaces)))
    head = Head("cell_type", tuple(f"type {k}" for k in range(CLASSES)), frozen)
    return Annotator(model, {"facts": {}}, {"pool": None, "hidden_state": None}, space, (head,), {})


if __name__ == "__main__":
    main()
