"""Models of sequences whose own code is not in ``transformers``, written out in float64 from their sources.

Dimensions: ``b`` documents · ``s`` longest · ``d`` width · ``h`` heads. They share no code with the core:
padded tensors, one dense attention, rotations by complex numbers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from reference_store import Result, Stored, affine
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, Tensor]


class _Reference(Stored):
    """Weights in float64, and the parts that the models share."""

    @property
    def wide(self) -> Weights:
        return {name: parameter.double() for name, parameter in self.weights.items()}

    def norm(self, x: Tensor, w: Weights, name: str, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * w[f"{name}.weight"]
            + w[f"{name}.bias"]
        )

    def rms(self, x: Tensor, w: Weights, name: str, eps: float) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * w[f"{name}.weight"]


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    bias = w.get(f"{name}.bias")
    y = x @ w[f"{name}.weight"].T
    return y if bias is None else y + bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_new(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def turn(x: Tensor, dims: int, *, interleaved: bool) -> Tensor:
    """Rotary positions on the first ``dims`` numbers of ``(b, h, s, n)``, as products of complex numbers."""
    step = 10000.0 ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)
    angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * step
    turned, kept = x[..., :dims], x[..., dims:]
    first, second = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.split(dims // 2, dim=-1)
    whole = torch.complex(first, second) * torch.polar(torch.ones_like(angle), angle)
    pair = (whole.real, whole.imag)
    joined = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    return torch.cat([joined, kept], -1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, causal: bool = False) -> Tensor:
    """``(b, h, s, n)`` to ``(b, s, d)``."""
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~mask.bool()[:, None, None], -torch.inf)
    if causal:
        place = torch.arange(q.shape[2])
        scores = scores.masked_fill(place > place[:, None], -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def heads(x: Tensor, h: int) -> Tensor:
    return x.unflatten(-1, (h, -1)).transpose(1, 2)


class EsmForMaskedLM(_Reference):
    """Nucleotide Transformer v2."""

    @staticmethod
    def shapes(config: dict[str, Any]) -> Shapes:
        d, f, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
        out: Shapes = {"esm.embeddings.word_embeddings.weight": (v, d), "lm_head.bias": (v,)}
        if not config["tie_word_embeddings"]:
            out["lm_head.decoder.weight"] = (v, d)
        for name in ("esm.encoder.emb_layer_norm_after", "lm_head.layer_norm"):
            out |= affine(name, (d,))
        out |= affine("lm_head.dense", (d, d))
        for layer in range(config["num_hidden_layers"]):
            p = f"esm.encoder.layer.{layer}"
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                out |= affine(f"{p}.attention.{name}", (d, d))
            out |= affine(f"{p}.attention.LayerNorm", (d,)) | affine(f"{p}.LayerNorm", (d,))
            out |= {f"{p}.intermediate.dense.weight": (2 * f, d), f"{p}.output.dense.weight": (d, f)}
        return out

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Any:
        c, w = self.settings, self.wide
        eps, h = c["layer_norm_eps"], c["num_attention_heads"]
        x = w["esm.embeddings.word_embeddings.weight"][input_ids]
        if c["token_dropout"]:
            hidden = input_ids == c["mask_token_id"]
            share = hidden.sum(1).double() / attention_mask.sum(1)
            x = x.masked_fill(hidden[..., None], 0) * (0.88 / (1 - share))[:, None, None]
        x = x * attention_mask[..., None]
        states = [x]
        for layer in range(c["num_hidden_layers"]):
            p = f"esm.encoder.layer.{layer}"
            y = self.norm(x, w, f"{p}.attention.LayerNorm", eps)
            q, k, v = (heads(linear(y, w, f"{p}.attention.self.{n}"), h) for n in ("query", "key", "value"))
            q, k = (turn(part, q.shape[-1], interleaved=False) for part in (q, k))
            x = x + linear(attend(q, k, v, attention_mask), w, f"{p}.attention.output.dense")
            first, second = linear(
                self.norm(x, w, f"{p}.LayerNorm", eps), w, f"{p}.intermediate.dense"
            ).chunk(2, dim=-1)
            x = x + linear(silu(first) * second, w, f"{p}.output.dense")
            states.append(x)
        x = states[-1] = self.norm(x, w, "esm.encoder.emb_layer_norm_after", eps)
        y = self.norm(gelu(linear(x, w, "lm_head.dense")), w, "lm_head.layer_norm", eps)
        table = "esm.embeddings.word_embeddings" if c["tie_word_embeddings"] else "lm_head.decoder"
        logits = y @ w[f"{table}.weight"].T + w["lm_head.bias"]
        return Result([x], hidden_states=tuple(states), logits=logits)


class BertForMaskedLM(_Reference):
    """GENA-LM."""

    @staticmethod
    def shapes(config: dict[str, Any]) -> Shapes:
        d, f, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
        e, head = "bert.embeddings", "cls.predictions"
        out: Shapes = {
            f"{e}.word_embeddings.weight": (v, d),
            f"{e}.position_embeddings.weight": (config["max_position_embeddings"], d),
            f"{e}.token_type_embeddings.weight": (config["type_vocab_size"], d),
            f"{head}.bias": (v,),
            **affine(f"{e}.LayerNorm", (d,)),
            **affine(f"{head}.transform.dense", (d, d)),
            **affine(f"{head}.transform.LayerNorm", (d,)),
        }
        if config["last_layer_norm"]:
            out |= affine("bert.encoder.last_layer_ln", (d,))
        for layer in range(config["num_hidden_layers"]):
            p = f"bert.encoder.layer.{layer}"
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                out |= affine(f"{p}.attention.{name}", (d, d))
            out |= affine(f"{p}.pre_attention_ln", (d,)) | affine(f"{p}.post_attention_ln", (d,))
            out |= affine(f"{p}.intermediate.dense", (f, d)) | affine(f"{p}.output.dense", (d, f))
        return out

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, **_: Any) -> Any:
        c, w = self.settings, self.wide
        eps, h, e = c["layer_norm_eps"], c["num_attention_heads"], "bert.embeddings"
        x = (
            w[f"{e}.word_embeddings.weight"][input_ids]
            + w[f"{e}.token_type_embeddings.weight"][token_type_ids]
        )
        x = x + w[f"{e}.position_embeddings.weight"][: x.shape[1]]
        x = self.norm(x, w, f"{e}.LayerNorm", eps)
        states = [x]
        for layer in range(c["num_hidden_layers"]):
            p = f"bert.encoder.layer.{layer}"
            y = self.norm(x, w, f"{p}.pre_attention_ln", eps)
            q, k, v = (heads(linear(y, w, f"{p}.attention.self.{n}"), h) for n in ("query", "key", "value"))
            x = x + linear(attend(q, k, v, attention_mask), w, f"{p}.attention.output.dense")
            y = gelu(linear(self.norm(x, w, f"{p}.post_attention_ln", eps), w, f"{p}.intermediate.dense"))
            x = x + linear(y, w, f"{p}.output.dense")
            states.append(x)
        if c["last_layer_norm"]:
            x = states[-1] = self.norm(x, w, "bert.encoder.last_layer_ln", eps)
        y = gelu(linear(x, w, "cls.predictions.transform.dense"))
        y = self.norm(y, w, "cls.predictions.transform.LayerNorm", eps)
        logits = y @ w[f"{e}.word_embeddings.weight"].T + w["cls.predictions.bias"]
        return Result([x], hidden_states=tuple(states), logits=logits)


class ProGenForCausalLM(_Reference):
    """ProGen2: one matrix holds query, value and key of eight groups of heads in turn."""

    @staticmethod
    def shapes(config: dict[str, Any]) -> Shapes:
        d, v = config["n_embd"], config["vocab_size"]
        out: Shapes = {"transformer.wte.weight": (v, d), **affine("transformer.ln_f", (d,))}
        out |= affine("lm_head", (v, d))
        for layer in range(config["n_layer"]):
            p = f"transformer.h.{layer}"
            out |= affine(f"{p}.ln_1", (d,))
            out |= {f"{p}.attn.qkv_proj.weight": (3 * d, d), f"{p}.attn.out_proj.weight": (d, d)}
            out |= affine(f"{p}.mlp.fc_in", (4 * d, d)) | affine(f"{p}.mlp.fc_out", (d, 4 * d))
        return out

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Any:
        c, w = self.settings, self.wide
        eps, h, d = c.get("layer_norm_epsilon", 1e-5), c["n_head"], c["n_embd"]
        x = w["transformer.wte.weight"][input_ids]
        states = [x]
        for layer in range(c["n_layer"]):
            p = f"transformer.h.{layer}"
            y = self.norm(x, w, f"{p}.ln_1", eps)
            fused = linear(y, w, f"{p}.attn.qkv_proj").unflatten(-1, (8, 3 * d // 8))
            q, v, k = (heads(part.flatten(-2), h) for part in fused.split(d // 8, dim=-1))
            q, k = (turn(part, c["rotary_dim"], interleaved=True) for part in (q, k))
            mixed = linear(attend(q, k, v, attention_mask, causal=True), w, f"{p}.attn.out_proj")
            x = x + mixed + linear(gelu_new(linear(y, w, f"{p}.mlp.fc_in")), w, f"{p}.mlp.fc_out")
            states.append(x)
        x = states[-1] = self.norm(x, w, "transformer.ln_f", eps)
        return Result([x], hidden_states=tuple(states), logits=linear(x, w, "lm_head"))


class AMPLIFY(_Reference):
    """AMPLIFY."""

    @staticmethod
    def shapes(config: dict[str, Any]) -> Shapes:
        d, v = config["hidden_size"], config["vocab_size"]
        f = 8 * math.ceil(int(2 * config["intermediate_size"] / 3) / 8)
        out: Shapes = {"encoder.weight": (v, d), "layer_norm_2.weight": (d,), **affine("decoder", (v, d))}
        if config.get("layer_norm_after_embedding"):
            out["layer_norm_1.weight"] = (d,)
        maps = dict.fromkeys(("q", "k", "v", "wo"), (d, d))
        sizes = {**maps, "ffn.w12": (2 * f, d), "ffn.w3": (d, f)}
        for layer in range(config["num_hidden_layers"]):
            p = f"transformer_encoder.{layer}"
            for name, size in sizes.items():
                biased = config.get("ffn_bias" if "ffn" in name else "att_bias")
                out |= affine(f"{p}.{name}", size) if biased else {f"{p}.{name}.weight": size}
            out |= {f"{p}.{name}.weight": (d,) for name in ("attention_norm", "ffn_norm")}
        return out

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Any:
        c, w = self.settings, self.wide
        eps, h = c["norm_eps"], c["num_attention_heads"]
        x = w["encoder.weight"][input_ids]
        if c.get("layer_norm_after_embedding"):
            x = self.rms(x, w, "layer_norm_1", eps)
        states = [x]
        for layer in range(c["num_hidden_layers"]):
            p = f"transformer_encoder.{layer}"
            y = self.rms(x, w, f"{p}.attention_norm", eps)
            q, k, v = (heads(linear(y, w, f"{p}.{name}"), h) for name in "qkv")
            q, k = (turn(part, q.shape[-1], interleaved=True) for part in (q, k))
            x = x + linear(attend(q, k, v, attention_mask), w, f"{p}.wo")
            first, second = linear(self.rms(x, w, f"{p}.ffn_norm", eps), w, f"{p}.ffn.w12").chunk(2, dim=-1)
            x = x + linear(silu(first) * second, w, f"{p}.ffn.w3")
            states.append(x)
        x = states[-1] = self.rms(x, w, "layer_norm_2", eps)
        return Result([x], hidden_states=tuple(states), logits=linear(x, w, "decoder"))
