"""DNABERT-2's forward pass, written out in float64 from its description: the published code needs Triton.

Dimensions: ``b`` documents · ``s`` longest · ``d`` width · ``h`` heads. It shares no code with the core:
padded tensors, one dense attention, slopes by the rule of the ALiBi paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from reference_store import Result, Stored, affine
from torch import Tensor


class BertForMaskedLM(Stored):
    """Weights by their published names, float32 as on disk."""

    @staticmethod
    def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        return _shapes(config)

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
        return Result([x], hidden_states=tuple(states), logits=logits)

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


def _slopes(heads: int) -> list[float]:
    """Press et al. 2021, their code's rule for heads that are no power of two."""
    if heads & (heads - 1) == 0:
        return [2.0 ** (-8 * (i + 1) / heads) for i in range(heads)]
    below = 1 << (heads.bit_length() - 1)
    return _slopes(below) + _slopes(2 * below)[0::2][: heads - below]


def _shapes(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    out: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (v, d),
        "bert.embeddings.token_type_embeddings.weight": (c["type_vocab_size"], d),
        **affine("bert.embeddings.LayerNorm", (d,)),
        **affine("cls.predictions.transform.dense", (d, d)),
        **affine("cls.predictions.transform.LayerNorm", (d,)),
        "cls.predictions.decoder.bias": (v,),
        **affine("bert.pooler.dense", (d, d)),
    }
    for layer in range(c["num_hidden_layers"]):
        prefix = f"bert.encoder.layer.{layer}"
        out |= affine(f"{prefix}.attention.self.Wqkv", (3 * d, d))
        out |= affine(f"{prefix}.attention.output.dense", (d, d))
        out |= affine(f"{prefix}.attention.output.LayerNorm", (d,))
        out[f"{prefix}.mlp.gated_layers.weight"] = (2 * f, d)
        out |= affine(f"{prefix}.mlp.wo", (d, f))
        out |= affine(f"{prefix}.mlp.layernorm", (d,))
    return out
