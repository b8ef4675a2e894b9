"""CUDA attention kernels against the written-out one, and a whole model against the CPU.

Needs torch, numpy, safetensors and pytest alone: ``python -m pytest tests/core/test_kernels_gpu.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_cases import (
    KEY_LENGTHS,
    LENGTHS,
    SCENES,
    Scene,
    bias_of,
    layout_of,
    layout_to,
    tensors_of,
)
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.kernels import attend, choose_kernel

pytestmark = pytest.mark.gpu

# Longer than a tile of either kernel, and not a multiple of one.
LONG = (300, 1, 0, 129, 128, 40)
VARLEN = {
    name: scene for name, scene in SCENES.items() if scene.bias == "none" and scene.rule.softcap is None
}


def both(scene: Scene, lengths: tuple[int, ...], kernel: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The kernel's result, and the reference in float32 on the same rounded numbers; width 64."""
    keys = (KEY_LENGTHS if lengths is LENGTHS else LONG[::-1]) if scene.cross else None
    query, key, value = (x.to("cuda", dtype) for x in tensors_of(scene, lengths, keys, width=64))
    layout = layout_of(lengths, keys)
    bias = bias_of(scene)
    with torch.no_grad():
        wide = [x.float().cpu() for x in (query, key, value)]
        wanted = attend(*wide, layout, scene.rule, bias=bias, kernel="math")
        bias = None if bias is None else bias.cuda()
        found = attend(query, key, value, layout_to(layout, "cuda"), scene.rule, bias=bias, kernel=kernel)
    return found.float().cpu(), wanted


@pytest.mark.parametrize("lengths", [LENGTHS, LONG], ids=["short", "long"])
@pytest.mark.parametrize("scene", VARLEN.values(), ids=VARLEN)
def test_varlen_agrees(scene: Scene, lengths: tuple[int, ...]) -> None:
    found, wanted = both(scene, lengths, "varlen", torch.bfloat16)
    assert found.isfinite().all()
    assert torch.allclose(found, wanted, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("lengths", [LENGTHS, LONG], ids=["short", "long"])
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_flex_agrees(scene: Scene, lengths: tuple[int, ...]) -> None:
    found, wanted = both(scene, lengths, "flex", torch.float32)
    assert found.isfinite().all()
    assert torch.allclose(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["varlen", "flex"])
def test_no_dependence_on_batch_mates(kernel: str) -> None:
    scene = SCENES["causal window"]
    query, key, value = (x.to("cuda", torch.bfloat16) for x in tensors_of(scene, LONG, None, width=64))
    layout = layout_to(layout_of(LONG), "cuda")
    whole = attend(query, key, value, layout, scene.rule, kernel=kernel)
    alone = layout_to(layout_of(LONG[:1]), "cuda")
    part = attend(query[:300], key[:300], value[:300], alone, scene.rule, kernel=kernel)
    assert torch.allclose(part, whole[:300], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", ["full", "causal window", "grouped", "softcap", "alibi"])
def test_gradients_agree(name: str) -> None:
    scene = SCENES[name]
    bias = bias_of(scene)
    gradients = []
    for device, dtype, kernel in (("cuda", torch.bfloat16, "auto"), ("cpu", torch.float32, "math")):
        base = [x.to(torch.bfloat16) for x in tensors_of(scene, LONG, None, width=64)]
        tensors = [x.to(device, dtype).requires_grad_() for x in base]
        moved = None if bias is None else bias.to(device)
        out = attend(*tensors, layout_to(layout_of(LONG), device), scene.rule, bias=moved, kernel=kernel)
        weights = torch.linspace(-1, 1, out.numel(), device=device, dtype=dtype).view_as(out)
        (out * weights).sum().backward()
        gradients.append([x.grad.float().cpu() for x in tensors if x.grad is not None])
    for fast, slow in zip(*gradients, strict=True):
        assert float((fast - slow).norm() / slow.norm()) < 2e-2


@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_gradients_of_some_tokens_agree(position: str) -> None:
    """Also where a document has no token that is asked for."""
    sizes = {"vocab_size": 33, "d_model": 128, "n_layers": 2, "n_heads": 4, "d_ff": 256}
    torch.manual_seed(0)
    model = Transformer(CoreConfig(**sizes, head="linear", position=position))  # type: ignore[arg-type]
    ids = torch.randint(0, 33, (4, 150))
    batch = Batch.from_padded(ids, torch.arange(150) < torch.tensor([90, 150, 1, 77])[:, None])
    rows = torch.tensor([95, 96, 120, 250, 300])
    gradients = []
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.bfloat16)):
        model.to(device).zero_grad()
        with torch.autocast(device, dtype, enabled=device == "cuda"):
            model(batch.to(device), only=rows.to(device)).logits.float().logsumexp(-1).sum().backward()
        gradients.append([weight.grad.float().cpu().clone() for weight in model.layers.parameters()])
    for slow, fast in zip(*gradients, strict=True):
        assert float((fast - slow).norm() / slow.norm().clamp(min=1e-3)) < 5e-2


def test_the_kernel_is_chosen_by_what_it_can() -> None:
    half = torch.zeros(2, 4, 64, device="cuda", dtype=torch.bfloat16)
    assert choose_kernel(half, SCENES["causal window"].rule, None) == "varlen"
    assert choose_kernel(half, SCENES["softcap"].rule, None) == "flex"
    assert choose_kernel(half, SCENES["alibi"].rule, bias_of(SCENES["alibi"])) == "flex"
    assert choose_kernel(half.float(), SCENES["full"].rule, None) == "flex"


MODELS: dict[str, dict[str, Any]] = {
    "encoder": {"position": "rope", "window": 16, "windowed_layers": (1,), "glu": True},
    "alibi": {"position": "alibi", "block": "post", "embed_norm": True},
    "decoder": {"position": "rope", "causal": True, "n_kv_heads": 2, "norm": "rmsnorm"},
    "softcap": {"position": "rope", "causal": True, "attn_softcap": 5.0},
}


@pytest.mark.parametrize("switches", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_model_agrees_with_the_cpu(switches: dict[str, Any], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 33, "d_model": 128, "n_layers": 2, "n_heads": 4, "d_ff": 256}
    model = Transformer(CoreConfig(**sizes, head="linear", **switches)).eval()
    ids = torch.randint(0, 33, (3, 150))
    batch = Batch.from_padded(ids, torch.arange(150) < torch.tensor([150, 1, 77])[:, None])
    with torch.inference_mode():
        wanted = model(batch).logits
        found = model.to("cuda", dtype)(batch.to("cuda")).logits.float().cpu()
        rows = torch.tensor([0, 7, 149, 150, 151, 180])
        some = model(batch.to("cuda"), only=rows.to("cuda")).logits.float().cpu()
    tolerance = 1e-4 if dtype is torch.float32 else 5e-2
    assert float((found - wanted).norm() / wanted.norm()) < tolerance
    assert float((some - wanted[rows]).norm() / wanted[rows].norm()) < tolerance
