"""Phi-1, 1.5 and 2 (Gunasekar et al. 2023): parallel block with one norm, partial rotations, a head bias.

Source of shapes and names: ``transformers`` ``PhiForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
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
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 3, "partial_rotary_factor": 0.5},
    {**_SMALL, "num_hidden_layers": 2, "num_key_value_heads": 2, "partial_rotary_factor": 0.75},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

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


def core_config(config: dict[str, Any]) -> CoreConfig:
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
    width, heads = config["hidden_size"], config["num_attention_heads"]
    head = causal_head(config, tie=False)
    return CoreConfig(
        **size_fields(config, max_length=2048),
        norm_eps=config.get("layer_norm_eps", 1e-5),
        block="parallel",
        activation=activation(config.get("hidden_act", "gelu_new")),
        head_bias=head["head"] == "linear",
        dropout_embed=config.get("embd_pdrop", 0.0),
        dropout_residual=config.get("resid_pdrop", 0.0),
        **rope_fields({"partial_rotary_factor": 0.5, **config}, width // heads),
        **head,
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "phi", "Phi"),
        **hf_rope(config),
        **hf_sizes(config),
        "layer_norm_eps": config.norm_eps,
        "partial_rotary_factor": config.rope_dim / config.head_dim,
        "hidden_act": activation_name(config.activation),
        "embd_pdrop": config.dropout_embed,
        "resid_pdrop": config.dropout_residual,
    }
