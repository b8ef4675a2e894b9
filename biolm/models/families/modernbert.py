"""ModernBERT (Warner et al. 2024): pre-norm encoder, gated, with alternating local and global layers.

ModernGENA is of this family too. Source of shapes and names: ``transformers`` ``ModernBertForMaskedLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field, Rule, activation_field
from biolm.models.families.decoders import hf_layer_types, windowed_layers
from biolm.models.families.encoders import MASKED_HEADS, masked
from biolm.models.families.fields import has_head, rope
from biolm.models.families.keys import Key, KeyTable, Rows, dropped, gate_up, qkv

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("embeddings.tok_embeddings.weight", "embeddings.token.weight"),
        Key("embeddings.norm.*", "embeddings.norm.*"),
        Key("layers.{}.attn_norm.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.attn.Wqkv.*", qkv(), Rows()),
        Key("layers.{}.attn.Wo.*", "layers.{}.attention.out.*"),
        Key("layers.{}.mlp_norm.*", "layers.{}.mlp_norm.*"),
        Key("layers.{}.mlp.Wi.*", gate_up(), Rows()),
        Key("layers.{}.mlp.Wo.*", "layers.{}.mlp.down.*"),
        Key("final_norm.*", "final_norm.*"),
        Key("/head.dense.*", "head.dense.*"),
        Key("/head.norm.*", "head.norm.*"),
        Key("/decoder.weight", "head.decoder.weight", when=lambda core: not core.tied),
        Key("/decoder.bias", "head.bias"),
        *dropped("/decoder.weight"),
    ],
    prefixes=("model.", ""),
)


def _positions(config: Mapping[str, Any]) -> dict[str, Any]:
    wide = {**config, "rope_theta": config.get("global_rope_theta")}
    theta, scaling = rope(wide, layer_type="full_attention", theta=160_000.0)
    # Old files may leave the local base empty, which means the global one.
    local = {**config, "rope_theta": config.get("local_rope_theta", 10_000.0)}
    theta_local, scaling_local = rope(local, layer_type="sliding_attention", theta=theta)
    if scaling_local is not None:
        raise ConfigError("rotary positions of layers with a window cannot be scaled; remove rope_scaling")
    return {"position": "rope", "rope_theta": theta, "rope_scaling": scaling, "rope_theta_local": theta_local}


def _windows(config: Mapping[str, Any]) -> dict[str, Any]:
    kinds, every = config.get("layer_types"), config.get("global_attn_every_n_layers", 3)
    if kinds is None:
        depth = config["num_hidden_layers"]
        kinds = ["sliding_attention" if i % every else "full_attention" for i in range(depth)]
    # Half of the published width to each side, the token itself not counted.
    return {"window": config.get("local_attention", 128) // 2, "windowed_layers": windowed_layers(kinds)}


def _hf_windows(core: CoreConfig) -> dict[str, Any]:
    kinds = hf_layer_types(core)
    later = [i for i, kind in enumerate(kinds) if kind == "full_attention" and i]
    return {
        "local_attention": core.window * 2,
        # Version 4 reads the period and the two bases, version 5 the list.
        "global_attn_every_n_layers": later[0] if later else core.n_layers,
        "layer_types": kinds,
        "global_rope_theta": core.rope_theta,
        "local_rope_theta": core.rope_theta_local,
    }


_CONFIG = ConfigTable(
    *masked("modernbert", "ModernBert", dropout=None),
    Field("max_position_embeddings", "max_length"),
    Field("norm_eps", "norm_eps", 1e-5),
    Field("norm_bias", ("norm_bias", "embed_norm_bias", "final_norm_bias"), False),
    Field("attention_bias", ("qkv_bias", "out_bias"), False),
    Field("mlp_bias", ("mlp_bias", "mlp_out_bias"), False),
    activation_field("hidden_activation", "gelu"),
    activation_field("classifier_activation", "gelu", "head_activation"),
    Field("classifier_bias", "head_dense_bias", False),
    Rule(
        lambda config: {"head_bias": has_head(config, *MASKED_HEADS) and config.get("decoder_bias", True)},
        lambda core: {"decoder_bias": core.head_bias},
    ),
    Rule(_positions),
    Rule(_windows, _hf_windows),
    Field("embedding_dropout", "dropout_embed", 0.0),
    Field("attention_dropout", "dropout_attention", 0.0),
    embed_norm=True,
    # The embedding has just been normed.
    first_attn_norm=False,
    glu=True,
)
core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
