"""OPT (Zhang et al. 2022) and OPT-IML: decoder with learned positions from row 2 and ReLU, pre- or post-norm.

Source of shapes and names: ``transformers`` ``OPTForCausalLM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field, Rule, activation_field, required
from biolm.models.families.decoders import FAIRSEQ_LAYER, causal, lm_head_keys
from biolm.models.families.keys import Key, KeyTable

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("embed_tokens.weight", "embeddings.token.weight"),
        Key("embed_positions.weight", "embeddings.position.weight"),
        Key("project_in.weight", "embeddings.projection.weight"),
        Key("project_out.weight", "head.projection.weight", when=lambda core: core.head != "none"),
        Key("project_out.weight", when=lambda core: core.head == "none"),
        *FAIRSEQ_LAYER,
        Key("final_layer_norm.*", "final_norm.*", also=("layer_norm.*",)),
        *lm_head_keys(),
    ],
    prefixes=("model.decoder.", "decoder.", ""),
)


def _narrow(config: Mapping[str, Any]) -> dict[str, Any]:
    width = config["hidden_size"]
    narrow = config.get("word_embed_proj_dim") or width
    return {"embed_dim": narrow, "project_tokens": narrow != width}


def _norms(config: Mapping[str, Any]) -> dict[str, Any]:
    # Only OPT-350m is post-norm, and it alone has no norm at the end.
    before = config.get("do_layer_norm_before", True)
    final = before and not config.get("_remove_final_layer_norm", False)
    return {"block": "pre" if before else "post", "final_norm": final}


def _hf_norms(core: CoreConfig) -> dict[str, Any]:
    before = core.block == "pre"
    return {"do_layer_norm_before": before, "_remove_final_layer_norm": before and not core.final_norm}


_CONFIG = ConfigTable(
    *causal("opt", "OPT", tie=True),
    Field("hidden_size", "d_model"),
    Rule(_narrow, lambda core: {"word_embed_proj_dim": core.embed_dim}),
    *required(num_hidden_layers="n_layers", num_attention_heads="n_heads", ffn_dim="d_ff"),
    Field("max_position_embeddings", "max_length"),
    Rule(_norms, _hf_norms),
    Field("enable_bias", ("qkv_bias", "out_bias", "mlp_bias", "mlp_out_bias"), True),
    activation_field("activation_function", "relu"),
    Field("dropout", ("dropout_residual", "dropout_embed"), 0.1),
    Field("attention_dropout", "dropout_attention", 0.0),
    # The position table has two rows that no token uses.
    position_offset=2,
)
hf_config = _CONFIG.hf_config


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of an OPT ``config.json``.

    Raises
    ------
    ConfigError
        If norms have no weights, as in Galactica.
    """
    if not config.get("layer_norm_elementwise_affine", True):
        raise ConfigError("OPT with norms without weights (Galactica) is not supported; use another model")
    return _CONFIG.core_config(config)
