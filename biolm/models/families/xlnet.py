"""XLNet (Yang et al. 2019): post-norm, relative positions and segments, permutation language modelling.

The core's own pass is the content stream, in which every token sees all; predictions by a factorisation order
are :func:`biolm.core.two_stream.two_stream_logits`. Recurrence over segments (``mem_len``) is not computed.
Source of shapes and names: ``transformers`` ``XLNetLMHeadModel``.

Dimensions: ``d`` width · ``h`` heads · ``k`` head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import (
    ConfigTable,
    Field,
    Rule,
    activation_field,
    required,
    write_always,
)
from biolm.models.families.decoders import causal
from biolm.models.families.fields import pad_id
from biolm.models.families.keys import Key, KeyTable, Reshaped, dropped

__all__ = ["KEYS", "core_config", "hf_config"]


_LEFT_ALONE = {"attn_type": "bi", "clamp_len": -1, "bi_data": False, "same_length": False, "reuse_len": None}


class Heads:
    """A projection ``(d, h, k)``, from the width to the heads; or back, where ``out``.

    Parameters
    ----------
    out
        Whether it leads from the heads to the width.
    """

    def __init__(self, *, out: bool = False) -> None:
        self.out = out

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """As the weight of a linear layer."""
        matrix = tensor.flatten(1)
        return [matrix if self.out else matrix.t()]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:
        """As published."""
        matrix = parts[0] if self.out else parts[0].t()
        return matrix.reshape(config.d_model, config.n_heads, config.head_dim)


_PARTS = (("q", "query"), ("k", "key"), ("v", "value"), ("r", "relative"))
_BIASES = (("r_w_bias", "content_bias"), ("r_r_bias", "position_bias"), ("r_s_bias", "segment_bias"))

KEYS = KeyTable(
    [
        Key("word_embedding.weight", "embeddings.token.weight"),
        Key("mask_emb", "layers.0.attention.start", Reshaped(1, 1, -1)),
        *(Key(f"layer.{{}}.rel_attn.{a}", f"layers.{{}}.attention.{b}.weight", Heads()) for a, b in _PARTS),
        Key("layer.{}.rel_attn.o", "layers.{}.attention.out.weight", Heads(out=True)),
        *(Key(f"layer.{{}}.rel_attn.{a}", f"layers.{{}}.attention.{b}") for a, b in _BIASES),
        Key("layer.{}.rel_attn.seg_embed", "layers.{}.attention.segments"),
        Key("layer.{}.rel_attn.layer_norm.*", "layers.{}.attn_norm.*"),
        Key("layer.{}.ff.layer_1.*", "layers.{}.mlp.up.*"),
        Key("layer.{}.ff.layer_2.*", "layers.{}.mlp.down.*"),
        Key("layer.{}.ff.layer_norm.*", "layers.{}.mlp_norm.*"),
        Key("/lm_loss.bias", "head.bias"),
        *dropped("/lm_loss.weight"),
    ],
    prefixes=("transformer.", ""),
)


_CONFIG = ConfigTable(
    *causal("xlnet", "XLNet", tie=True, headed="LMHeadModel", bias=True),
    *required(d_model="d_model", n_layer="n_layers", n_head="n_heads", d_inner="d_ff"),
    Field("layer_norm_eps", "norm_eps", 1e-12),
    activation_field("ff_activation", "gelu"),
    Field("dropout", ("dropout_residual", "dropout_embed"), 0.1),
    # Weights of the attention are dropped by the mixer itself.
    Rule(lambda config: {"mixer_options": {"two_stream": {"dropout": config.get("dropout", 0.1)}}}),
    write_always(mem_len=None),
    Rule(lambda config: {"causal": False, "pad_id": pad_id(config.get("pad_token_id", 5))}),
    position="none",
    block="post",
    qkv_bias=False,
    out_bias=False,
    mixer="two_stream",
)
hf_config = _CONFIG.hf_config


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of an XLNet ``config.json``.

    Raises
    ------
    ConfigError
        If it differs from the published models in what the core does not do.
    """
    for field, value in _LEFT_ALONE.items():
        if config.get(field, value) != value:
            raise ConfigError(
                f"XLNet with {field}: {config[field]!r} is not supported; leave it at {value!r}"
            )
    core = _CONFIG.core_config(config)
    if not core.tied:
        raise ConfigError(
            "XLNet with a head of its own is not supported; published models share the embedding"
        )
    return core
