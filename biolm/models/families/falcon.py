"""Falcon (Almazrouei et al. 2023): 7B (one key-value head), 40B and 180B (groups), 11B, and the rw models.

ALiBi of the rw models is divided by the root of the head width, as the scores are; the published code also
rounds it to bfloat16, which is not done here (it shows from place 257 on). Source of shapes and names:
``transformers`` ``FalconForCausalLM``.

Dimensions: ``h`` heads · ``j`` key-value heads · ``k`` head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import CheckpointError
from biolm.models.families.decoders import causal_head, hf_common, hf_rope, lm_head_keys, rope_fields
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 40}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 3, "multi_query": True, "parallel_attn": True, "num_kv_heads": 4},
    {**_SMALL, "num_hidden_layers": 2, "new_decoder_architecture": True, "num_kv_heads": 2},
    {
        **_SMALL,
        "num_hidden_layers": 2,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
        "num_ln_in_parallel_attn": 1,
        "ffn_hidden_size": 48,
    },
    {
        **_SMALL,
        "num_hidden_layers": 2,
        "multi_query": False,
        "parallel_attn": False,
        "alibi": True,
        "bias": True,
    },
]
"""Small ``config.json`` dictionaries of the four layouts."""


class Groups:
    """For each key-value head its queries, its key and its value, along the rows."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """Cut into query, key and value."""
        groups, width = config.n_kv_heads, config.head_dim
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
        Key(
            "h.{}.self_attention.query_key_value.*",
            tuple(f"layers.{{}}.attention.{name}.*" for name in ("query", "key", "value")),
            Groups(),
        ),
        Key("h.{}.self_attention.dense.*", "layers.{}.attention.out.*"),
        Key("h.{}.mlp.dense_h_to_4h.*", "layers.{}.mlp.up.*"),
        Key("h.{}.mlp.dense_4h_to_h.*", "layers.{}.mlp.down.*"),
        Key("ln_f.*", "final_norm.*"),
        *lm_head_keys(),
        *dropped("h.{}.self_attention.rotary.inv_freq", "h.{}.self_attention.maybe_rotary.inv_freq"),
    ],
    prefixes=("transformer.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a Falcon ``config.json``, or of the first release's (``RefinedWeb``)."""
    width = config.get("hidden_size") or config["n_embed"]
    heads = config.get("num_attention_heads") or config["n_head"]
    newer = bool(config.get("new_decoder_architecture"))
    # The field says something only in the new architecture; 7B's file names all heads but has one.
    groups = config.get("num_kv_heads") or config.get("n_head_kv") or heads
    kv_heads = groups if newer else 1 if config.get("multi_query", True) else heads
    bias, alibi = bool(config.get("bias", False)), bool(config.get("alibi", False))
    places = {"position": "alibi", "alibi_scaled": True} if alibi else rope_fields(config, width // heads)
    return CoreConfig(
        vocab_size=config["vocab_size"],
        d_model=width,
        n_layers=config.get("num_hidden_layers") or config["n_layer"],
        n_heads=heads,
        n_kv_heads=kv_heads,
        d_ff=config.get("ffn_hidden_size") or 4 * width,
        max_length=config.get("max_position_embeddings", 2048),
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        block="parallel" if newer or config.get("parallel_attn", True) else "pre",
        shared_norm=not (newer and config.get("num_ln_in_parallel_attn") in (None, 2)),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        mlp_out_bias=bias,
        activation=activation(config.get("activation", "gelu")),
        dropout_residual=config.get("hidden_dropout", 0.0),
        dropout_attention=config.get("attention_dropout", 0.0),
        **places,
        **causal_head(config, tie=True),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    alibi, parallel = config.position == "alibi", config.block == "parallel"
    newer = parallel and (not config.shared_norm or 1 < config.n_kv_heads < config.n_heads)
    return {
        **hf_common(config, "falcon", "Falcon"),
        **({} if alibi else hf_rope(config)),
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_kv_heads": config.n_kv_heads,
        "new_decoder_architecture": newer,
        "num_ln_in_parallel_attn": (1 if config.shared_norm else 2) if newer else None,
        "multi_query": config.n_kv_heads == 1,
        "parallel_attn": parallel,
        "alibi": alibi,
        "bias": config.qkv_bias,
        "ffn_hidden_size": config.d_ff,
        "max_position_embeddings": config.max_length,
        "layer_norm_epsilon": config.norm_eps,
        "activation": activation_name(config.activation),
        "hidden_dropout": config.dropout_residual,
        "attention_dropout": config.dropout_attention,
    }
