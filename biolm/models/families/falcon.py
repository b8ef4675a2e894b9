"""Falcon (Almazrouei et al. 2023): 7B (one key-value head), 40B and 180B (groups), 11B, and the rw models.

ALiBi of the rw models is divided by the root of the head width, as the scores are; the published code also
rounds it to bfloat16, which is not done here (it shows from place 257 on). Source of shapes and names:
``transformers`` ``FalconForCausalLM``.

Dimensions: ``h`` heads · ``j`` key-value heads · ``k`` head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import CheckpointError
from biolm.models.families.config_table import ConfigTable, Field, Rule, activation_field
from biolm.models.families.decoders import causal, hf_rope, lm_head_keys, rope_fields
from biolm.models.families.keys import Key, KeyTable, dropped, qkv

__all__ = ["KEYS", "core_config", "hf_config"]


class Groups:
    """For each key-value head its queries, its key and its value, along the rows."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """Cut into query, key and value."""
        groups, width = config.n_kv_heads, config.head_dim
        # One key-value head is one group: all queries, then a single key and a single value.
        queries = config.n_heads // groups
        if len(tensor) != groups * (queries + 2) * width:
            raise CheckpointError(
                f"query_key_value has {len(tensor)} rows, not {groups * (queries + 2) * width}"
            )
        parts = tensor.view(groups, queries + 2, width, *tensor.shape[1:])
        return [parts[:, :-2].flatten(0, 2), parts[:, -2].flatten(0, 1), parts[:, -1].flatten(0, 1)]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:
        """Group again."""
        shape = (config.n_kv_heads, -1, config.head_dim, *parts[0].shape[1:])
        return torch.cat([part.view(shape) for part in parts], 1).flatten(0, 2)


def _two_norms(config: CoreConfig) -> bool:
    return config.block == "parallel" and not config.shared_norm


def _not_two(config: CoreConfig) -> bool:
    return not _two_norms(config)


KEYS = KeyTable(
    [
        Key("word_embeddings.weight", "embeddings.token.weight"),
        Key("h.{}.ln_attn.*", "layers.{}.attn_norm.*", when=_two_norms),
        Key("h.{}.ln_mlp.*", "layers.{}.mlp_norm.*", when=_two_norms),
        Key("h.{}.input_layernorm.*", "layers.{}.attn_norm.*", when=_not_two),
        Key("h.{}.post_attention_layernorm.*", "layers.{}.mlp_norm.*", when=_not_two),
        Key("h.{}.self_attention.query_key_value.*", qkv(), Groups()),
        Key("h.{}.self_attention.dense.*", "layers.{}.attention.out.*"),
        Key("h.{}.mlp.dense_h_to_4h.*", "layers.{}.mlp.up.*"),
        Key("h.{}.mlp.dense_4h_to_h.*", "layers.{}.mlp.down.*"),
        Key("ln_f.*", "final_norm.*"),
        *lm_head_keys(),
        *dropped("h.{}.self_attention.rotary.inv_freq", "h.{}.self_attention.maybe_rotary.inv_freq"),
    ],
    prefixes=("transformer.", ""),
)


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes in the common names, or in those of the first release (``RefinedWeb``)."""
    width = config.get("hidden_size") or config["n_embed"]
    heads = config.get("num_attention_heads") or config["n_head"]
    return {
        "d_model": width,
        "n_layers": config.get("num_hidden_layers") or config["n_layer"],
        "n_heads": heads,
        "d_ff": config.get("ffn_hidden_size") or 4 * width,
    }


def _positions(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("alibi", False):
        return {"position": "alibi", "alibi_scaled": True}
    sizes = _sizes(config)
    return rope_fields(config, sizes["d_model"] // sizes["n_heads"])


def _block(config: Mapping[str, Any]) -> dict[str, Any]:
    newer = bool(config.get("new_decoder_architecture"))
    heads = _sizes(config)["n_heads"]
    # The field says something only in the new architecture; 7B's file names all heads but has one.
    groups = config.get("num_kv_heads") or config.get("n_head_kv") or heads
    return {
        "n_kv_heads": groups if newer else 1 if config.get("multi_query", True) else heads,
        "block": "parallel" if newer or config.get("parallel_attn", True) else "pre",
        "shared_norm": not (newer and config.get("num_ln_in_parallel_attn") in (None, 2)),
    }


def _hf_sizes_and_block(core: CoreConfig) -> dict[str, Any]:
    parallel = core.block == "parallel"
    newer = parallel and (not core.shared_norm or 1 < core.n_kv_heads < core.n_heads)
    return {
        "hidden_size": core.d_model,
        "num_hidden_layers": core.n_layers,
        "num_attention_heads": core.n_heads,
        "num_kv_heads": core.n_kv_heads,
        "new_decoder_architecture": newer,
        "num_ln_in_parallel_attn": (1 if core.shared_norm else 2) if newer else None,
        "multi_query": core.n_kv_heads == 1,
        "parallel_attn": parallel,
        "alibi": core.position == "alibi",
    }


_CONFIG = ConfigTable(
    *causal("falcon", "Falcon", tie=True),
    Rule(_positions, lambda core: {} if core.position == "alibi" else hf_rope(core)),
    Rule(_sizes, _hf_sizes_and_block),
    Rule(_block),
    Field("bias", ("qkv_bias", "out_bias", "mlp_bias", "mlp_out_bias"), False, bool),
    Rule(write=lambda core: {"ffn_hidden_size": core.d_ff}),
    Field("max_position_embeddings", "max_length", 2048),
    Field("layer_norm_epsilon", "norm_eps", 1e-5),
    activation_field("activation", "gelu"),
    Field("hidden_dropout", "dropout_residual", 0.0),
    Field("attention_dropout", "dropout_attention", 0.0),
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
