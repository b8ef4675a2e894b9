"""GPT-Neo (Black et al. 2021): GPT-2 with windows in every other layer and unscaled attention.

Source of shapes and names: ``transformers`` ``GPTNeoForCausalLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.config_table import ConfigTable, Field, Rule, activation_field, required
from biolm.models.families.decoders import attention_keys, causal, lm_head_keys
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("wte.weight", "embeddings.token.weight"),
        Key("wpe.weight", "embeddings.position.weight"),
        Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
        *attention_keys("out_proj", "h.{}.attn.attention"),
        Key("h.{}.ln_2.*", "layers.{}.mlp_norm.*"),
        Key("h.{}.mlp.c_fc.*", "layers.{}.mlp.up.*"),
        Key("h.{}.mlp.c_proj.*", "layers.{}.mlp.down.*"),
        Key("ln_f.*", "final_norm.*"),
        *lm_head_keys(),
        *dropped("h.{}.attn.attention.bias", "h.{}.attn.attention.masked_bias"),
    ],
    prefixes=("transformer.", ""),
)


def _windows(config: Mapping[str, Any]) -> dict[str, Any]:
    """Windows of the local layers; the file gives a cycle of kinds and how often it repeats."""
    cycles = config.get("attention_types") or [[["global", "local"], 12]]
    kinds = [kind for cycle, times in cycles for kind in cycle * times]
    local = tuple(i for i, kind in enumerate(kinds) if kind == "local")
    return {"window": config.get("window_size", 256) if local else 0, "windowed_layers": local or None}


def _hf_windows(core: CoreConfig) -> dict[str, Any]:
    kinds = ["local" if core.layer_window(i) else "global" for i in range(core.n_layers)]
    return {"attention_types": [[kinds, 1]], "window_size": core.window or 256}


_CONFIG = ConfigTable(
    *causal("gpt_neo", "GPTNeo", tie=True),
    *required(hidden_size="d_model", num_layers="n_layers", num_heads="n_heads"),
    Rule(
        lambda config: {"d_ff": config.get("intermediate_size") or 4 * config["hidden_size"]},
        lambda core: {"intermediate_size": core.d_ff},
    ),
    Field("max_position_embeddings", "max_length"),
    Rule(_windows, _hf_windows),
    Field("layer_norm_epsilon", "norm_eps", 1e-5),
    activation_field("activation_function", "gelu_new"),
    Field("embed_dropout", "dropout_embed", 0.0),
    Field("resid_dropout", "dropout_residual", 0.0),
    Field("attention_dropout", "dropout_attention", 0.0),
    qkv_bias=False,
    # Trained without the division by the root of the head's width.
    attn_scale=1.0,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
