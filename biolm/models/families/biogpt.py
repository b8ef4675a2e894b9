"""BioGPT (Luo et al. 2022): pre-norm decoder whose learned positions start at row 2.

Source of shapes and names: ``transformers`` ``BioGptForCausalLM``.
"""

from __future__ import annotations

import math
from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.families.decoders import causal_head, hf_common, lm_head_keys
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 3, "max_position_embeddings": 40},
    {**_SMALL, "num_hidden_layers": 2, "max_position_embeddings": 64, "scale_embedding": False},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

# The position table has two rows that no token uses, left from the padding of fairseq.
_OFFSET = 2

KEYS = KeyTable(
    [
        Key("embed_tokens.weight", "embeddings.token.weight"),
        Key("embed_positions.weight", "embeddings.position.weight"),
        Key("layers.{}.self_attn.q_proj.*", "layers.{}.attention.query.*"),
        Key("layers.{}.self_attn.k_proj.*", "layers.{}.attention.key.*"),
        Key("layers.{}.self_attn.v_proj.*", "layers.{}.attention.value.*"),
        Key("layers.{}.self_attn.out_proj.*", "layers.{}.attention.out.*"),
        Key("layers.{}.self_attn_layer_norm.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.fc1.*", "layers.{}.mlp.up.*"),
        Key("layers.{}.fc2.*", "layers.{}.mlp.down.*"),
        Key("layers.{}.final_layer_norm.*", "layers.{}.mlp_norm.*"),
        Key("layer_norm.*", "final_norm.*"),
        *lm_head_keys("output_projection"),
    ],
    prefixes=("biogpt.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a BioGPT ``config.json``."""
    width = config["hidden_size"]
    return CoreConfig(
        vocab_size=config["vocab_size"],
        d_model=width,
        n_layers=config["num_hidden_layers"],
        n_heads=config["num_attention_heads"],
        d_ff=config["intermediate_size"],
        max_length=config["max_position_embeddings"],
        position_offset=_OFFSET,
        embed_scale=math.sqrt(width) if config.get("scale_embedding", True) else 1.0,
        # The published code ignores its layer_norm_eps and uses the library's default.
        norm_eps=1e-5,
        activation=activation(config.get("hidden_act", "gelu")),
        dropout_embed=config.get("hidden_dropout_prob", 0.1),
        dropout_residual=config.get("hidden_dropout_prob", 0.1),
        dropout_attention=config.get("attention_probs_dropout_prob", 0.1),
        **causal_head(config, tie=True),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "biogpt", "BioGpt"),
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.max_length,
        "scale_embedding": config.embed_scale != 1.0,
        "hidden_act": activation_name(config.activation),
        "hidden_dropout_prob": config.dropout_residual,
        "attention_probs_dropout_prob": config.dropout_attention,
    }
