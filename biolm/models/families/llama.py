"""Llama (Touvron et al. 2023, Dubey et al. 2024): RMSNorm, gated feed-forward, grouped heads, rotations.

Source of shapes and names: ``transformers`` ``LlamaForCausalLM``. Mistral and Qwen3 build on this file.
"""

from __future__ import annotations

from biolm.models.families.config_table import ConfigTable, Field, Part, Rule, activation_field
from biolm.models.families.decoders import (
    GATED_KEYS,
    attention_keys,
    causal,
    lm_head_keys,
    rotary,
    size_parts,
)
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "LLAMA", "core_config", "hf_config", "llama_parts"]


LAYER_KEYS = [
    Key("embed_tokens.weight", "embeddings.token.weight"),
    *attention_keys(),
    *GATED_KEYS,
    Key("layers.{}.input_layernorm.weight", "layers.{}.attn_norm.weight"),
    Key("norm.weight", "final_norm.weight"),
    *lm_head_keys(),
    *dropped("layers.{}.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"),
]
"""Names that Llama, Mistral, Qwen and Gemma have in common."""

MLP_NORM_KEY = Key("layers.{}.post_attention_layernorm.weight", "layers.{}.mlp_norm.weight")

KEYS = KeyTable([*LAYER_KEYS, MLP_NORM_KEY], prefixes=("model.", ""))


LLAMA = {"norm": "rmsnorm", "glu": True, "mlp_bias": False, "mlp_out_bias": False}
"""Core fields that Llama, Mistral, Qwen and Gemma have alike."""


def llama_parts(
    model_type: str, name: str, *, tie: bool = False, theta: float = 10_000.0, head_dim: int = 0
) -> tuple[Part, ...]:
    """Entries that Llama, Mistral, Qwen and Gemma have alike.

    Parameters
    ----------
    model_type
        In ``transformers``.
    name
        Begins the name of the architecture.
    tie, theta, head_dim
        The family's defaults: head tied to the embedding, base of the rotary positions, width of a head (0:
        the model's width over its heads).
    """
    return (
        *causal(model_type, name, tie=tie),
        rotary(theta=theta, layer_type="full_attention", head_dim=head_dim),
        *size_parts(),
        Rule(write=lambda core: {"head_dim": core.head_dim}),
        Field("rms_norm_eps", "norm_eps", 1e-6),
        Field("attention_bias", ("qkv_bias", "out_bias"), False, bool),
        activation_field("hidden_act", "silu"),
    )


_CONFIG = ConfigTable(
    *llama_parts("llama", "Llama"), Field("mlp_bias", ("mlp_bias", "mlp_out_bias"), False, bool), **LLAMA
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
