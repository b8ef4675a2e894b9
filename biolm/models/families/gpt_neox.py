"""GPT-NeoX (Black et al. 2022), Pythia: parallel block with two norms, partial rotary positions.

Source of shapes and names: ``transformers`` ``GPTNeoXForCausalLM``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.models.families.decoders import causal_head, hf_common, hf_rope, lm_head_keys, rope_fields
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 3, "rotary_pct": 0.25, "max_position_embeddings": 40},
    {
        **_SMALL,
        "num_hidden_layers": 2,
        "use_parallel_residual": False,
        "attention_bias": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""


class PerHead:
    """Query, key and value of head 0, then those of head 1, and so on, along the rows."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:
        """Cut ``(h * 3 * k, …)`` into three ``(h * k, …)``."""
        parts = tensor.view(config.n_heads, names, config.head_dim, *tensor.shape[1:]).unbind(1)
        return [part.flatten(0, 1) for part in parts]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:
        """Interleave again."""
        heads = [part.view(config.n_heads, config.head_dim, *part.shape[1:]) for part in parts]
        return torch.stack(heads, 1).flatten(0, 2)


_QKV = ("query", "key", "value")

KEYS = KeyTable(
    [
        Key("embed_in.weight", "embeddings.token.weight"),
        Key("layers.{}.input_layernorm.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.post_attention_layernorm.*", "layers.{}.mlp_norm.*"),
        Key(
            "layers.{}.attention.query_key_value.*",
            tuple(f"layers.{{}}.attention.{name}.*" for name in _QKV),
            PerHead(),
        ),
        Key("layers.{}.attention.dense.*", "layers.{}.attention.out.*"),
        Key("layers.{}.mlp.dense_h_to_4h.*", "layers.{}.mlp.up.*"),
        Key("layers.{}.mlp.dense_4h_to_h.*", "layers.{}.mlp.down.*"),
        Key("final_layer_norm.*", "final_norm.*"),
        *lm_head_keys("embed_out", "lm_head"),
        *dropped("layers.{}.attention.bias", "layers.{}.attention.masked_bias"),
        *dropped("layers.{}.attention.rotary_emb.inv_freq", "rotary_emb.inv_freq"),
    ],
    prefixes=("gpt_neox.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a GPT-NeoX ``config.json``."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    bias = config.get("attention_bias", True)
    spelled = {
        "partial_rotary_factor": config.get("rotary_pct", 0.25),
        "rope_theta": config.get("rotary_emb_base", 10_000),
    }
    return CoreConfig(
        vocab_size=config["vocab_size"],
        d_model=width,
        n_layers=config["num_hidden_layers"],
        n_heads=heads,
        d_ff=config["intermediate_size"],
        max_length=config.get("max_position_embeddings", 2048),
        norm_eps=config.get("layer_norm_eps", 1e-5),
        block="parallel" if config.get("use_parallel_residual", True) else "pre",
        shared_norm=False,
        qkv_bias=bias,
        out_bias=bias,
        activation=activation(config.get("hidden_act", "gelu")),
        dropout_embed=config.get("hidden_dropout", 0.0),
        dropout_residual=config.get("hidden_dropout", 0.0),
        dropout_attention=config.get("attention_dropout", 0.0),
        **rope_fields({**spelled, **config}, width // heads),
        **causal_head(config, tie=False),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    rope = hf_rope(config)
    return {
        **hf_common(config, "gpt_neox", "GPTNeoX"),
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.max_length,
        "layer_norm_eps": config.norm_eps,
        "use_parallel_residual": config.block == "parallel",
        "attention_bias": config.qkv_bias,
        "hidden_act": activation_name(config.activation),
        "hidden_dropout": config.dropout_residual,
        "attention_dropout": config.dropout_attention,
        "rotary_pct": config.rope_dim / config.head_dim,
        "rotary_emb_base": rope["rope_theta"],
        "rope_scaling": rope["rope_scaling"],
    }
