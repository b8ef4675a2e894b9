"""In-silico perturbation of 100 genes in 100 cells, packed, beside one changed cell at a time.

    python benchmarks/perturb.py CELLS.h5ad [--genes 100] [--cells 100] [--loop-pairs 300]

Every gene is over-expressed in every cell, so that every pair costs a forward pass, on the same model with
the same weights. Three loops stand beside the packed task:

- the lean loop: cells tokenised once, the tokens changed, one forward pass of the core for each pair;
- the plain loop: each changed cell is made as counts and goes through the model's own ``embed`` alone; genes
  are matched and the model is loaded once;
- the script: a one-cell AnnData is changed and given to ``biolm.embed`` with the loaded model, as a user
  would do without the task.

Loops run on a sample of pairs, and their CPU seconds a pair are compared. The models: the shape of Geneformer
at three sizes, with random weights, over the genes of the file; and the built-in gene-text model. Without
controls, so that all do the same work; the last column is the task with a matched random gene for each pair.
What packing saves is the cost of a call, not arithmetic: on a CPU it shows with small models and short cells.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import torch

import biolm
from biolm.adapters.cells import RankTokenizer
from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.pooling import pool
from biolm.io.cells import CellBlock, open_cells
from biolm.models.model import CellModel, EmbedOptions
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems import cellfactors, genetext
from biolm.models.token_model import TokenCellModel
from biolm.vocab.genes import GeneVocabulary

SHAPES = {
    "tiny 2 x 64": (2, 64, 2, 128),
    "small 4 x 128": (4, 128, 4, 256),
    "V1-10M 6 x 256": (6, 256, 4, 512),
}
OPTIONS = EmbedOptions(device="cpu")


def main() -> None:
    """Time every model and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells_file", type=Path)
    parser.add_argument("--genes", type=int, default=100)
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--loop-pairs", type=int, default=300)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    given = parser.parse_args()
    logging.getLogger("biolm").setLevel(logging.ERROR)
    with open_cells(given.cells_file) as source:
        names, columns = source.gene_columns()["index"], source.gene_columns()
        total = np.zeros(source.n_genes)
        for block in source.blocks():
            total += np.bincount(block.indices, weights=block.data, minlength=source.n_genes)
    models: dict[str, CellModel] = {name: geneformer_shaped(names, *SHAPES[name]) for name in given.shapes}
    models |= {"genetext": genetext.load(), "cellfactors": cellfactors.load()}
    heads = ("pairs", "packed", "lean", "plain", "script", "x lean", "x plain", "x script", "controls")
    print(f"CPU ms a pair\n{'model':18}" + "".join(f"{head:>10}" for head in heads))
    for name, model in models.items():
        match = model.vocabulary.match(columns)
        known = [str(names[i]) for i in np.argsort(-total, kind="stable") if match.target[i] >= 0]
        genes = known[:: max(1, len(known) // (4 * given.genes))][: given.genes]
        packed, pairs = task(given, model, genes, controls=0)
        control, _ = task(given, model, genes, controls=1)
        single = loops(given, model, genes)
        figures = [packed, *single, *(one / packed / 1e3 for one in single), control]
        print(f"{name:18}{pairs:10}" + "".join(f"{1e3 * one:10.2f}" for one in figures), flush=True)


def geneformer_shaped(names: np.ndarray, layers: int, width: int, heads: int, inner: int) -> TokenCellModel:
    """Post-norm encoder over ranked genes, random weights, pooled as Geneformer V1 is."""
    genes = list(dict.fromkeys(names.tolist()))
    tokenizer = RankTokenizer(
        token_ids=np.arange(2, 2 + len(genes), dtype=np.int32), medians=np.ones(len(genes)), max_length=2048
    )
    preprocessor = CellPreprocessor(name="shaped", vocabulary=GeneVocabulary.of(genes), tokenizer=tokenizer)
    torch.manual_seed(0)
    config = CoreConfig(
        vocab_size=2 + len(genes),
        d_model=width,
        n_layers=layers,
        n_heads=heads,
        d_ff=inner,
        max_length=2048,
        position="learned",
        embed_norm=True,
        block="post",
        activation="relu",
    )
    return TokenCellModel(preprocessor, Transformer(config), pool="mean", hidden_state=-2, files=[])


def task(
    given: argparse.Namespace, model: CellModel, genes: list[str], *, controls: int
) -> tuple[float, int]:
    """CPU seconds a pair of the whole task, reading included, and the number of pairs."""
    start = time.process_time()
    found = biolm.perturb(
        given.cells_file, model=model, overexpress=genes, cells=given.cells, controls=controls, device="cpu"
    )
    seconds = time.process_time() - start
    pairs = int(np.isfinite(found.shifts.shift).sum())
    return seconds / pairs, pairs


def loops(given: argparse.Namespace, model: CellModel, genes: list[str]) -> tuple[float, float, float]:
    """CPU seconds a pair: lean loop (NaN where the model reads no tokens), plain loop, script."""
    adata = anndata.read_h5ad(given.cells_file)
    rng = np.random.default_rng(0)
    adata = adata[np.sort(rng.choice(len(adata), min(given.cells, len(adata)), replace=False))].copy()
    with open_cells(adata) as source:
        match = model.vocabulary.match(source.gene_columns())
        block = next(source.blocks(len(adata)))
    places = {str(name): place for place, name in enumerate(adata.var_names)}
    chosen = rng.choice(len(adata) * len(genes), given.loop_pairs, replace=False)
    pairs = [(int(one % len(adata)), places[genes[int(one // len(adata))]]) for one in chosen]
    plain = timed(lambda cell, column: model.embed(raised(block, cell, column), match, OPTIONS), pairs)

    def script(cell: int, column: int) -> None:
        one = adata[cell].copy()
        counts = one.X.toarray()
        counts[0, column] = counts.max()
        one.X = counts
        biolm.embed(one, model=model, device="cpu")

    whole = timed(script, pairs[: max(1, len(pairs) // 5)])
    if not isinstance(model, TokenCellModel):
        return float("nan"), plain, whole
    tokens = model.tokenize(block, match)

    def lean(cell: int, column: int) -> None:
        token = model.preprocessor.tokenizer.token_ids[match.target[column]]
        ids = tokens[cell].ids
        moved = torch.from_numpy(np.concatenate([[token], ids[ids != token]]).astype(np.int64))[None]
        with torch.inference_mode():
            batch = Batch.from_padded(moved)
            states = model.core(batch, logits=False, n_layers=model.config.n_layers - 1).last_hidden_state
            pool(states, batch.offsets, "mean")

    return timed(lean, pairs), plain, whole


def timed(one: Callable[[int, int], object], pairs: list[tuple[int, int]]) -> float:
    """CPU seconds a pair."""
    start = time.process_time()
    for cell, column in pairs:
        one(cell, column)
    return (time.process_time() - start) / len(pairs)


def raised(block: CellBlock, cell: int, column: int) -> CellBlock:
    """One cell in which a gene has the largest count."""
    one = block.part(cell, cell + 1)
    kept = one.indices != column
    columns, counts = np.append(one.indices[kept], column), np.append(one.data[kept], one.data.max())
    order = np.argsort(columns)
    return CellBlock(
        0, counts[order], columns[order].astype(np.int32), np.array([0, len(order)]), block.n_genes
    )


if __name__ == "__main__":
    main()
