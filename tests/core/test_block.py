"""The arrangements of a block, cross-attention and the input embeddings, against their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from perturb import perturb
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.attention import Context
from biolm.core.block import Block
from biolm.core.embeddings import Embeddings
from biolm.core.layout import Layout
from biolm.core.seq2seq import cross_layout
from biolm.models.systems.scgpt_heads import NormedValues, ValueOptions

SIZES: dict[str, Any] = {"vocab_size": 20, "d_model": 8, "n_layers": 2, "n_heads": 2, "d_ff": 12}


def batch_of(*documents: list[int], segments: Tensor | None = None) -> Batch:
    longest = max(map(len, documents))
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in documents])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in documents])
    return Batch.from_padded(ids, mask, segments=segments)


BATCH = batch_of([1, 2, 3, 4], [5], [6, 7])


def context(**more: Any) -> Context:
    return Context(Layout.of(BATCH.offsets, BATCH.positions, BATCH.max_length), **more)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("kind", ["pre", "post", "sandwich", "parallel", "parallel, one norm"])
def test_arrangements(kind: str, scale: float) -> None:
    if kind == "sandwich" and scale != 1.0:
        return
    shared = kind.endswith("one norm")
    config = CoreConfig(**SIZES, block=kind.split(",")[0], shared_norm=shared, residual_scale=scale)  # type: ignore[arg-type]
    block = Block(config, 1)
    perturb(block).eval()
    x, c = torch.randn(7, 8, generator=torch.Generator().manual_seed(1)), context()

    def attend(y: Tensor) -> Tensor:
        return block.attention(y, c) * scale

    def feed(y: Tensor) -> Tensor:
        return block.mlp(y) * scale

    first, second = block.attn_norm, block.attn_norm if shared else block.mlp_norm
    assert second is not None
    if kind == "pre":
        middle = x + attend(first(x))
        wanted = middle + feed(second(middle))
    elif kind == "post":
        middle = first(x + attend(x))
        wanted = second(middle + feed(middle))
    elif kind == "sandwich":
        middle = x + block.attn_out_norm(attend(first(x)))
        wanted = middle + block.mlp_out_norm(feed(second(middle)))
    else:
        wanted = x + attend(first(x)) + feed(second(x))
    assert torch.allclose(block(x, c), wanted, atol=1e-6)


@torch.no_grad()
def test_layer_scale_multiplies_each_channel_of_a_branch() -> None:
    block = Block(CoreConfig(**SIZES, layer_scale=True), 0)
    perturb(block).eval()
    x, c = torch.randn(7, 8, generator=torch.Generator().manual_seed(1)), context()
    middle = x + block.attention(block.attn_norm(x), c) * block.attn_scale
    assert block.mlp_norm is not None
    wanted = middle + block.mlp(block.mlp_norm(middle)) * block.mlp_scale
    assert torch.allclose(block(x, c), wanted, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["pre", "post"])
def test_cross_attention_reads_the_other_stream(kind: str) -> None:
    """By hand for each document: its queries against the whole of its memory, without mask or positions."""
    config = CoreConfig(
        **SIZES, block=kind, causal=True, position="rope", cross_attention=True, head="linear"
    )  # type: ignore[arg-type]
    model = Transformer(config)
    perturb(model).eval()
    memory_batch = batch_of([1, 1], [1, 1, 1, 1, 1], [1])
    memory = torch.randn(8, 8, generator=torch.Generator().manual_seed(2))
    layout = cross_layout(BATCH, memory_batch)
    block = model.layers[0]
    assert isinstance(block, Block)
    x = torch.randn(7, 8, generator=torch.Generator().manual_seed(1))
    found = block.cross(x, context(memory=memory, memory_layout=layout))
    wanted = torch.zeros(7, 8)
    for q0, q1, k0, k1 in layout.spans:
        q = block.cross.query(x[q0:q1]).view(-1, 2, 4)
        k, v = (f(memory[k0:k1]).view(-1, 2, 4) for f in (block.cross.key, block.cross.value))
        weights = (torch.einsum("qhd,khd->hqk", q, k) / 2).softmax(-1)
        wanted[q0:q1] = block.cross.out(torch.einsum("hqk,khd->qhd", weights, v).flatten(1))
    assert torch.allclose(found, wanted, atol=1e-6)
    whole = model(BATCH, memory=(memory, layout)).logits
    other = memory.clone()
    other[2:7] += 1  # the second document's memory
    moved = (model(BATCH, memory=(other, layout)).logits - whole).abs().amax(-1) > 1e-6
    assert moved.tolist() == [False, False, False, False, True, False, False]
    assert (model(BATCH).logits - whole).abs().max() > 1e-3


@torch.no_grad()
def test_token_dropout_counts_each_document() -> None:
    """Mask embeddings vanish; the rest grow by the document's own share of mask tokens."""
    config = CoreConfig(**SIZES, position="none", token_dropout=True, mask_id=9)
    embeddings = Embeddings(config)
    perturb(embeddings).eval()
    found = embeddings(batch_of([1, 9, 9, 2], [3, 4], [9, 9]))
    table = embeddings.token.weight
    train = 1 - 0.15 * 0.8
    assert torch.allclose(found[0], table[1] * train / 0.5)
    assert torch.allclose(found[4], table[3] * train)
    assert not found[1:3].any()
    assert torch.equal(found[6:], torch.zeros(2, 8))  # all masked: nothing left, and no NaN


@torch.no_grad()
def test_embeddings_are_summed_then_normed_then_projected() -> None:
    config = CoreConfig(
        **SIZES, embed_dim=6, n_segments=2, embed_norm=True, embed_scale=3.0, position_offset=2, max_length=5
    )
    embeddings = Embeddings(config)
    perturb(embeddings).eval()
    segments = torch.tensor([[1, 0, 1], [0, 0, 0]])
    batch = batch_of([4, 5, 6], [7], segments=segments)
    wanted = (
        3 * embeddings.token.weight[[4, 5, 6, 7]]
        + embeddings.segment.weight[[1, 0, 1, 0]]
        + embeddings.position.weight[[2, 3, 4, 2]]
    )
    assert embeddings.projection is not None
    assert torch.allclose(embeddings(batch), embeddings.projection(embeddings.norm(wanted)), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["bins", "continuous"])
def test_values_are_added(encoder: str) -> None:
    config = CoreConfig(**SIZES, position="none", value_encoder=encoder, n_values=6)  # type: ignore[arg-type]
    embeddings = NormedValues(config, ValueOptions(norm=False, clip=2.0))
    perturb(embeddings).eval()
    values = torch.tensor([[0, 5, 2]]) if encoder == "bins" else torch.tensor([[0.5, 7.0, 2.0]])
    batch = Batch.from_padded(torch.tensor([[1, 2, 3]]), values=values)
    added = embeddings(batch) - embeddings.token.weight[[1, 2, 3]]
    if encoder == "bins":
        assert torch.allclose(added, embeddings.value.weight[[0, 5, 2]], atol=1e-6)  # type: ignore[index]
    else:
        assert torch.allclose(added[1], added[2], atol=1e-6)  # 7 is clamped at 2
        assert (added[0] - added[1]).abs().max() > 1e-3


@torch.no_grad()
def test_shared_layers_run_one_block_many_times() -> None:
    model = Transformer(CoreConfig(**{**SIZES, "n_layers": 3}, share_layers=True, block="post"))
    perturb(model).eval()
    assert len(model.layers) == 1
    found = model(BATCH, hidden_states=True)
    x = found.hidden_states[0]
    for state in found.hidden_states[1:]:
        x = model.layers[0](x, context())
        assert torch.allclose(x, state, atol=1e-6)
