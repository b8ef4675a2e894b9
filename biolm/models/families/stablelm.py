"""StableLM (Bellagente et al. 2024): LayerNorm, gated feed-forward, a quarter of each head rotated.

Source of shapes and names: ``transformers`` ``StableLmForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.decoders import (
    attention_keys,
    causal_head,
    hf_common,
    hf_rope,
    hf_sizes,
    lm_head_keys,
    rope_fields,
    size_fields,
)
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {
    "vocab_size": 40,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 3, "use_qkv_bias": True},
    {**_SMALL, "num_hidden_layers": 2, "use_parallel_residual": True, "partial_rotary_factor": 0.5},
    {**_SMALL, "num_hidden_layers": 2, "qk_layernorm": True},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

_MOST_HEADS = 64


def _head_norms() -> list[Key]:
    """One norm for each head of queries and of keys."""
    pairs = (("q_layernorm", "query_norm"), ("k_layernorm", "key_norm"))
    return [
        Key(
            f"layers.{{}}.self_attn.{theirs}.norms.{head}.weight",
            f"layers.{{}}.attention.{ours}.norms.{head}.weight",
            when=lambda core: core.qk_norm == "each",
        )
        for theirs, ours in pairs
        for head in range(_MOST_HEADS)
    ]


KEYS = KeyTable(
    [
        Key("embed_tokens.weight", "embeddings.token.weight"),
        Key("layers.{}.input_layernorm.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.post_attention_layernorm.*", "layers.{}.mlp_norm.*"),
        *attention_keys(),
        Key("layers.{}.mlp.gate_proj.weight", "layers.{}.mlp.gate.weight"),
        Key("layers.{}.mlp.up_proj.weight", "layers.{}.mlp.up.weight"),
        Key("layers.{}.mlp.down_proj.weight", "layers.{}.mlp.down.weight"),
        Key("norm.*", "final_norm.*"),
        *_head_norms(),
        *lm_head_keys(),
        *dropped("layers.{}.self_attn.rotary_emb.inv_freq"),
    ],
    prefixes=("model.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a StableLM ``config.json``."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    return CoreConfig(
        **size_fields(config, max_length=4096),
        norm_eps=config.get("layer_norm_eps", 1e-5),
        block="parallel" if config.get("use_parallel_residual") else "pre",
        qkv_bias=bool(config.get("use_qkv_bias", False)),
        out_bias=False,
        qk_norm="each" if config.get("qk_layernorm") else "none",
        glu=True,
        activation=activation(config.get("hidden_act", "silu")),
        mlp_bias=False,
        mlp_out_bias=False,
        dropout_residual=config.get("hidden_dropout", 0.0),
        **rope_fields({"partial_rotary_factor": 0.25, **config}, width // heads),
        **causal_head(config, tie=False),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "stablelm", "StableLm"),
        **hf_rope(config),
        **hf_sizes(config),
        "layer_norm_eps": config.norm_eps,
        "partial_rotary_factor": config.rope_dim / config.head_dim,
        "use_parallel_residual": config.block == "parallel",
        "use_qkv_bias": config.qkv_bias,
        "qk_layernorm": config.qk_norm == "each",
        "hidden_act": activation_name(config.activation),
        "hidden_dropout": config.dropout_residual,
    }
