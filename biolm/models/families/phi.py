"""Phi-1, 1.5 and 2 (Gunasekar et al. 2023): parallel block with one norm, partial rotations, a head bias.

Source of shapes and names: ``transformers`` ``PhiForCausalLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field, activation_field
from biolm.models.families.decoders import (
    ROTATED_FRACTION,
    attention_keys,
    causal,
    lm_head_keys,
    rotary,
    size_parts,
)
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("embed_tokens.weight", "embeddings.token.weight"),
        Key("layers.{}.input_layernorm.*", "layers.{}.attn_norm.*"),
        *attention_keys("dense"),
        Key("layers.{}.mlp.fc1.*", "layers.{}.mlp.up.*"),
        Key("layers.{}.mlp.fc2.*", "layers.{}.mlp.down.*"),
        Key("final_layernorm.*", "final_norm.*"),
        Key("/lm_head.bias", "head.bias"),
        *lm_head_keys(),
        *dropped("layers.{}.self_attn.rotary_emb.inv_freq"),
    ],
    prefixes=("model.", ""),
)


_CONFIG = ConfigTable(
    *causal("phi", "Phi", tie=False, bias=True),
    rotary(fraction=0.5),
    *size_parts(max_length=2048),
    Field("layer_norm_eps", "norm_eps", 1e-5),
    ROTATED_FRACTION,
    activation_field("hidden_act", "gelu_new"),
    Field("embd_pdrop", "dropout_embed", 0.0),
    Field("resid_pdrop", "dropout_residual", 0.0),
    # One norm feeds both branches, unlike GPT-NeoX, whose blocks are parallel too.
    block="parallel",
)
hf_config = _CONFIG.hf_config


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a Phi ``config.json``.

    Raises
    ------
    ConfigError
        If queries and keys are normed, which no published model of this family does, or the folder is of the
        first release of Phi-2, whose layout is another.
    """
    if config.get("model_type") == "phi-msft":
        raise ConfigError(
            "this is Phi-2's first release (phi-msft), whose weights have other names; fetch the folder of "
            "model_type phi"
        )
    if config.get("qk_layernorm"):
        raise ConfigError("Phi with qk_layernorm is not supported; published models have none")
    return _CONFIG.core_config(config)
