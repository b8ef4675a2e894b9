"""ViT in timm's layout (UNI's): the same states as the network written out, and as transformers' ViT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from biolm.core.patches import image_batch
from biolm.errors import CheckpointError, ConfigError
from biolm.models.families.hf import from_hf, to_hf
from biolm.models.families.timm_vit import core_config

WIDTH, DEPTH, HEADS, SIDE, PATCH = 24, 2, 3, 16, 4


def config(**more: Any) -> dict[str, Any]:
    arguments = {
        "embed_dim": WIDTH,
        "depth": DEPTH,
        "num_heads": HEADS,
        "img_size": SIDE,
        "patch_size": PATCH,
    }
    return {"architecture": "vit_large_patch16_224", "num_classes": 0, "model_args": {**arguments, **more}}


def weights(*, scaled: bool, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    found = {
        "cls_token": draw(1, 1, WIDTH),
        "pos_embed": draw(1, 1 + (SIDE // PATCH) ** 2, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": draw(WIDTH),
        "norm.weight": 1 + draw(WIDTH),
        "norm.bias": draw(WIDTH),
    }
    for layer in range(DEPTH):
        head = f"blocks.{layer}"
        for name, out, inner in (
            ("attn.qkv", 3 * WIDTH, WIDTH),
            ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ):
            found |= {f"{head}.{name}.weight": draw(out, inner), f"{head}.{name}.bias": draw(out)}
        for name in ("norm1", "norm2"):
            found |= {f"{head}.{name}.weight": 1 + draw(WIDTH), f"{head}.{name}.bias": draw(WIDTH)}
        if scaled:
            found |= {f"{head}.ls1.gamma": draw(WIDTH), f"{head}.ls2.gamma": draw(WIDTH)}
    return found


def reference(w: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """``(b, 1 + p, d)`` last states, as timm's VisionTransformer.forward_features computes them."""
    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat((w["cls_token"].expand(len(x), -1, -1), x), 1) + w["pos_embed"]

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(y, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    for layer in range(DEPTH):
        head = f"blocks.{layer}"
        y = F.linear(norm(x, f"{head}.norm1"), w[f"{head}.attn.qkv.weight"], w[f"{head}.attn.qkv.bias"])
        q, k, v = y.view(*y.shape[:2], 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        y = torch.softmax(q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5, -1) @ v
        y = F.linear(y.transpose(1, 2).flatten(2), w[f"{head}.attn.proj.weight"], w[f"{head}.attn.proj.bias"])
        x = x + y * w.get(f"{head}.ls1.gamma", 1)
        y = F.linear(norm(x, f"{head}.norm2"), w[f"{head}.mlp.fc1.weight"], w[f"{head}.mlp.fc1.bias"])
        y = F.linear(F.gelu(y), w[f"{head}.mlp.fc2.weight"], w[f"{head}.mlp.fc2.bias"])
        x = x + y * w.get(f"{head}.ls2.gamma", 1)
    return norm(x, "norm")


def folder(path: Path, content: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(content))
    save_file(tensors, path / "model.safetensors")
    return path


@pytest.mark.parametrize("scaled", [False, True])
def test_states_are_those_of_the_published_network(tmp_path: Path, scaled: bool) -> None:
    held = weights(scaled=scaled)
    head = {"head.weight": torch.zeros(5, WIDTH), "head.bias": torch.zeros(5)}
    content = config(init_values=1e-5) if scaled else config()
    model = from_hf(folder(tmp_path / "m", content, {**held, **head}))
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        states = model(image_batch(images, model.config)).last_hidden_state.view(2, -1, WIDTH)
    torch.testing.assert_close(states, reference(held, images), rtol=1e-4, atol=1e-5)
    # Back to the same names and the same numbers.
    to_hf(model, tmp_path / "back", "timm_vit")
    again = from_hf(tmp_path / "back")
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_states_are_those_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    held = weights(scaled=False)
    model = from_hf(folder(tmp_path / "m", config(), held))
    to_hf(model, tmp_path / "hf", "vit")
    theirs = transformers.ViTModel.from_pretrained(tmp_path / "hf", add_pooling_layer=False).eval()
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(images).last_hidden_state
    torch.testing.assert_close(reference(held, images), expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    assert (
        core_config({"architecture": "vit_large_patch16_224", "model_args": {"init_values": 1e-5}}).n_layers
        == 24
    )
    with pytest.raises(ConfigError, match="reg_tokens"):
        core_config(config(reg_tokens=8))
    with pytest.raises(ConfigError, match="none that is read here"):
        core_config({"architecture": "resnet50"})
    held = weights(scaled=True)
    with pytest.raises(CheckpointError, match=r"blocks\.0\.ls1\.gamma"):
        from_hf(folder(tmp_path / "m", config(), held))


def test_a_checkpoint_encodes_patches(tmp_path: Path) -> None:
    import numpy as np

    from biolm.models.systems.image_encoders import make_encoder

    encoder = make_encoder(str(folder(tmp_path / "m", config(), weights(scaled=False))))
    pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 20, 3), dtype=np.uint8)
    features = encoder(pixels)
    assert features.shape == (3, 17, WIDTH)
    assert encoder.describe()["sha256"]
    assert np.allclose(encoder(pixels[:1]), features[:1], atol=1e-5)
    with pytest.raises(ConfigError, match="no image encoder"):
        make_encoder(str(tmp_path))
