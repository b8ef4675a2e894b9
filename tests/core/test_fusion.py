"""Parallel cross-attention of two streams: nobody sees the other's update, either side may be missing."""

from __future__ import annotations

import pytest
import torch

from biolm.core.config import CoreConfig
from biolm.core.fusion import Fusion, FusionLayer, FusionMaps, Stream
from biolm.core.places import NeighbourLayer
from biolm.errors import ConfigError, InputError

CONFIG = CoreConfig(vocab_size=1, d_model=8, n_layers=2, n_heads=2, d_ff=16)


def stream(*lengths: int, seed: int = 0) -> Stream:
    states = torch.randn(sum(lengths), 8, generator=torch.Generator().manual_seed(seed))
    return Stream(states, torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32))


@pytest.fixture
def fusion() -> Fusion:
    torch.manual_seed(0)
    return Fusion(CONFIG).eval()


def dense(side, own, other):
    """One side of a layer, written out for one document."""
    q = side.cross.query(side.norm(own)).view(len(own), 2, 4).transpose(0, 1)
    k, v = (
        part(side.memory_norm(other)).view(len(other), 2, 4).transpose(0, 1)
        for part in (side.cross.key, side.cross.value)
    )
    mixed = torch.softmax(q @ k.transpose(1, 2) / 2, -1) @ v
    x = own + side.cross.out(mixed.transpose(0, 1).flatten(1))
    return x + side.mlp(side.mlp_norm(x))


def test_both_sides_read_the_streams_of_the_layer_below(fusion: Fusion) -> None:
    # If the image side read the updated genes, it would differ from this.
    genes, image = stream(3, seed=1).states, stream(4, seed=2).states
    g, i = genes, image
    for layer in fusion.layers:
        assert isinstance(layer, FusionLayer)
        g, i = dense(layer.genes, g, i), dense(layer.image, i, g)
    out_genes, out_image = fusion(stream(3, seed=1), stream(4, seed=2))
    torch.testing.assert_close(out_genes.states, fusion.genes_norm(g), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out_image.states, fusion.image_norm(i), rtol=1e-5, atol=1e-5)


def test_one_side_does_not_see_the_others_update_in_its_layer(fusion: Fusion) -> None:
    layer = fusion.layers[0]
    genes, image = stream(3, seed=1), stream(4, seed=2)
    from biolm.core.fusion import _layout

    layouts = _layout(genes, image), _layout(image, genes)
    _, before = layer(genes.states, image.states, *layouts)
    with torch.no_grad():
        layer.genes.cross.out.weight.mul_(-3)
        layer.genes.mlp.up.weight.mul_(5)
    _, after = layer(genes.states, image.states, *layouts)
    assert torch.equal(before, after)


def test_documents_do_not_mix(fusion: Fusion) -> None:
    genes, image = stream(3, 2, 3, 3, seed=1), stream(4, 1, 4, 4, seed=2)
    whole = fusion(genes, image)[0].states
    for number in range(4):
        g0, g1 = genes.offsets[number : number + 2].tolist()
        i0, i1 = image.offsets[number : number + 2].tolist()
        alone = fusion(
            Stream(genes.states[g0:g1], torch.tensor([0, g1 - g0], dtype=torch.int32)),
            Stream(image.states[i0:i1], torch.tensor([0, i1 - i0], dtype=torch.int32)),
        )[0].states
        torch.testing.assert_close(whole[g0:g1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("genes", "image"), [((3, 2), (0, 4)), ((0, 2), (3, 1)), ((0, 0), (2, 2))])
def test_either_side_may_be_missing(fusion: Fusion, genes: tuple[int, ...], image: tuple[int, ...]) -> None:
    out_genes, out_image = fusion(stream(*genes), stream(*image))
    assert out_genes.offsets.diff().tolist() == [max(n, 1) for n in genes]
    assert out_image.offsets.diff().tolist() == [max(n, 1) for n in image]
    assert bool(out_genes.states.isfinite().all())
    (out_genes.states.sum() + out_image.states.sum()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in fusion.parameters())


def test_maps_of_both_directions_sum_to_one(fusion: Fusion) -> None:
    maps: list[FusionMaps] = []
    fusion(stream(3, 2), stream(4, 0), maps)
    assert len(maps) == 2
    assert [tuple(m.shape) for m in maps[0].genes] == [(2, 3, 4), (2, 2, 1)]
    assert [tuple(m.shape) for m in maps[0].image] == [(2, 4, 3), (2, 1, 2)]
    for layer in maps:
        for one in (*layer.genes, *layer.image):
            torch.testing.assert_close(one.sum(-1), torch.ones(one.shape[:2]))


def test_what_cannot_be_fused_is_refused(fusion: Fusion) -> None:
    with pytest.raises(InputError, match="genes come of 2 spots and images of 1"):
        fusion(stream(3, 2), stream(4))
    with pytest.raises(ConfigError, match="no causal mask or window"):
        Fusion(CoreConfig(vocab_size=1, d_model=8, n_layers=1, n_heads=2, d_ff=8, causal=True))


def test_neighbours_enter_by_relative_place_alone() -> None:
    torch.manual_seed(0)
    layer = NeighbourLayer(CONFIG).eval()
    with torch.no_grad():
        layer.bias.weight.normal_()
    x, places = torch.randn(2, 5, 8), torch.randn(2, 5, 2)
    seen = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    out = layer(x, places, seen)
    turned = places @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + 17
    torch.testing.assert_close(layer(x, turned, seen), out, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(layer(x, 2 * places, seen), out)
    changed = x.clone()
    changed[1, 3:] += 1  # tokens that do not exist are looked at by nobody
    torch.testing.assert_close(layer(changed, places, seen)[1, :3], out[1, :3])
