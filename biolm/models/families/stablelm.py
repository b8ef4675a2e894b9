"""StableLM (Bellagente et al. 2024): LayerNorm, gated feed-forward, a quarter of each head rotated.

Source of shapes and names: ``transformers`` ``StableLmForCausalLM``.
"""

from __future__ import annotations

from biolm.models.families.config_table import ConfigTable, Field, activation_field
from biolm.models.families.decoders import (
    GATED_KEYS,
    ROTATED_FRACTION,
    attention_keys,
    causal,
    lm_head_keys,
    parallel_field,
    rotary,
    size_parts,
)
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "core_config", "hf_config"]


# Norms of heads are stored one by one, so each needs a line of its own.
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
        *GATED_KEYS,
        Key("norm.*", "final_norm.*"),
        *_head_norms(),
        *lm_head_keys(),
        *dropped("layers.{}.self_attn.rotary_emb.inv_freq"),
    ],
    prefixes=("model.", ""),
)


_CONFIG = ConfigTable(
    *causal("stablelm", "StableLm", tie=False),
    rotary(fraction=0.25),
    *size_parts(max_length=4096),
    Field("layer_norm_eps", "norm_eps", 1e-5),
    ROTATED_FRACTION,
    parallel_field(False),
    Field("use_qkv_bias", "qkv_bias", False, bool),
    Field(
        "qk_layernorm", "qk_norm", False, lambda yes: "each" if yes else "none", lambda kind: kind == "each"
    ),
    activation_field("hidden_act", "silu"),
    Field("hidden_dropout", "dropout_residual", 0.0),
    out_bias=False,
    glu=True,
    mlp_bias=False,
    mlp_out_bias=False,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
