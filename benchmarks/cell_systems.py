"""Published systems of cells at their published widths, with random weights, one thread, in CPU seconds.

SCimilarity whole, beside its network on dense rows as the published code runs it. One layer of CellLM, on the
genes that cells express, beside the same cells padded to 6,000 as published. One layer of scBERT with its
16,907 tokens, and the memory it takes. Run:

    OMP_NUM_THREADS=1 python benchmarks/cell_systems.py
"""

from __future__ import annotations

import resource

import numpy as np
import torch
from _measure import interleaved
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.systems.scimilarity import Scimilarity, _network
from biolm.vocab.genes import GeneVocabulary

CPU = EmbedOptions(device="cpu")


def _block(cells: int, genes: int, expressed: int) -> CellBlock:
    rng = np.random.default_rng(0)
    columns = np.concatenate([np.sort(rng.choice(genes, expressed, replace=False)) for _ in range(cells)])
    counts = rng.integers(1, 30, len(columns)).astype(np.float32)
    return CellBlock(0, counts, columns.astype(np.int32), np.arange(cells + 1) * expressed, genes)


def scimilarity(genes: int = 28_231, cells: int = 2048, expressed: int = 1500) -> None:
    """Encoder 1024 x 3 to 128."""
    names = [f"GENE{i}" for i in range(genes)]
    network = _network([genes, 1024, 1024, 1024, 128], dropout_first=True)
    model = Scimilarity(GeneVocabulary.of(names, kind="symbol"), network, None, [], 0)
    block = _block(cells, genes, expressed)
    match = model.vocabulary.match({"index": np.array(names)})
    part = block.part(0, 256)
    dense = torch.from_numpy(model.inputs(part, match))

    def reference() -> Tensor:
        with torch.inference_mode():
            return nn.functional.normalize(model.encoder(dense), dim=1)

    times = interleaved({"biolm": lambda: model.embed(block, match, CPU), "reference": reference})
    _show("SCimilarity", cells / times["biolm"], len(part) / times["reference"])


def performer(name: str, width: int, heads: int, lengths: list[int], padded: int) -> None:
    """One layer, on cells of some lengths, and on one padded to the longest that is read."""
    config = CoreConfig(
        vocab_size=padded + 2, d_model=width, n_layers=1, n_heads=heads, head_dim=64, d_ff=4 * width,
        value_encoder="bins", n_values=8, position="none", qkv_bias=False, mixer="performer",
    )  # fmt: skip
    core = Transformer(config).eval()

    def run(sizes: list[int]) -> None:
        for size in sizes:
            ids = torch.arange(size)[None]
            with torch.inference_mode():
                core(Batch.from_padded(ids, values=ids % 6), logits=False)

    times = interleaved({"biolm": lambda: run(lengths), "padded": lambda: run([padded])}, rounds=1)
    ours, theirs = len(lengths) / times["biolm"], 1 / times["padded"]
    _show(f"{name}, one layer", ours, theirs)
    print(f"  peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def _show(name: str, ours: float, theirs: float) -> None:
    print(f"{name:20} {ours:9.2f} cells a second   padded or dense {theirs:9.2f}   {ours / theirs:5.1f} x")


if __name__ == "__main__":
    torch.set_num_threads(1)
    performer("scBERT", 200, 10, [16_907], 16_907)
    performer("CellLM", 512, 16, [600, 1200, 2400], 6000)
    scimilarity()
