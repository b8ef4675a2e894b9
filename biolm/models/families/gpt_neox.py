"""GPT-NeoX (Black et al. 2022), Pythia: parallel block with two norms, partial rotary positions.

Source of shapes and names: ``transformers`` ``GPTNeoXForCausalLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.config_table import ConfigTable, Field, Rule, activation_field
from biolm.models.families.decoders import causal, hf_rope, lm_head_keys, parallel_field, rope_fields
from biolm.models.families.encoders import SIZES
from biolm.models.families.keys import HeadMajor, Key, KeyTable, dropped, qkv

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("embed_in.weight", "embeddings.token.weight"),
        Key("layers.{}.input_layernorm.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.post_attention_layernorm.*", "layers.{}.mlp_norm.*"),
        Key("layers.{}.attention.query_key_value.*", qkv(), HeadMajor()),
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


def _positions(config: Mapping[str, Any]) -> dict[str, Any]:
    # Names of the first files; where a later file has the common ones too, those count.
    spelled = {
        "partial_rotary_factor": config.get("rotary_pct", 0.25),
        "rope_theta": config.get("rotary_emb_base", 10_000),
    }
    return rope_fields({**spelled, **config}, config["hidden_size"] // config["num_attention_heads"])


def _hf_positions(core: CoreConfig) -> dict[str, Any]:
    rope = hf_rope(core)
    return {
        "rotary_pct": core.rope_dim / core.head_dim,
        "rotary_emb_base": rope["rope_theta"],
        "rope_scaling": rope["rope_scaling"],
    }


_CONFIG = ConfigTable(
    *causal("gpt_neox", "GPTNeoX", tie=False),
    *SIZES[1:],
    Field("max_position_embeddings", "max_length", 2048),
    Field("layer_norm_eps", "norm_eps", 1e-5),
    parallel_field(True),
    Field("attention_bias", ("qkv_bias", "out_bias"), True),
    activation_field("hidden_act", "gelu"),
    Field("hidden_dropout", ("dropout_residual", "dropout_embed"), 0.0),
    Field("attention_dropout", "dropout_attention", 0.0),
    Rule(_positions, _hf_positions),
    # Each branch of a parallel block has its own norm here, where GPT-J has one for both.
    shared_norm=False,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
