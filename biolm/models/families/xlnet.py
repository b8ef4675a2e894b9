"""XLNet (Yang et al. 2019): post-norm, relative positions and segments, permutation language modelling.

The core's own pass is the content stream, in which every token sees all; predictions by a factorisation order
are :func:`biolm.core.two_stream.two_stream_logits`. Recurrence over segments (``mem_len``) is not computed.
Source of shapes and names: ``transformers`` ``XLNetLMHeadModel``.

Dimensions: ``d`` width · ``h`` heads · ``k`` head width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.decoders import hf_common
from biolm.models.families.fields import activation, activation_name, has_head, pad_id, tied
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "d_inner": 24, "mem_len": None, "pad_token_id": 5}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "d_model": 16, "n_layer": 3, "n_head": 4},
    {**_SMALL, "d_model": 24, "n_layer": 2, "n_head": 2, "ff_activation": "relu", "layer_norm_eps": 1e-5},
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

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


class Cell:
    """A vector, stored as ``(1, 1, d)``."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """The vector."""
        return [tensor.flatten()]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """As stored."""
        return parts[0][None, None]


_PARTS = (("q", "query"), ("k", "key"), ("v", "value"), ("r", "relative"))
_BIASES = (("r_w_bias", "content_bias"), ("r_r_bias", "position_bias"), ("r_s_bias", "segment_bias"))

KEYS = KeyTable(
    [
        Key("word_embedding.weight", "embeddings.token.weight"),
        Key("mask_emb", "layers.0.attention.start", Cell()),
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


def core_config(config: dict[str, Any]) -> CoreConfig:
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
    if not tied(config, default=True):
        raise ConfigError(
            "XLNet with a head of its own is not supported; published models share the embedding"
        )
    headed, dropout = has_head(config, "LMHead"), config.get("dropout", 0.1)
    return CoreConfig(
        vocab_size=config["vocab_size"],
        d_model=config["d_model"],
        n_layers=config["n_layer"],
        n_heads=config["n_head"],
        d_ff=config["d_inner"],
        pad_id=pad_id({"pad_token_id": 5, **config}),
        position="none",
        norm_eps=config.get("layer_norm_eps", 1e-12),
        block="post",
        qkv_bias=False,
        out_bias=False,
        activation=activation(config.get("ff_activation", "gelu")),
        head="linear" if headed else "none",
        head_bias=headed,
        dropout_embed=dropout,
        dropout_residual=dropout,
        mixer="two_stream",
        mixer_options={"two_stream": {"dropout": dropout}},
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    return {
        **hf_common(config, "xlnet", "XLNet", "LMHeadModel"),
        "d_model": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "d_inner": config.d_ff,
        "layer_norm_eps": config.norm_eps,
        "ff_activation": activation_name(config.activation),
        "dropout": config.dropout_residual,
        "mem_len": None,
    }
