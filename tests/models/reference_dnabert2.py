"""DNABERT-2's forward pass, written out in float64 from its description: the published code needs Triton.

Dimensions: ``b`` documents · ``s`` longest · ``d`` width · ``h`` heads. It shares no code with the core:
padded tensors, one dense attention, slopes by the rule of the ALiBi paper.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class BertForMaskedLM(nn.Module):
    """Weights by their published names, float32 as on disk."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.settings = config
        self.weights = {name: nn.Parameter(_initial(name, size)) for name, size in _shapes(config).items()}
        for i, parameter in enumerate(self.weights.values()):
            self.register_parameter(f"p{i}", parameter)

    @property
    def base_model(self) -> nn.Module:
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, **_: Any) -> Any:
        w = {name: parameter.double() for name, parameter in self.weights.items()}
        x = w["bert.embeddings.word_embeddings.weight"][input_ids]
        x = self._norm(
            x + w["bert.embeddings.token_type_embeddings.weight"][token_type_ids], "bert.embeddings"
        )
        states = [x]
        for layer in range(self.settings["num_hidden_layers"]):
            prefix = f"bert.encoder.layer.{layer}"
            x = self._norm(
                x + self._attention(x, attention_mask, w, f"{prefix}.attention"), f"{prefix}.attention.output"
            )
            first, second = (x @ w[f"{prefix}.mlp.gated_layers.weight"].T).chunk(2, dim=-1)
            hidden = first * 0.5 * (1 + torch.erf(first / math.sqrt(2))) * second
            hidden = hidden @ w[f"{prefix}.mlp.wo.weight"].T + w[f"{prefix}.mlp.wo.bias"]
            x = self._norm(x + hidden, f"{prefix}.mlp", "layernorm")
            states.append(x)
        head = "cls.predictions"
        act: Callable[[Tensor], Tensor] = F.relu if self.settings.get("hidden_act") == "relu" else F.gelu
        y = act(x @ w[f"{head}.transform.dense.weight"].T + w[f"{head}.transform.dense.bias"])
        y = self._norm(y, f"{head}.transform")
        logits = y @ w["bert.embeddings.word_embeddings.weight"].T + w[f"{head}.decoder.bias"]
        return _Result([x], hidden_states=tuple(states), logits=logits)

    def _norm(self, x: Tensor, prefix: str, name: str = "LayerNorm") -> Tensor:
        weight, bias = (self.weights[f"{prefix}.{name}.{part}"].double() for part in ("weight", "bias"))
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * weight + bias

    def _attention(self, x: Tensor, mask: Tensor, w: dict[str, Tensor], prefix: str) -> Tensor:
        h = self.settings["num_attention_heads"]
        fused = x @ w[f"{prefix}.self.Wqkv.weight"].T + w[f"{prefix}.self.Wqkv.bias"]
        q, k, v = (part.unflatten(-1, (h, -1)).transpose(1, 2) for part in fused.chunk(3, dim=-1))
        place = torch.arange(x.shape[1])
        distance = (place[:, None] - place).abs().double()
        bias = -torch.tensor(_slopes(h), dtype=torch.float64)[:, None, None] * distance
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + bias
        weights = scores.masked_fill(~mask.bool()[:, None, None], -torch.inf).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        return mixed @ w[f"{prefix}.output.dense.weight"].T + w[f"{prefix}.output.dense.bias"]

    def save_pretrained(self, folder: str | Path, max_shard_size: str | None = None) -> None:
        folder = Path(folder)
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.settings))
        tensors = {name: parameter.detach() for name, parameter in self.weights.items()}
        if max_shard_size is None:
            save_file(tensors, folder / "model.safetensors")
            return
        names = sorted(tensors)
        shards = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
        for file in set(shards.values()):
            save_file({name: tensors[name] for name in names if shards[name] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))

    @classmethod
    def from_pretrained(cls, folder: Path, **_: Any) -> tuple[BertForMaskedLM, dict[str, list[str]]]:
        model = cls(json.loads((folder / "config.json").read_text()))
        tensors = load_file(folder / "model.safetensors")
        common = tensors.keys() & model.weights.keys()
        with torch.no_grad():
            for name in common:
                model.weights[name].copy_(tensors[name])
        return model, {
            "missing_keys": sorted(model.weights.keys() - common),
            "unexpected_keys": sorted(tensors.keys() - common),
            "mismatched_keys": [],
        }


class _Result(list[Any]):
    def __init__(self, values: list[Any], **named: Any) -> None:
        super().__init__(values)
        self.__dict__.update(named)


def _slopes(heads: int) -> list[float]:
    """Press et al. 2021, their code's rule for heads that are no power of two."""
    if heads & (heads - 1) == 0:
        return [2.0 ** (-8 * (i + 1) / heads) for i in range(heads)]
    below = 1 << (heads.bit_length() - 1)
    return _slopes(below) + _slopes(2 * below)[0::2][: heads - below]


def _initial(name: str, size: tuple[int, ...]) -> Tensor:
    return torch.ones(size) if "norm" in name.lower() and name.endswith("weight") else torch.zeros(size)


def _shapes(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    out: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (v, d),
        "bert.embeddings.token_type_embeddings.weight": (c["type_vocab_size"], d),
        **_affine("bert.embeddings.LayerNorm", (d,)),
        **_affine("cls.predictions.transform.dense", (d, d)),
        **_affine("cls.predictions.transform.LayerNorm", (d,)),
        "cls.predictions.decoder.bias": (v,),
        **_affine("bert.pooler.dense", (d, d)),
    }
    for layer in range(c["num_hidden_layers"]):
        prefix = f"bert.encoder.layer.{layer}"
        out |= _affine(f"{prefix}.attention.self.Wqkv", (3 * d, d))
        out |= _affine(f"{prefix}.attention.output.dense", (d, d))
        out |= _affine(f"{prefix}.attention.output.LayerNorm", (d,))
        out[f"{prefix}.mlp.gated_layers.weight"] = (2 * f, d)
        out |= _affine(f"{prefix}.mlp.wo", (d, f))
        out |= _affine(f"{prefix}.mlp.layernorm", (d,))
    return out


def _affine(name: str, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": size, f"{name}.bias": size[:1]}
