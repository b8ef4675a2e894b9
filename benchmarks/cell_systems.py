"""Published systems of cells at their published shapes, with random weights, on one thread, in CPU seconds.

For each transformer system: cells a second packed by biolm, beside the reference arithmetic written out in
eager torch (scores as a matrix, softmax, product) on the same cells, padded as the published code pads them.
Of deep models some layers are run and the time is scaled to all of them; memory adds the weights of the
layers that are not run. Cells express 300 to 2,400 genes. Every system has a process of its own. Run:

    OMP_NUM_THREADS=1 python benchmarks/cell_systems.py [NAME ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _cell_shapes import (
    GENES,
    SHAPES,
    TRANSCRIPT,
    UCE,
    Eager,
    EagerPerformer,
    Shape,
    packed_cells,
    peak,
)
from _measure import interleaved
from _small_networks import concerto, sctrans
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.performer import draw_projection, features_of
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.precision import mixed, precise
from biolm.models.systems.row_sums import RowSums
from biolm.vocab.genes import GeneVocabulary

CPU = EmbedOptions(device="cpu")
_TABLE = 5000  # rows of protein vectors that are held


def transformer(name: str) -> dict[str, Any]:
    """Packed by the core, and padded by the reference arithmetic."""
    shape = SHAPES[name]
    # Short sentences are many in a batch.
    lengths = [min(genes, shape.longest) for genes in GENES] * (16 if shape.longest < 100 else 1)
    if shape.filled:
        lengths = [shape.longest] * len(lengths)
    config = CoreConfig(
        vocab_size=max(lengths), d_model=shape.width, n_layers=shape.run, n_heads=shape.heads,
        d_ff=shape.hidden, position="none", block="pre" if shape.pre else "post", activation="relu",
        head="none",
    )  # fmt: skip
    core, layers = Transformer(config).eval(), nn.ModuleList(Eager(shape) for _ in range(shape.run)).eval()
    batch = Batch.from_padded(
        nn.utils.rnn.pad_sequence([torch.arange(size) for size in lengths], batch_first=True),
        torch.arange(max(lengths)) < torch.tensor(lengths)[:, None],
    )
    sizes = [[size] for size in lengths] if shape.pad == 1 else [lengths]

    @torch.inference_mode()
    def packed() -> None:
        core(batch, logits=False)

    @torch.inference_mode()
    def ending() -> None:
        core(batch, logits=False, only=batch.offsets[:-1].long())

    @torch.inference_mode()
    def padded() -> None:
        for group in sizes:
            to = shape.pad if shape.pad > 1 else max(group)
            x = torch.zeros(len(group), to, shape.width)
            keep = torch.arange(to) < torch.tensor(group)[:, None]
            for layer in layers:
                x = layer(x, keep)

    packed()
    memory = peak()
    narrow, context = precise(core, torch.device("cpu"), "bfloat16")

    @torch.inference_mode()
    def reduced() -> None:
        with context:
            narrow(batch, logits=False, only=batch.offsets[:-1].long() if shape.cls else None)

    reduced()
    jobs = {"biolm": packed, "reference": padded, "bfloat16": reduced}
    times = interleaved(jobs | ({"ending": ending} if shape.cls else {}), rounds=1)
    scale = shape.layers / shape.run
    # The last layer runs for the cls token alone.
    saved = times["biolm"] - times["ending"] if shape.cls else 0.0
    weights = 4 * sum(p.numel() for p in core.layers.parameters()) * (scale - 1)
    return {
        "biolm": len(lengths) / (times["biolm"] * scale - saved),
        "bfloat16": len(lengths) / times["bfloat16"] / scale,
        "reference": len(lengths) / times["reference"] / scale,
        "memory": memory + weights / 1e9,
        "note": {0: "to the longest of the batch", 1: "one cell at a time"}.get(
            shape.pad, f"padded to {shape.pad:,}"
        ),
    }


def performer(width: int, depth: int, heads: int, lengths: list[int], padded: int) -> dict[str, Any]:
    """One layer on cells of some lengths, and the reference arithmetic on a cell padded as published."""
    config = CoreConfig(
        vocab_size=padded + 2, d_model=width, n_layers=1, n_heads=heads, head_dim=64, d_ff=4 * width,
        value_encoder="bins", n_values=8, position="none", qkv_bias=False, mixer="performer",
    )  # fmt: skip
    core = Transformer(config).eval()
    narrow, context = precise(core, torch.device("cpu"), "bfloat16")

    @torch.inference_mode()
    def run(sizes: list[int], model: Transformer = core) -> None:
        for size in sizes:
            ids = torch.arange(size)[None]
            model(Batch.from_padded(ids, values=ids % 6), logits=False)

    def reduced() -> None:
        with context:
            run(lengths, narrow)

    layer = EagerPerformer(width, heads, draw_projection(features_of(64), 64)).eval()

    @torch.inference_mode()
    def reference() -> None:
        layer(torch.zeros(1, padded, width))

    run(lengths)
    memory = peak()
    jobs = {"biolm": lambda: run(lengths), "padded": reference, "bfloat16": reduced}
    times = interleaved(jobs, rounds=1)
    weights = 4 * sum(p.numel() for p in core.layers.parameters()) * (depth - 1)
    return {
        "biolm": len(lengths) / times["biolm"] / depth,
        "bfloat16": len(lengths) / times["bfloat16"] / depth,
        "reference": 1 / times["padded"] / depth,
        "memory": memory + weights / 1e9,
        "note": f"padded to {padded:,}",
    }


def own_network(
    shape: Shape,
    lengths: list[int],
    batch: Batch,
    network: nn.Module,
    run: Callable[[Batch], object],
    first: Callable[[Tensor], object],
) -> dict[str, Any]:
    """A system whose network is its own, beside the reference arithmetic of its layers.

    ``first`` makes the vectors of tokens, once whatever the number of layers.
    """
    layers = nn.ModuleList(Eager(shape) for _ in range(shape.run)).eval()

    @torch.inference_mode()
    def packed() -> None:
        run(batch)

    @torch.inference_mode()
    def padded() -> None:
        x = torch.zeros(len(lengths), shape.pad, shape.width)
        keep = torch.arange(shape.pad) < torch.tensor(lengths)[:, None]
        for layer in layers:
            x = layer(x, keep)

    @torch.inference_mode()
    def embedded(ids: Tensor) -> None:
        first(ids)

    packed()
    memory, every = peak(), torch.arange(len(lengths) * shape.pad) % _TABLE

    def reduced() -> None:
        with mixed(torch.device("cpu"), "bfloat16"):
            packed()

    jobs = {
        "biolm": packed,
        "bfloat16": reduced,
        "reference": padded,
        "first": lambda: embedded(batch.ids.unique()),
        "padded first": lambda: embedded(every),
    }
    times = interleaved(jobs, rounds=1)
    scale = shape.layers / shape.run
    weights = 4 * sum(p.numel() for p in network.parameters()) * (scale - 1)
    return {
        "biolm": len(lengths) / (times["biolm"] * scale - times["first"] * (scale - 1)),
        "bfloat16": len(lengths) / times["bfloat16"] if scale == 1 else 0.0,
        "reference": len(lengths) / (times["reference"] * scale + times["padded first"]),
        "memory": memory + weights / 1e9,
        "note": f"to {shape.pad:,}",
    }


def uce() -> dict[str, Any]:
    """Sentences of 1,024 drawn genes with chromosome tokens, whatever a cell expresses."""
    from biolm.models.systems.uce_network import UceNetwork

    width, hidden = UCE.width, UCE.hidden
    shapes = {
        "pe_embedding.weight": (_TABLE, 5120), "encoder.0.weight": (width, 5120),
        "pos_encoder.pe": (1536, 1, width), "decoder.0.0.weight": (1024, width),
        "transformer_encoder.layers.0.linear1.weight": (hidden, width),
        "decoder.1.0.weight": (width, 1024), "decoder.2.0.weight": (width, width),
        "decoder.3.weight": (width, width),
        **{f"transformer_encoder.layers.{i}.linear1.bias": (hidden,) for i in range(UCE.run)},
    }  # fmt: skip
    network = UceNetwork({name: torch.Size(size) for name, size in shapes.items()}, UCE.heads).eval()
    network.pe_embedding = nn.Embedding(_TABLE, 5120)

    def run(batch: Batch) -> None:
        network(replace(batch, values=None))

    # Genes of a sentence are drawn from those of a cell, so some come many times.
    rng, lengths = np.random.default_rng(0), [1073] * 4
    drawn = [rng.choice(rng.permutation(_TABLE)[:1200], size) for size in lengths]
    batch = packed_cells(lengths, _TABLE, np.concatenate(drawn))
    return own_network(UCE, lengths, batch, network, run, network.token_vectors)


def transcriptformer() -> dict[str, Any]:
    """One of the layers, with its count bias and soft cap, as the reference has them."""
    from biolm.models.systems.transcriptformer_network import TranscriptNetwork

    d = TRANSCRIPT.width
    mlp = {"layers.0.weight": (d, 5120), "layers.4.weight": (d, d)}
    parts = ("gene_embeddings.mlp", "mu.mlp")
    shapes = {
        "gene_embeddings.embedding.weight": (_TABLE, 5120), "mu.gene_embedding.weight": (_TABLE, 5120),
        "aux_embeddings.assay.weight": (4, d),
        "transformer_encoder.encoder_layers.0.linear1.weight": (d, d),
        **{f"{part}.{name}": size for part in parts for name, size in mlp.items()},
    }  # fmt: skip
    network = TranscriptNetwork(
        {name: torch.Size(size) for name, size in shapes.items()}, TRANSCRIPT.heads, 10.0
    )
    lengths = [min(genes, TRANSCRIPT.longest) for genes in GENES]
    rng = np.random.default_rng(0)
    batch = packed_cells(
        lengths, _TABLE, np.concatenate([rng.permutation(_TABLE)[:size] for size in lengths])
    )
    return own_network(TRANSCRIPT, lengths, batch, network.eval(), network, network.gene_vectors)


def cells_of(cells: int, genes: int, expressed: int) -> CellBlock:
    """Random counts of ``expressed`` genes a cell."""
    rng = np.random.default_rng(0)
    columns = np.concatenate([np.sort(rng.choice(genes, expressed, replace=False)) for _ in range(cells)])
    counts = rng.integers(1, 30, len(columns)).astype(np.float32)
    return CellBlock(0, counts, columns.astype(np.int32), np.arange(cells + 1) * expressed, genes)


def scimilarity(genes: int = 28_231, cells: int = 2048, expressed: int = 1500) -> dict[str, Any]:
    """Encoder 1024 x 3 to 128, beside its network on dense rows; and the layers behind the first alone."""
    from biolm.models.systems.scimilarity import Scimilarity, _network

    names = [f"GENE{i}" for i in range(genes)]
    network = _network([genes, 1024, 1024, 1024, 128], dropout_first=True)
    model = Scimilarity(GeneVocabulary.of(names, kind="symbol"), network, None, [], 0)
    block = cells_of(cells, genes, expressed)
    match = model.vocabulary.match({"index": np.array(names)})
    part = block.part(0, 256)
    dense = torch.from_numpy(model.inputs(part, match))
    hidden, last = torch.randn(256, 1024), network[1:].eval()

    @torch.inference_mode()
    def reference() -> Tensor:
        return nn.functional.normalize(model.encoder(dense), dim=1)

    @torch.inference_mode()
    def bound() -> Tensor:
        return last(hidden)  # type: ignore[no-any-return]

    model.embed(block, match, CPU)
    memory = peak()
    times = interleaved(
        {"biolm": lambda: model.embed(block, match, CPU), "reference": reference, "bound": bound}
    )
    return {
        "biolm": cells / times["biolm"],
        "reference": len(part) / times["reference"],
        "memory": memory,
        "note": f"dense rows; its last layers alone {len(hidden) / times['bound']:,.0f} cells/s",
    }


def cellplm(cells: int = 500, genes: int = 13_500, expressed: int = 1500) -> dict[str, Any]:
    """Flow attention over one group of cells, 4 layers of width 1024, without its decoder."""
    config = CoreConfig(
        vocab_size=genes, d_model=1024, n_layers=4, n_heads=8, d_ff=2048, position="none", head="none",
        mixer="flowformer", embedder="counts_of_cells",
    )  # fmt: skip
    core: Any = Transformer(config).eval()
    embedder = core.embeddings
    core.embeddings = nn.Identity()  # type: ignore[assignment]
    block = cells_of(cells, genes, expressed)
    columns, values = torch.from_numpy(block.indices.astype(np.int64)), torch.from_numpy(block.data).log1p()
    sums = RowSums(embedder.token.weight.detach())
    table = torch.sparse_csr_tensor(torch.from_numpy(block.indptr), columns, values, (cells, genes))
    layout = Batch.from_padded(torch.zeros(1, cells, dtype=torch.int64))

    @torch.inference_mode()
    def run(first: Callable[[], Tensor]) -> None:
        states = first()
        core.embeddings.forward = lambda _: states  # type: ignore[union-attr,assignment,method-assign]
        core(layout, logits=False)

    narrow, context = precise(core, torch.device("cpu"), "bfloat16")

    @torch.inference_mode()
    def reduced() -> None:
        with context:
            states = sparse()
            narrow.embeddings.forward = lambda _: states  # type: ignore[union-attr,assignment,method-assign]
            narrow(layout, logits=False)

    def sparse() -> Tensor:
        owners = np.repeat(np.arange(cells), expressed)
        genes = block.indices.astype(np.int64)
        return embedder.of_sums(sums(genes, values.numpy(), owners, cells, torch.device("cpu")))  # type: ignore[no-any-return]

    def product() -> Tensor:
        return embedder.norm(embedder.first(torch.sparse.mm(table, embedder.token.weight)).relu())  # type: ignore[no-any-return]

    run(sparse)
    memory = peak()
    reduced()
    jobs = {"biolm": lambda: run(sparse), "reference": lambda: run(product), "bfloat16": reduced}
    times = interleaved(jobs, rounds=1)
    return {
        "biolm": cells / times["biolm"],
        "bfloat16": cells / times["bfloat16"],
        "reference": cells / times["reference"],
        "memory": memory,
        "note": f"torch.sparse.mm, a group of {cells}",
    }


JOBS: dict[str, Callable[[], dict[str, Any]]] = {
    **{name: (lambda name=name: transformer(name)) for name in SHAPES},  # type: ignore[misc]
    "uce": uce,
    "transcriptformer": transcriptformer,
    "celllm": lambda: performer(512, 10, 16, [600, 1200, 2400], 6000),
    "scbert": lambda: performer(200, 6, 10, [16_907], 16_907),
    "scimilarity": scimilarity,
    "concerto": concerto,
    "sctrans": sctrans,
    "cellplm": cellplm,
}


def main(names: list[str]) -> None:
    """A line of a table for each system."""
    print(
        "| system | cells/s | bfloat16 | reference arithmetic, cells/s | ratio | peak, GB | reference pads |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names or JOBS:
        run = subprocess.run(
            [sys.executable, __file__, "--one", name], capture_output=True, text=True, check=True
        )
        found = json.loads(run.stdout.splitlines()[-1])
        ratio = found["biolm"] / found["reference"]
        print(
            f"| {name} | {found['biolm']:.3g} | {found.get('bfloat16', 0) or '':.3g} "
            f"| {found['reference']:.3g} | {ratio:.2g} "
            f"| {found['memory']:.2f} | {found['note']} |",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(JOBS[sys.argv[2]]()))
    else:
        main(sys.argv[1:])
