"""Attention kernels agree pairwise on the CPU, document by document, and never give NaN."""

from __future__ import annotations

import math

import pytest
import torch
from attention_cases import KEY_LENGTHS, LENGTHS, SCENES, Scene, bias_of, layout_of, tensors_of
from torch import Tensor

from biolm.core.kernels import attend, attention_maps, choose_kernel
from biolm.core.layout import Rule
from biolm.core.positions import AlibiBias

# Uncompiled on purpose: these tests are about the numbers, and compiling takes a minute on the CPU.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")

KERNELS = ("sdpa", "math", "flex")
scenes = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)


def run(scene: Scene, kernel: str, lengths: tuple[int, ...] = LENGTHS) -> Tensor:
    keys = KEY_LENGTHS[: len(lengths)] if scene.cross else None
    query, key, value = tensors_of(scene, lengths, keys)
    with torch.no_grad():
        layout = layout_of(lengths, keys)
        return attend(query, key, value, layout, scene.rule, bias=bias_of(scene), kernel=kernel)


def supported(scene: Scene) -> tuple[str, ...]:
    """The fused CPU kernel has no soft-cap."""
    return tuple(name for name in KERNELS if name != "sdpa" or scene.rule.softcap is None)


def by_hand(scene: Scene, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One document with loops, in float64, from the definition of each rule."""
    rule, out = scene.rule, torch.zeros(query.shape, dtype=torch.float64)
    bias = bias_of(scene)
    for head in range(query.shape[1]):
        group = head // (query.shape[1] // key.shape[1])
        for i in range(len(query)):
            scores = []
            for j in range(len(key)):
                score = float(query[i, head].double() @ key[j, group].double()) * rule.scale
                if rule.softcap is not None:
                    score = rule.softcap * math.tanh(score / rule.softcap)
                if bias is not None:
                    score += float(bias(torch.tensor([[j - i]]))[head, 0, 0])
                behind, ahead = i - j, j - i
                hidden = rule.causal and ahead > 0
                hidden |= rule.causal and rule.window > 0 and behind >= rule.window
                hidden |= not rule.causal and rule.window > 0 and abs(behind) > rule.window
                scores.append(-math.inf if hidden else score)
            weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
            out[i, head] = weights @ value[:, group].double()
    return out


@scenes
def test_kernels_agree_with_the_definition(scene: Scene) -> None:
    keys = (6,) if scene.cross else None
    query, key, value = tensors_of(scene, (9,), keys)
    with torch.no_grad():
        wanted = by_hand(scene, query, key, value)
        for name in supported(scene):
            layout = layout_of((9,), keys)
            found = attend(query, key, value, layout, scene.rule, bias=bias_of(scene), kernel=name)
            assert torch.allclose(found.double(), wanted, atol=1e-5), name


@scenes
def test_kernels_agree_pairwise_on_mixed_lengths(scene: Scene) -> None:
    wanted = run(scene, "math")
    assert wanted.isfinite().all()
    assert wanted.abs().max() > 0.5
    for name in supported(scene):
        found = run(scene, name)
        assert found.isfinite().all()
        assert torch.allclose(found, wanted, atol=2e-6), name


ALONE = [(name, kernel) for name, scene in SCENES.items() for kernel in supported(scene) if kernel != "flex"]
# Uncompiled flex_attention is slow, and its documents part by one mask, whatever the scene.
ALONE += [("causal window", "flex"), ("t5", "flex"), ("cross", "flex")]


@pytest.mark.parametrize(("name", "kernel"), ALONE)
def test_batch_mates_do_not_matter(name: str, kernel: str) -> None:
    scene = SCENES[name]
    keys = KEY_LENGTHS if scene.cross else None
    query, key, value = tensors_of(scene, LENGTHS, keys)
    whole = run(scene, kernel)
    layout = layout_of(LENGTHS, keys)
    for (q0, q1, k0, k1), length in zip(layout.spans, LENGTHS, strict=True):
        alone = layout_of((length,), (k1 - k0,) if scene.cross else None)
        with torch.no_grad():
            part = attend(
                query[q0:q1], key[k0:k1], value[k0:k1], alone, scene.rule, bias=bias_of(scene), kernel=kernel
            )
        assert torch.allclose(part, whole[q0:q1], atol=2e-6)


def test_queries_without_keys_get_zeros() -> None:
    """A document whose memory is empty attends to nothing."""
    for name in KERNELS:
        found = run(SCENES["cross"], name)
        assert not found[-1].any(), name  # the last query's document has no keys
        assert found[:-1].any(-1).all(), name


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_tokens_at_all(kernel: str) -> None:
    assert run(SCENES["full"], kernel, ()).shape == (0, 4, 8)
    assert run(SCENES["causal"], kernel, (0, 0)).shape == (0, 4, 8)


@scenes
def test_gradients_of_the_fast_kernel(scene: Scene) -> None:
    if "sdpa" not in supported(scene):
        return
    gradients = []
    for name in ("sdpa", "math"):
        keys = KEY_LENGTHS if scene.cross else None
        tensors = [x.requires_grad_() for x in tensors_of(scene, LENGTHS, keys)]
        bias = bias_of(scene)
        if bias is not None:
            bias.requires_grad_(False)
        out = attend(*tensors, layout_of(LENGTHS, keys), scene.rule, bias=bias, kernel=name)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        gradients.append([x.grad for x in tensors])
    for fast, slow in zip(*gradients, strict=True):
        assert fast is not None
        assert slow is not None
        assert torch.allclose(fast, slow, atol=5e-6)


def test_a_trained_bias_gets_its_gradient() -> None:
    scene = SCENES["t5"]
    bias = bias_of(scene)
    assert bias is not None
    query, key, value = tensors_of(scene, LENGTHS, None)
    attend(query, key, value, layout_of(LENGTHS), scene.rule, bias=bias).square().sum().backward()
    gradients = [x.grad for x in bias.parameters()]
    assert len(gradients) == 1
    assert gradients[0] is not None
    assert gradients[0].any()


def test_the_fast_kernel_is_chosen_where_it_can_be() -> None:
    query = torch.zeros(3, 4, 8)
    assert choose_kernel(query, Rule(causal=True, window=4), None) == "sdpa"
    assert choose_kernel(query, Rule(), AlibiBias(4)) == "sdpa"
    assert choose_kernel(query, Rule(softcap=2.0), None) == "math"
    trained = bias_of(SCENES["t5"])
    assert choose_kernel(query, Rule(), trained) == "math"
    with torch.no_grad():
        assert choose_kernel(query, Rule(), trained) == "sdpa"


@scenes
def test_maps_are_the_weights_that_were_used(scene: Scene) -> None:
    keys = KEY_LENGTHS if scene.cross else None
    query, key, value = tensors_of(scene, LENGTHS, keys)
    layout = layout_of(LENGTHS, keys)
    with torch.no_grad():
        maps = attention_maps(query, key, layout, scene.rule, bias_of(scene))
        wanted = run(scene, "math")
    for weights, (q0, q1, k0, k1) in zip(maps, layout.spans, strict=True):
        assert weights.shape == (4, q1 - q0, k1 - k0)
        if q1 > q0 and k1 > k0:
            assert torch.allclose(weights.sum(-1), torch.ones(4, q1 - q0), atol=1e-5)
        values = value[k0:k1].repeat_interleave(4 // scene.kv_heads, 1).transpose(0, 1)
        assert torch.allclose((weights @ values).transpose(0, 1), wanted[q0:q1], atol=1e-5)


@pytest.mark.parametrize("bias", [None, "alibi"])
@pytest.mark.parametrize("window", [0, 9])
@pytest.mark.parametrize("keys", ["causal", "both ways", "private", "mixed places"])
def test_a_large_mask_is_made_in_rows(
    monkeypatch: pytest.MonkeyPatch, bias: str | None, window: int, keys: str
) -> None:
    """New tokens against a long past: equal to the whole mask, whatever fits at a time."""
    from biolm.core import kernels
    from biolm.core.layout import Layout, Rule
    from biolm.core.positions import AlibiBias

    generator = torch.Generator().manual_seed(0)
    query = torch.randn(13, 4, 8, generator=generator)
    key, value = (torch.randn(50, 2, 8, generator=generator) for _ in range(2))
    places = torch.arange(50)
    if keys == "mixed places":
        places = torch.cat((torch.randperm(37, generator=generator), places[37:]))
    private = None
    if keys == "private":
        private = torch.rand(50, generator=generator) < 0.3
    layout = Layout(
        torch.tensor([0, 13]), torch.tensor([0, 50]), torch.arange(37, 50), places, 13, 50, private
    )
    rule = Rule(causal=keys != "both ways", window=window, scale=0.3)
    added = None if bias is None else AlibiBias(4)
    whole = kernels.attend(query, key, value, layout, rule, bias=added)
    plain = kernels.attend(query, key, value, layout, rule, bias=added, kernel="math")
    assert torch.allclose(plain, whole, atol=1e-6)
    monkeypatch.setattr(kernels, "_MOST_MASK", 160)
    monkeypatch.setattr(kernels, "_MOST_ROWS", 160)
    monkeypatch.setattr(kernels, "_cached_mask", None)
    assert torch.allclose(kernels.attend(query, key, value, layout, rule, bias=added), whole, atol=1e-6)


@pytest.mark.parametrize("window", [0, 500])
def test_memory_of_a_long_past_does_not_grow_with_its_square(window: int) -> None:
    """Entries of the masks and scores that a part of a sequence makes: a bounded number at a time."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from biolm.core import kernels
    from biolm.core.layout import Layout, Rule

    class Largest(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.most = max(self.most, out.untyped_storage().nbytes())
            return out

    new, past = 2048, 50_000
    query, key = torch.zeros(new, 1, 4), torch.zeros(past + new, 1, 4)
    ends = torch.tensor([0, new]), torch.tensor([0, past + new])
    layout = Layout(*ends, torch.arange(past, past + new), torch.arange(past + new), new, past + new)
    with Largest() as seen, torch.inference_mode():
        kernels.attend(query, key, key, layout, Rule(causal=True, window=window), kernel="sdpa")
    assert seen.most <= 4 * kernels._MOST_ROWS
