"""Concerto and scTrans beside their arithmetic on cells padded to the longest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _cell_shapes import GENES, packed_cells, peak
from _measure import interleaved
from torch import Tensor, nn

__all__ = ["concerto", "sctrans"]


def concerto(width: int = 128, genes: int = 2000) -> dict[str, Any]:
    """The teacher, beside its arithmetic on cells padded to the longest."""
    from biolm.models.systems.concerto import Teacher

    teacher, lengths = Teacher(genes, width, width).eval(), [min(size, genes) for size in GENES] * 16
    batch = packed_cells(lengths, genes)
    ids = nn.utils.rnn.pad_sequence([torch.arange(size) for size in lengths], batch_first=True)
    keep = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).float()

    def padded() -> Tensor:
        x = teacher.embedding(ids) * teacher.value_norm(torch.ones(ids.numel(), 1)).view(*ids.shape, 1)
        weights = (torch.tanh(teacher.keys(x)) @ teacher.context).exp() * keep
        mixed = (x * (weights / weights.sum(1, keepdim=True))[..., None]).sum(1)
        return teacher.dense(teacher.norm(torch.tanh(mixed))).relu()  # type: ignore[no-any-return]

    return plain(lambda: teacher(batch), padded, len(lengths))


def sctrans(width: int = 64, genes: int = 20_000) -> dict[str, Any]:
    """One query over the expressed genes, beside its arithmetic on cells padded to the longest."""
    from biolm.models.systems.sctrans import Encoder

    block = "encoder.encoder_list.0"
    shapes = {
        "embedding.feature_embedding.word_embed.weight": (genes, width),
        f"{block}.attention_model.q.weight": (width, width),
        f"{block}.point_wise_ffw.linear1.weight": (2 * width, width),
    }
    network = Encoder({name: torch.Size(size) for name, size in shapes.items()}, 1).eval()
    lengths = list(GENES) * 16
    batch = packed_cells(lengths, genes)
    table: Any = network.embedding.get_parameter("feature_embedding.word_embed.weight")
    layer: Any = network.encoder.get_submodule("encoder_list.0")
    parts = layer.attention_model
    ids = nn.utils.rnn.pad_sequence([torch.arange(size) for size in lengths], batch_first=True)
    keep = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    def padded() -> Tensor:
        keys = table[ids] * torch.ones(*ids.shape, 1)
        query = table[1].expand(len(ids), 1, -1)
        q, k, v = parts["q"](query), parts["k"](keys), parts["v"](keys)
        scores = (q @ k.transpose(1, 2) / width**0.5).masked_fill(~keep[:, None], -1e10).softmax(-1)
        query = query + layer.sublayer1["norm"](parts["out"](scores @ v))
        hidden = layer.point_wise_ffw["linear2"](layer.point_wise_ffw["linear1"](query).relu())
        return query + layer.sublayer2["norm"](hidden)  # type: ignore[no-any-return]

    return plain(lambda: network(batch), padded, len(lengths))


def plain(packed: Callable[[], object], padded: Callable[[], object], cells: int) -> dict[str, Any]:
    """A small network, all of it."""
    with torch.inference_mode():
        packed()
        memory = peak()
        times = interleaved({"biolm": packed, "reference": padded})
    return {
        "biolm": cells / times["biolm"],
        "reference": cells / times["reference"],
        "memory": memory,
        "note": "to the longest of the batch",
    }
